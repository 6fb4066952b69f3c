//! Providers that fail, as callers of the service see them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::Response as Answer;
use axum::routing::post;
use futures::StreamExt as _;
use serde_json::{Value, json};
use sre_proto::llm::v1 as pb;
use sre_proto::llm::v1::generate_event::Event;
use sre_proto::llm::v1::inference_client::InferenceClient;
use sre_service::accounts::TeamRole;
use sre_service::testing::TestSuite;
use sre_service::{Link, Role};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// What a provider answers to its nth call.
type Script = Arc<dyn Fn(usize, Value) -> Answer<Body> + Send + Sync>;

/// Some providers, and a suite whose models they are.
pub(crate) struct Bench {
    pub(crate) suite: TestSuite,
    _dir: tempfile::TempDir,
    servers: JoinSet<()>,
}

/// A provider on a port of its own; gives its base address and counts its calls.
pub(crate) async fn provider(
    servers: &mut JoinSet<()>,
    script: impl Fn(usize, Value) -> Answer<Body> + Send + Sync + 'static,
) -> (String, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/v1", listener.local_addr().unwrap());
    let calls = Arc::new(AtomicUsize::new(0));
    let state: (Script, Arc<AtomicUsize>) = (Arc::new(script), Arc::clone(&calls));
    let answer = post(|State((script, calls)): State<(Script, Arc<AtomicUsize>)>, body: Bytes| async move {
        script(calls.fetch_add(1, Ordering::SeqCst), serde_json::from_slice(&body).unwrap())
    });
    let router = Router::new().route("/v1/chat/completions", answer).with_state(state);
    servers.spawn(async move { axum::serve(listener, router).await.unwrap() });
    (base, calls)
}

impl Bench {
    pub(crate) async fn start(servers: JoinSet<()>, models: &Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("models.json");
        std::fs::write(&path, models.to_string()).unwrap();
        let suite = TestSuite::builder()
            .role(Role::Llm, crate::start)
            .member("user/alice", "red", TeamRole::Admin)
            .member("user/bob", "red", TeamRole::Member)
            .config(move |config| {
                config.models.path = Some(path);
                // There is no ledger in this suite.
                config.limits.quota.model_micros_per_month = u64::MAX;
            })
            .build()
            .await
            .unwrap();
        Self { suite, _dir: dir, servers }
    }

    pub(crate) fn calls(&self) -> InferenceClient<Link> {
        assert!(!self.servers.is_empty());
        InferenceClient::new(self.suite.link_as("user/alice", Role::Llm))
    }

    async fn events(&self, request: pb::GenerateRequest) -> Vec<Result<Event, Status>> {
        let request = pb::GenerateStreamRequest { request: Some(request) };
        let events = self.calls().generate_stream(request).await.unwrap().into_inner();
        events.map(|event| event.map(|event| event.event.unwrap())).collect().await
    }
}

pub(crate) fn ask(model: &str) -> pb::GenerateRequest {
    let message =
        pb::ChatMessage { role: pb::ChatRole::User as i32, text: "hi".into(), ..Default::default() };
    pb::GenerateRequest { model: model.to_owned(), messages: vec![message], ..Default::default() }
}

pub(crate) fn entry(base: &str, more: Value) -> Value {
    let mut entry = json!({"modelId": "m", "provider": "OpenAI", "baseURL": base, "credentials": "none",
        "features": ["text", "tools"], "tokens": 1000, "completionTokens": 100,
        "prices": {"inputMicros": 1_000_000, "outputMicros": 1_000_000}});
    entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    entry
}

pub(crate) fn refuse(status: u16, code: &str) -> Answer<Body> {
    let body = json!({"error": {"message": "no", "code": code}}).to_string();
    Answer::builder().status(status).header("retry-after-ms", "1").body(Body::from(body)).unwrap()
}

pub(crate) fn say(text: &str) -> Answer<Body> {
    let usage = json!({"prompt_tokens": 10, "completion_tokens": 5});
    let choice = json!([{"message": {"content": text}, "finish_reason": "stop"}]);
    let body = json!({"id": "chatcmpl-1", "choices": choice, "usage": usage});
    Answer::new(Body::from(body.to_string()))
}

fn piece(text: &str, finish: Option<&str>) -> String {
    let chunk = json!({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]});
    format!("data: {chunk}\n\n")
}

fn failure_of(status: &Status) -> String {
    status.get_details_error_info().unwrap().metadata["failure"].clone()
}

#[tokio::test]
async fn a_busy_provider_is_asked_again_and_every_attempt_is_told() {
    let mut servers = JoinSet::new();
    let script = |call, _| match call {
        0 => refuse(503, ""),
        1 => refuse(429, ""),
        _ => say("ok"),
    };
    let (base, calls) = provider(&mut servers, script).await;
    let bench = Bench::start(servers, &json!({"m": entry(&base, json!({}))})).await;
    let answer = bench.calls().generate(ask("m")).await.unwrap().into_inner();
    let told: Vec<_> = answer.attempts.iter().map(|attempt| attempt.failure.as_str()).collect();
    assert_eq!((answer.text.as_str(), told), ("ok", vec!["overloaded", "rate_limit", ""]));
    assert_eq!((answer.model.as_str(), answer.cost_micros), ("m", 15));
    assert_eq!(calls.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn what_no_repeat_helps_is_not_repeated_and_named() {
    let mut servers = JoinSet::new();
    let script = |_, body: Value| match body["messages"][0]["content"].as_str() {
        Some("quota") => refuse(429, "insufficient_quota"),
        Some("long") => refuse(400, "context_length_exceeded"),
        Some("filter") => refuse(400, "content_filter"),
        Some("key") => refuse(401, ""),
        _ => refuse(422, ""),
    };
    let (base, calls) = provider(&mut servers, script).await;
    let bench = Bench::start(servers, &json!({"m": entry(&base, json!({}))})).await;
    for (said, failure) in [
        ("quota", "quota"),
        ("long", "context_length"),
        ("filter", "content_filter"),
        ("key", "auth"),
        ("x", "invalid_request"),
    ] {
        let before = calls.load(Ordering::SeqCst);
        let mut request = ask("m");
        request.messages[0].text = said.into();
        let status = bench.calls().generate(request).await.unwrap_err();
        assert_eq!(failure_of(&status), failure, "{status:?}");
        assert_eq!(calls.load(Ordering::SeqCst), before + 1, "{said}");
    }
}

#[tokio::test]
async fn d7_another_model_goes_on_while_nothing_of_a_stream_was_seen() {
    let mut servers = JoinSet::new();
    let (bad, _) = provider(&mut servers, |_, _| refuse(401, "")).await;
    // A stream that breaks before its first piece is the same.
    let (worse, _) = provider(&mut servers, |_, _| Answer::new(Body::from(": nothing\n\n"))).await;
    let good = |_, _| Answer::new(Body::from(format!("{}data: [DONE]\n\n", piece("fine", Some("stop")))));
    let (good, _) = provider(&mut servers, good).await;
    let models = json!({"bad": entry(&bad, json!({"fallbacks": ["worse", "good"]})),
        "worse": entry(&worse, json!({})), "good": entry(&good, json!({}))});
    let bench = Bench::start(servers, &models).await;
    let events = bench.events(ask("bad")).await;
    let events: Vec<_> = events.into_iter().map(Result::unwrap).collect();
    let next = |from: &str, to: &str, failure: &str| {
        Event::Fallback(pb::ModelFallback {
            from_model: from.into(),
            to_model: to.into(),
            failure: failure.into(),
        })
    };
    assert_eq!(events[0], next("bad", "worse", "auth"));
    assert_eq!(events[1], next("worse", "good", "stream_broken"));
    assert_eq!(events[2], Event::Text("fine".into()));
    let Event::Finished(answer) = &events[3] else { panic!("{events:?}") };
    assert_eq!((answer.model.as_str(), answer.attempts.len(), events.len()), ("good", 3, 4));
    let refused = bench.calls().generate(pb::GenerateRequest { no_fallback: true, ..ask("bad") }).await;
    assert_eq!(failure_of(&refused.unwrap_err()), "auth");
}

#[tokio::test]
async fn after_the_first_piece_nothing_takes_the_place_of_an_answer() {
    let mut servers = JoinSet::new();
    let (base, calls) = provider(&mut servers, |_, _| Answer::new(Body::from(piece("half", None)))).await;
    let models = json!({"m": entry(&base, json!({"fallbacks": ["m2"]})), "m2": entry(&base, json!({}))});
    let bench = Bench::start(servers, &models).await;
    let events = bench.events(ask("m")).await;
    assert_eq!(events[0].as_ref().unwrap(), &Event::Text("half".into()));
    let [_, Err(status)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((failure_of(status).as_str(), calls.load(Ordering::SeqCst)), ("stream_broken", 1));
}

#[tokio::test]
async fn d43_silence_ends_before_the_first_piece_and_between_two() {
    let mut servers = JoinSet::new();
    let (base, _) = provider(&mut servers, |_, body| {
        let first = body["messages"][0]["content"] == "begin";
        let first = futures::stream::iter(first.then(|| Ok::<_, std::io::Error>(piece("a", None))));
        Answer::new(Body::from_stream(first.chain(futures::stream::pending())))
    })
    .await;
    let bench = Bench::start(servers, &json!({"m": entry(&base, json!({}))})).await;
    let short = || Some(prost_types::Duration { seconds: 0, nanos: 20_000_000 });
    let mut never = pb::GenerateRequest { first_token_timeout: short(), ..ask("m") };
    let request = pb::GenerateStreamRequest { request: Some(never.clone()) };
    let status = bench.calls().generate_stream(request).await.unwrap_err();
    assert_eq!((status.code(), failure_of(&status).as_str()), (Code::DeadlineExceeded, "timeout"));
    never.messages[0].text = "begin".into();
    let then = pb::GenerateRequest { idle_timeout: short(), first_token_timeout: None, ..never };
    let events = bench.events(then).await;
    let [Ok(Event::Text(_)), Err(status)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(failure_of(status), "timeout");
}

/// Says that it was dropped.
struct Told(mpsc::Sender<()>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.try_send(()).unwrap();
    }
}

#[tokio::test]
async fn a_stream_that_nobody_hears_is_closed_at_its_provider() {
    let mut servers = JoinSet::new();
    let (dropped, mut is_dropped) = mpsc::channel::<()>(1);
    let (base, _) = provider(&mut servers, move |_, _| {
        let told = Told(dropped.clone());
        // Endless: it ends only when the server sees that the connection is closed.
        let body = futures::stream::unfold((true, told), async |(first, told)| match first {
            true => Some((Ok::<_, std::io::Error>(piece("a", None)), (false, told))),
            false => std::future::pending().await,
        });
        Answer::new(Body::from_stream(body))
    })
    .await;
    let bench = Bench::start(servers, &json!({"m": entry(&base, json!({}))})).await;
    let request = pb::GenerateStreamRequest { request: Some(ask("m")) };
    let mut events = bench.calls().generate_stream(request).await.unwrap().into_inner();
    assert!(matches!(events.next().await, Some(Ok(_))));
    drop(events);
    // Far below the time for which a whole answer would be heard.
    let closed = tokio::time::timeout(Duration::from_secs(5), is_dropped.recv()).await;
    assert_eq!(closed.unwrap(), Some(()));
}

#[tokio::test]
async fn features_are_looked_at_before_anybody_is_asked() {
    let mut servers = JoinSet::new();
    let (base, calls) = provider(&mut servers, |_, _| say("ok")).await;
    let models = json!({"m": entry(&base, json!({"features": ["text"]})), "off": entry(&base, json!({"enabled": false}))});
    let bench = Bench::start(servers, &models).await;
    let image = pb::Media { mimetype: "image/png".into(), ..Default::default() };
    let mut sees = ask("m");
    sees.messages[0].parts = vec![pb::Part { part: Some(pb::part::Part::Media(image)) }];
    for wrong in [
        pb::GenerateRequest { tools: vec![pb::Tool::default()], ..ask("m") },
        pb::GenerateRequest { web_search: Some(pb::WebSearch::default()), ..ask("m") },
        sees,
        ask("off"),
        ask("text-embedding-3-large"),
    ] {
        assert_eq!(bench.calls().generate(wrong).await.unwrap_err().code(), Code::InvalidArgument);
    }
    let thinks = pb::GenerateRequest { reasoning_effort: "high".into(), ..ask("m") };
    assert_eq!(bench.calls().generate(thinks).await.unwrap().into_inner().text, "ok");
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn d29_a_callers_address_is_under_the_egress_policy_and_gets_no_key_of_the_deployment() {
    let mut servers = JoinSet::new();
    let (base, calls) = provider(&mut servers, |_, _| say("ok")).await;
    let bench = Bench::start(servers, &json!({"m": entry(&base, json!({}))})).await;
    let inner = json!({"modelId": "x", "provider": "OpenAI", "baseURL": base, "credentials": "none"});
    let status = bench.calls().generate(ask(&inner.to_string())).await.unwrap_err();
    assert_eq!(sre_proto::error::reason(&status), Some(sre_proto::error::Reason::EgressDenied), "{status:?}");
    assert_eq!(calls.load(Ordering::SeqCst), 0);
    let keyed = json!({"modelId": "x", "provider": "OpenAI", "baseURL": "https://evil.example/v1", "credentials": "internal"});
    let status = bench.calls().generate(ask(&keyed.to_string())).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
    // An object that changes nothing of where it goes is the operator's entry.
    let same = json!({"modelId": "m", "completionTokens": 7});
    assert_eq!(bench.calls().generate(ask(&same.to_string())).await.unwrap().into_inner().text, "ok");
}

#[tokio::test]
async fn d26_an_answer_is_what_the_model_said() {
    let said = r#"Look: {"a": 1} and {"error": "no"}"#;
    let mut servers = JoinSet::new();
    let (base, _) =
        provider(&mut servers, move |call, _| say(if call == 0 { said } else { r#"{"error": "x"}"# })).await;
    let bench = Bench::start(servers, &json!({"m": entry(&base, json!({}))})).await;
    assert_eq!(bench.calls().generate(ask("m")).await.unwrap().into_inner().text, said);
    let object = bench.calls().generate(ask("m")).await.unwrap().into_inner();
    assert_eq!(object.text, r#"{"error": "x"}"#, "no failure is read out of it");
}
