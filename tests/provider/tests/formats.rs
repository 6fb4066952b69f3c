//! The server over HTTP: every scenario in every format ends, and tells the same answer.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a mistake in a test ends the test")]

use std::sync::LazyLock;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use sre_fake_provider::{Ended, FakeProvider, Framing, Load, Order, Scenario, Step, ToolCall, named};

/// Address and body of each format that streams.
fn requests() -> Vec<(&'static str, Value)> {
    let messages = json!([{"role": "user", "content": "hi there"}]);
    let contents = json!({"contents": [{"role": "user", "parts": [{"text": "hi there"}]}]});
    let chat = json!({"model": "m", "messages": messages, "stream": true, "stream_options": {"include_usage": true}});
    vec![
        ("/v1/chat/completions", chat.clone()),
        ("/groq/openai/v1/chat/completions", chat),
        ("/v1/responses", json!({"model": "m", "input": "hi there", "stream": true})),
        ("/v1/messages", json!({"model": "m", "messages": messages, "stream": true, "max_tokens": 9})),
        ("/v1beta/models/m:streamGenerateContent?alt=sse", contents),
        (
            "/model/a.b%3A0/converse-stream",
            json!({"messages": [{"role": "user", "content": [{"text": "hi there"}]}]}),
        ),
        ("/api/chat", json!({"model": "m", "messages": messages})),
    ]
}

/// One for all: making one takes a while.
static CLIENT: LazyLock<reqwest::Client> =
    LazyLock::new(|| reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap());

async fn ask(server: &FakeProvider, path: &str, body: &Value, scenario: &str) -> reqwest::Response {
    CLIENT
        .post(server.url(path))
        .header("authorization", "Bearer key-1")
        .header("anthropic-version", "2023-06-01")
        .header("x-fake-scenario", scenario)
        .body(body.to_string())
        .timeout(Duration::from_secs(20))
        .send()
        .await
        .unwrap()
}

async fn read(answer: reqwest::Response) -> Value {
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
}

#[tokio::test]
async fn every_scenario_ends_in_every_format() {
    let server = FakeProvider::start().await.unwrap();
    for (name, _) in named::all() {
        if name.contains("stall") {
            continue;
        }
        for (path, body) in requests() {
            let answer = ask(&server, path, &body, &name).await;
            let status = answer.status();
            let bytes = answer.bytes().await;
            assert_eq!(bytes.is_err(), name == "error/reset", "{name} {path}: {bytes:?}");
            let refused = name.starts_with("error/") && name[6..].starts_with(|c: char| c.is_ascii_digit());
            assert_eq!(status.is_success(), !refused, "{name} {path}: {status}");
            if name.starts_with("text/") && !path.contains("converse") {
                let text = String::from_utf8(bytes.unwrap().to_vec()).unwrap();
                assert!(text.contains("日本語"), "{name} {path}: {text}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_queued_comes_first_and_is_recorded() {
    let server = FakeProvider::start().await.unwrap();
    let calls = [ToolCall::of("a", "{\"x\":1}"), ToolCall::of("b", "")];
    server.state().queue(Scenario::of([Step::tools(Order::Interleaved, calls)]));
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    let first = read(ask(&server, "/v1/chat/completions", &body, "").await).await;
    assert_eq!(first["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"], "{\"x\":1}");
    assert_eq!(first["choices"][0]["finish_reason"], "tool_calls");
    let second = read(ask(&server, "/v1/chat/completions", &body, "").await).await;
    assert_eq!(second["choices"][0]["message"]["content"], "You said: hi");
    let seen = read(reqwest::get(server.url("/__fake/requests")).await.unwrap()).await;
    assert_eq!(seen[1]["body"], body);
    assert_eq!((&seen[0]["path"], &seen[0]["ended"]), (&json!("/v1/chat/completions"), &json!("whole")));
    let ledger = server.state().ledger();
    assert_eq!((ledger["key-1"].answers, ledger["key-1"].usage.input), (2, 2));
}

#[tokio::test]
async fn a_listener_that_goes_is_noticed() {
    let server = FakeProvider::start().await.unwrap();
    let (path, body) = requests().remove(0);
    let mut answer = ask(&server, path, &body, "error/stall").await;
    assert!(answer.chunk().await.unwrap().is_some());
    drop(answer);
    let dropped = server.state().wait_for(Duration::from_secs(5), |state| {
        state.requests().iter().all(|request| request.ended == Ended::Dropped)
    });
    assert!(dropped.await);
    assert_eq!(server.state().ledger()["key-1"].usage.output, 1, "what was sent is charged for");
}

#[tokio::test]
async fn keys_are_asked_for_and_load_has_its_limit() {
    let server = FakeProvider::start().await.unwrap();
    for (path, body) in requests() {
        let bare = CLIENT.post(server.url(path)).body(body.to_string()).send().await.unwrap();
        let expected = match path {
            "/api/chat" => StatusCode::OK,
            path if path.contains("converse") => StatusCode::FORBIDDEN,
            _ => StatusCode::UNAUTHORIZED,
        };
        assert_eq!(bare.status(), expected, "{path}");
    }
    server.state().set_load(Load { most_at_once: 1, ..Load::default() });
    let (path, body) = requests().remove(0);
    let mut held = ask(&server, path, &body, "error/stall").await;
    assert!(held.chunk().await.unwrap().is_some());
    assert_eq!(ask(&server, path, &body, "").await.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn one_byte_at_a_time_is_the_same_text() {
    let server = FakeProvider::start().await.unwrap();
    for (path, body) in requests() {
        let scenario = |bytes| {
            let steps = [Step::Text("é✓😀 ".into()), Step::Text("b".into())];
            let framing = Framing { bytes, ..Framing::default() };
            serde_json::to_string(&Scenario::of(steps).framed(framing)).unwrap()
        };
        // Headers are ASCII: the scenario is queued.
        let mut bodies = Vec::new();
        for bytes in [0, 1] {
            server.state().queue(serde_json::from_str(&scenario(bytes)).unwrap());
            bodies.push(ask(&server, path, &body, "").await.bytes().await.unwrap());
        }
        let plain = |bytes: &[u8]| bytes.iter().filter(|byte| !byte.is_ascii_digit()).count();
        assert!(!bodies[0].is_empty());
        if path != "/model/a.b%3A0/converse-stream" {
            assert_eq!(plain(&bodies[0]), plain(&bodies[1]), "{path}");
        }
    }
}
