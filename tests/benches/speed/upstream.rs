//! A model without latency: a server that speaks OpenAI's chat completions, in a process of its own.
//!
//! The model's id says what it answers: `bench-<n>` in n chunks, `idle` one chunk and then nothing.

use std::convert::Infallible;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use futures::StreamExt as _;
use serde_json::{Value, json};

const CHUNK: &str =
    r#"data: {"id":"c","choices":[{"index":0,"delta":{"content":"tok "},"finish_reason":null}]}"#;
const STOP: &str = r#"data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
const USAGE: &str = r#"data: {"id":"c","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7}}"#;

/// Serves until it is killed; prints its address first.
pub fn serve() {
    // One thread: it takes the least of the cores that it shares with what is measured.
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        axum::serve(listener, Router::new().fallback(answer)).await.unwrap();
    });
}

async fn answer(body: Bytes) -> Response {
    let request: Value = serde_json::from_slice(&body).unwrap();
    let model = request["model"].as_str().unwrap();
    if request["stream"] != true {
        let message = json!({"role": "assistant", "content": "tok "});
        let answer = json!({"id": "c", "object": "chat.completion", "model": model,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}});
        return ([(CONTENT_TYPE, "application/json")], answer.to_string()).into_response();
    }
    let event = |text: &str| Ok::<_, Infallible>(Bytes::from(format!("{text}\n\n")));
    let body = match model.strip_prefix("bench-").and_then(|n| n.parse::<usize>().ok()) {
        Some(chunks) => {
            let chunks = futures::stream::iter(std::iter::repeat_n(CHUNK, chunks));
            let end = futures::stream::iter([STOP, USAGE, "data: [DONE]"]);
            Body::from_stream(chunks.chain(end).map(event))
        }
        None => {
            let first = futures::stream::once(async move { event(CHUNK) });
            Body::from_stream(first.chain(futures::stream::pending()))
        }
    };
    ([(CONTENT_TYPE, "text/event-stream")], body).into_response()
}

/// The server's process.
pub struct Running {
    child: Child,
    address: String,
}

impl Running {
    /// Starts it.
    pub fn start() -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg("upstream")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, address: line.trim().to_owned() }
    }

    /// Its models, as a model file says it.
    pub fn models(&self) -> Value {
        let model = |id: &str| model(&self.base(), id);
        json!({"bench": model("bench-1"), "bench-1000": model("bench-1000"), "idle": model("idle")})
    }

    /// Where its interface is.
    pub fn base(&self) -> String {
        format!("http://{}/v1", self.address)
    }
}

/// A model of somebody who speaks OpenAI's interface, as a model file says it.
pub fn model(base: &str, id: &str) -> Value {
    json!({"modelId": id, "provider": "OpenAI", "features": ["text", "tools"], "tokens": 100_000,
        "completionTokens": 4_096, "credentials": {"apiKey": "sk-bench"}, "baseURL": base})
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
