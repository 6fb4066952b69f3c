//! Against a small server that speaks the real wire format.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Response as Answer};
use axum::routing::post;
use bytes::Bytes;
use futures::StreamExt as _;
use serde_json::{Value, json};
use sre_proto::llm::v1 as pb;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::*;
use crate::inference::error::InferenceError;
use crate::inference::providers::Provider as _;
use crate::inference::providers::wire::Spoken;
use crate::inference::settings::InferenceSettings;
use crate::models::{Mode, Table};

/// What the server answers: called with the number of the call.
type Script = Arc<dyn Fn(usize) -> Answer<Body> + Send + Sync>;
type Seen = mpsc::Sender<(HeaderMap, Value)>;

struct Bench {
    chat: Spoken<OpenAiChat>,
    base: String,
    seen: mpsc::Receiver<(HeaderMap, Value)>,
    calls: Arc<AtomicUsize>,
    _server: JoinSet<()>,
}

async fn bench(script: impl Fn(usize) -> Answer<Body> + Send + Sync + 'static) -> Bench {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/v1", listener.local_addr().unwrap());
    let (sender, seen) = mpsc::channel(64);
    let calls = Arc::new(AtomicUsize::new(0));
    let state: (Script, Seen, Arc<AtomicUsize>) = (Arc::new(script), sender, Arc::clone(&calls));
    let router = Router::new()
        .route(
            "/v1/chat/completions",
            post(
                |State((script, seen, calls)): State<(Script, Seen, Arc<AtomicUsize>)>,
                 headers: HeaderMap,
                 body: Bytes| async move {
                    seen.try_send((headers, serde_json::from_slice(&body).unwrap())).unwrap();
                    script(calls.fetch_add(1, Ordering::SeqCst))
                },
            ),
        )
        .with_state(state);
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, router).await.unwrap() });
    let settings = InferenceSettings {
        repeat_wait: Duration::from_millis(1),
        first_token_timeout: Duration::from_secs(20),
        text_limit_bytes: 1000,
        ..InferenceSettings::default()
    };
    Bench { chat: Spoken::new(OpenAiChat, settings).unwrap(), base, seen, calls, _server: server }
}

impl Bench {
    fn call(&self) -> Call {
        let table = Table::new(Default::default(), Mode::Merge);
        let message = |role: pb::ChatRole, text: &str| pb::ChatMessage {
            role: role as i32,
            text: text.into(),
            ..Default::default()
        };
        Call {
            model: table.resolve("gpt-4o").unwrap(),
            request: pb::GenerateRequest {
                model: "gpt-4o".to_owned(),
                messages: vec![message(pb::ChatRole::System, "be kind"), message(pb::ChatRole::User, "hi")],
                max_tokens: Some(9),
                temperature: Some(0.5),
                ..Default::default()
            },
            base_url: Some(url::Url::parse(&self.base).unwrap()),
            key: Some(crate::inference::Key::of("sk-canary".into())),
        }
    }

    async fn stream(&self) -> Vec<Result<Piece, InferenceError>> {
        self.chat.stream(self.call()).await.unwrap().collect().await
    }
}

fn json_answer(status: u16, value: &Value) -> Answer<Body> {
    Answer::builder()
        .status(status)
        .header("content-type", "application/json")
        .header("x-request-id", "req-1")
        .body(Body::from(value.to_string()))
        .unwrap()
}

fn sse(events: &[Value], end: &str) -> Answer<Body> {
    let text: String = events.iter().map(|event| format!("data: {event}\r\n\r\n")).collect::<String>() + end;
    // One byte per piece: every line end and character is cut.
    let pieces: Vec<_> =
        text.into_bytes().into_iter().map(|byte| Ok::<_, std::io::Error>(vec![byte])).collect();
    Answer::new(Body::from_stream(futures::stream::iter(pieces)))
}

fn chunk(delta: Value, finish: Option<&str>) -> Value {
    json!({"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
}

fn whole(message: Value, finish: &str) -> Value {
    let usage = json!({"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12,
        "prompt_tokens_details": {"cached_tokens": 2}, "completion_tokens_details": {"reasoning_tokens": 3}});
    json!({"id": "x", "choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": usage})
}

#[tokio::test]
async fn a_request_is_what_the_service_expects() {
    let mut bench =
        bench(|_| json_answer(200, &whole(json!({"role": "assistant", "content": "ho"}), "stop"))).await;
    let mut call = bench.call();
    call.request.idempotency_key = "key-1".to_owned();
    call.request.response_format = pb::ResponseFormat::Json as i32;
    call.request.tool_mode = pb::ToolMode::Required as i32;
    call.request.tools = vec![pb::Tool {
        name: "t".to_owned(),
        description: "d".to_owned(),
        parameters_json: Bytes::from_static(br#"{"type":"object"}"#),
    }];
    let tool_call = pb::ToolCall {
        id: "c1".into(),
        name: "t".into(),
        arguments_json: Bytes::from_static(b"{\"a\":1}"),
        ..Default::default()
    };
    call.request.messages.push(pb::ChatMessage {
        role: pb::ChatRole::Assistant as i32,
        tool_calls: vec![tool_call],
        ..Default::default()
    });
    call.request.messages.push(pb::ChatMessage {
        role: pb::ChatRole::Tool as i32,
        text: "1".into(),
        tool_call_id: "c1".into(),
        ..Default::default()
    });
    let answer = bench.chat.generate(call).await.unwrap();
    assert_eq!((answer.text.as_str(), answer.finish_reason()), ("ho", pb::FinishReason::Stop));
    let usage = answer.usage.unwrap();
    assert_eq!(
        (usage.input_tokens, usage.output_tokens, usage.cached_input_tokens, usage.reasoning_tokens),
        (5, 7, 2, 3)
    );
    let (headers, body) = bench.seen.recv().await.unwrap();
    assert_eq!(headers["authorization"], "Bearer sk-canary");
    assert_eq!(headers["idempotency-key"], "key-1");
    assert_eq!(body["model"], "gpt-4o");
    assert_eq!(
        (&body["max_completion_tokens"], &body["temperature"], &body["stream"]),
        (&json!(9), &json!(0.5), &json!(false))
    );
    assert_eq!(body["response_format"], json!({"type": "json_object"}));
    assert_eq!(body["tool_choice"], "required");
    assert_eq!(
        body["tools"][0]["function"],
        json!({"name": "t", "description": "d", "parameters": {"type": "object"}})
    );
    let messages = body["messages"].as_array().unwrap();
    assert!(messages[0]["content"].as_str().unwrap().starts_with("be kind\n\n"));
    assert_eq!(messages[2]["tool_calls"][0]["function"], json!({"name": "t", "arguments": "{\"a\":1}"}));
    assert_eq!((&messages[3]["role"], &messages[3]["tool_call_id"]), (&json!("tool"), &json!("c1")));
}

#[tokio::test]
async fn models_that_think_get_no_sampling_and_other_services_their_own_names() {
    let bench = bench(|_| json_answer(200, &json!({}))).await;
    let body = |entry: &str| {
        let mut call = bench.call();
        call.model = Table::new(Default::default(), Mode::Merge).resolve(entry).unwrap();
        call.request.reasoning_effort = "low".to_owned();
        let dialect = dialect(&call.model.provider).unwrap();
        request::body(&call, dialect, Delivery::Stream).unwrap()
    };
    let thinking = body("o4-mini");
    assert!(thinking.get("temperature").is_none());
    assert_eq!(thinking["reasoning_effort"], "low");
    assert_eq!(thinking["stream_options"]["include_usage"], true);
    let local = body("local");
    assert_eq!(local["max_tokens"], 9);
    assert!(local.get("reasoning_effort").is_none() && local.get("max_completion_tokens").is_none());
}

#[tokio::test]
async fn a_stream_comes_in_order_and_ends_whole() {
    let bench = bench(|_| {
        let usage = json!({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 7}});
        sse(
            &[
                chunk(json!({"role": "assistant", "content": ""}), None),
                chunk(json!({"reasoning_content": "hm"}), None),
                chunk(json!({"content": "héllo ✓ "}), None),
                chunk(json!({"content": "日本語 😀"}), None),
                chunk(json!({}), Some("length")),
                usage,
            ],
            ": bye\n\ndata: [DONE]\n\n",
        )
    })
    .await;
    let pieces: Vec<_> = bench.stream().await.into_iter().map(Result::unwrap).collect();
    let expected =
        [Piece::Thinking("hm".into()), Piece::Text("héllo ✓ ".into()), Piece::Text("日本語 😀".into())];
    assert_eq!(pieces[..3], expected);
    let Piece::Finished(answer) = &pieces[3] else { panic!("{pieces:?}") };
    assert_eq!((answer.text.as_str(), answer.thinking.as_str()), ("héllo ✓ 日本語 😀", "hm"));
    assert_eq!((answer.finish_reason(), answer.usage.unwrap().output_tokens), (pb::FinishReason::Length, 7));
    assert_eq!(pieces.len(), 4);
}

#[tokio::test]
async fn tool_calls_are_put_together() {
    let call = |index: u64, id: &str, name: &str, arguments: &str| json!({"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
    let bench = bench(move |_| {
        sse(
            &[
                chunk(json!({"content": "wait"}), None),
                chunk(json!({"tool_calls": [call(0, "a", "one", ""), call(1, "b", "two", "{\"x\"")]}), None),
                chunk(json!({"tool_calls": [{"index": 1, "function": {"arguments": ":1}"}}]}), None),
                chunk(json!({"tool_calls": [{"index": 0, "function": {"arguments": ""}}]}), None),
                chunk(json!({}), Some("tool_calls")),
            ],
            "data: [DONE]\n\n",
        )
    })
    .await;
    let Some(Ok(Piece::Finished(answer))) = bench.stream().await.pop() else { panic!() };
    let calls: Vec<_> = answer
        .tool_calls
        .iter()
        .map(|call| (call.id.as_str(), call.name.as_str(), &call.arguments_json[..]))
        .collect();
    assert_eq!(calls, [("a", "one", &b"{}"[..]), ("b", "two", b"{\"x\":1}")]);
    assert_eq!(answer.finish_reason(), pb::FinishReason::ToolCalls);
}

#[tokio::test]
async fn services_without_indexes_and_with_objects_are_understood() {
    let bench = bench(|_| {
        let calls = json!([
            {"id": "a", "function": {"name": "one", "arguments": {"x": 1}}},
            {"id": "b", "function": {"name": "two", "arguments": "{}"}},
        ]);
        json_answer(200, &whole(json!({"content": null, "tool_calls": calls}), "stop"))
    })
    .await;
    let answer = bench.chat.generate(bench.call()).await.unwrap();
    let calls: Vec<_> = answer.tool_calls.iter().map(|call| &call.arguments_json[..]).collect();
    assert_eq!(calls, [&b"{\"x\":1}"[..], b"{}"]);
    assert_eq!(answer.finish_reason(), pb::FinishReason::ToolCalls);
}

#[tokio::test]
async fn refusals_carry_status_and_words() {
    let error =
        json!({"error": {"message": "mock error", "type": "mock", "code": "context_length_exceeded"}});
    let bench = bench(move |_| json_answer(400, &error)).await;
    for error in [
        bench.chat.generate(bench.call()).await.unwrap_err(),
        bench.chat.stream(bench.call()).await.err().unwrap(),
    ] {
        assert_eq!(error.to_string(), "400 mock error");
        let InferenceError::Refused(refusal) = error else { panic!() };
        assert_eq!(
            (refusal.code.as_str(), refusal.request_id.as_str()),
            ("context_length_exceeded", "req-1")
        );
        assert!(!format!("{refusal:?}").contains("canary"));
    }
    assert_eq!(bench.calls.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_service_that_wants_a_long_pause_is_left_alone() {
    let bench = bench(|_| {
        let answer = json_answer(429, &json!({"error": {"message": "slow down"}}));
        let (mut parts, body) = answer.into_parts();
        parts.headers.insert("retry-after", "60".parse().unwrap());
        Answer::from_parts(parts, body)
    })
    .await;
    let error = bench.chat.generate(bench.call()).await.unwrap_err();
    let status = tonic::Status::from(error);
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    let details = tonic_details(&status);
    assert_eq!((details["retry_after_ms"].as_str(), details["status"].as_str()), ("60000", "429"));
    assert_eq!(bench.calls.load(Ordering::SeqCst), 1);
}

fn tonic_details(status: &tonic::Status) -> std::collections::HashMap<String, String> {
    use tonic_types::StatusExt as _;
    status.get_details_error_info().unwrap().metadata
}

#[tokio::test]
async fn a_quota_that_is_used_up_is_not_asked_again() {
    let error = json!({"error": {"message": "no money", "code": "insufficient_quota"}});
    let bench = bench(move |_| json_answer(429, &error)).await;
    assert_eq!(bench.chat.generate(bench.call()).await.unwrap_err().to_string(), "429 no money");
    assert_eq!(bench.calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn broken_answers_are_errors() {
    let text = chunk(json!({"content": "half"}), None);
    for (end, words) in [
        ("", "in the middle"),
        ("data: {\"error\":{\"message\":\"boom\",\"code\":529}}\n\n", "529 boom"),
        ("data: {oops\n\n", "not a chunk"),
    ] {
        let text = text.clone();
        let bench = bench(move |_| sse(std::slice::from_ref(&text), end)).await;
        let mut pieces = bench.stream().await;
        let error = pieces.pop().unwrap().unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        let before: Vec<_> = pieces.into_iter().map(Result::unwrap).collect();
        assert_eq!(before, [Piece::Text("half".into())]);
    }
    // Without the marker, but the service said why it ended: whole.
    let bench = bench(|_| sse(&[chunk(json!({"content": "all"}), Some("stop"))], "")).await;
    assert!(matches!(bench.stream().await.last(), Some(Ok(Piece::Finished(_)))));
}

#[tokio::test]
async fn long_answers_and_empty_ones_are_refused() {
    let long = bench(|_| sse(&vec![chunk(json!({"content": "x".repeat(100)}), None); 20], "")).await;
    let error = long.stream().await.pop().unwrap().unwrap_err();
    assert!(error.to_string().contains("longer than 1000 bytes"), "{error}");
    let empty = bench(|_| json_answer(200, &json!({"choices": []}))).await;
    assert!(matches!(empty.chat.generate(empty.call()).await, Err(InferenceError::Broken { .. })));
}

#[tokio::test]
async fn a_silent_service_is_given_up() {
    let bench = bench(|_| {
        Answer::new(Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>()))
    })
    .await;
    let mut call = bench.call();
    call.request.first_token_timeout = Some(prost_types::Duration { seconds: 0, nanos: 30_000_000 });
    let pieces: Vec<_> = bench.chat.stream(call.clone()).await.unwrap().collect().await;
    assert!(matches!(pieces.as_slice(), [Err(InferenceError::Silent { .. })]), "{pieces:?}");
    assert!(matches!(bench.chat.generate(call).await, Err(InferenceError::Silent { .. })));
}

/// Says that it was dropped.
struct Told(mpsc::Sender<()>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.try_send(()).unwrap();
    }
}

#[tokio::test]
async fn a_dropped_stream_drops_the_call() {
    let (dropped, mut is_dropped) = mpsc::channel::<()>(1);
    let bench = bench(move |_| {
        let first = format!("data: {}\n\n", chunk(json!({"content": "a"}), None));
        let told = Told(dropped.clone());
        // Endless: it ends only when the server sees that the connection is closed.
        let body = futures::stream::unfold((Some(first), told), async |(first, told)| match first {
            Some(first) => Some((Ok::<_, std::io::Error>(first), (None, told))),
            None => std::future::pending().await,
        });
        Answer::new(Body::from_stream(body))
    })
    .await;
    let mut pieces = bench.chat.stream(bench.call()).await.unwrap();
    assert_eq!(pieces.next().await.unwrap().unwrap(), Piece::Text("a".into()));
    drop(pieces);
    assert_eq!(is_dropped.recv().await, Some(()));
}

#[tokio::test]
async fn a_redirect_does_not_carry_the_key_elsewhere() {
    let bench = bench(|_| {
        Answer::builder()
            .status(307)
            .header("location", "http://127.0.0.1:9/steal")
            .body(Body::empty())
            .unwrap()
    })
    .await;
    let error = bench.chat.generate(bench.call()).await.unwrap_err();
    assert!(matches!(error, InferenceError::Refused(refusal) if refusal.status == 307));
    assert_eq!(bench.calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let bench = bench(|_| json_answer(200, &json!({}))).await;
    let mut call = bench.call();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    call.base_url = Some(url::Url::parse(&format!("http://{address}/v1")).unwrap());
    let error = bench.chat.generate(call).await.unwrap_err();
    assert!(matches!(error, InferenceError::Unreachable { .. }), "{error}");
}
