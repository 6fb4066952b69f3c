//! A provider that speaks chat completions and calls two tools, and the tools: one answers at once, one when it is
//! told to.

use std::sync::{Arc, Mutex};

use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

struct Shared {
    requests: Mutex<Vec<Value>>,
    tools: watch::Sender<Vec<String>>,
    released: watch::Sender<bool>,
}

/// The provider; it ends when it is dropped.
pub struct Provider {
    pub address: String,
    shared: Arc<Shared>,
    _serving: JoinSet<()>,
}

impl Provider {
    pub async fn start() -> Self {
        let shared = Arc::new(Shared {
            requests: Mutex::default(),
            tools: watch::Sender::default(),
            released: watch::Sender::new(false),
        });
        let router = Router::new()
            .route("/v1/chat/completions", post(complete))
            .route("/tool/{name}", post(tool))
            .with_state(Arc::clone(&shared));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, shared, _serving: serving }
    }

    /// The catalogue's entry.
    pub fn models(&self) -> Value {
        json!({ "talker-model": {
            "modelId": "talker-1", "provider": "OpenAI", "credentials": "none",
            "baseURL": format!("http://{}/v1", self.address),
            "features": ["text", "tools"], "tokens": 8000, "completionTokens": 1000,
        } })
    }

    /// What it was asked.
    pub fn requests(&self) -> Vec<Value> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// How often a tool was called.
    pub fn calls(&self, name: &str) -> usize {
        self.shared.tools.borrow().iter().filter(|called| *called == name).count()
    }

    /// Ready once a tool was called.
    pub async fn called(&self, name: &str) {
        let mut tools = self.shared.tools.subscribe();
        let called = tools.wait_for(|tools| tools.iter().any(|called| called == name));
        tokio::time::timeout(std::time::Duration::from_secs(60), called)
            .await
            .expect("it is called")
            .unwrap();
    }

    /// The slow tool answers.
    pub fn release(&self) {
        self.shared.released.send_replace(true);
    }
}

async fn tool(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Json<Value> {
    shared.tools.send_modify(|tools| tools.push(name.clone()));
    if name == "slow" {
        shared.released.subscribe().wait_for(|released| *released).await.unwrap();
    }
    Json(json!({ "tool": name }))
}

/// Calls the tools where somebody asks for them, and says what they answered.
async fn complete(State(shared): State<Arc<Shared>>, Json(request): Json<Value>) -> Response {
    shared.requests.lock().unwrap().push(request.clone());
    let last =
        request["messages"].as_array().and_then(|messages| messages.last()).cloned().unwrap_or_default();
    let wants_tools = last["content"].to_string().contains("tools");
    let (deltas, finish) = if last["role"] == "user" && wants_tools {
        let call = |index: usize, name: &str| {
            json!({ "tool_calls": [{ "index": index, "id": format!("call_{name}"), "type": "function",
                "function": { "name": "use", "arguments": json!({ "which": name }).to_string() } }] })
        };
        (vec![call(0, "fast"), call(1, "slow")], "tool_calls")
    } else {
        (vec![json!({ "content": "well, " }), json!({ "content": "done" })], "stop")
    };
    let mut text = String::new();
    let mut say = |choices: Value, usage: Value| {
        let chunk = json!({ "id": "x", "object": "chat.completion.chunk", "model": "talker-1",
            "choices": choices, "usage": usage });
        text.push_str(&format!("data: {chunk}\n\n"));
    };
    for delta in deltas {
        say(json!([{ "index": 0, "delta": delta, "finish_reason": null }]), Value::Null);
    }
    say(json!([{ "index": 0, "delta": {}, "finish_reason": finish }]), Value::Null);
    say(json!([]), json!({ "prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25 }));
    text.push_str("data: [DONE]\n\n");
    ([(CONTENT_TYPE, "text/event-stream")], text).into_response()
}
