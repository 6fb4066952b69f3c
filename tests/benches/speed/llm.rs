//! Models: what a call costs beyond its provider, which here has no latency and shares the cores.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sre_proto::llm::v1::generate_event::Event;
use sre_proto::llm::v1::inference_client::InferenceClient;
use sre_proto::llm::v1::{ChatMessage, ChatRole, GenerateRequest, GenerateStreamRequest};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use super::calls::{Calls, beside};
use super::suite::{Mode, Running};
use super::{agents, echo, leaving, load, memory, micros, seconds, suite, upstream};

/// Requests a second at which the added latency is measured.
const RATE: u32 = 1_000;
/// Pieces of a measured stream, and how many of them are measured.
const CHUNKS: u32 = 1_000;
const STREAMS: usize = 40;
/// Callers that leave.
const LEAVING: usize = 200;
/// Streams that are open and silent, and connections that they share.
const IDLE: usize = 5_000;
const CONNECTIONS: usize = 50;

/// A suite with these models.
async fn suite_with(models: &Value) -> (Running, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("models.json"), models.to_string()).unwrap();
    let settings = [
        ("SRE__LISTEN__LLM".to_owned(), "127.0.0.1:0".to_owned()),
        ("SRE__MODELS__PATH".to_owned(), folder.path().display().to_string()),
        ("SRE__LIMITS__MAX_STREAMS".to_owned(), "10000".to_owned()),
    ];
    (Running::start_with(Mode::AllInOne, &settings).await, folder)
}

/// Measures calls and streams, and prints.
pub async fn measure() {
    let upstream = upstream::Running::start();
    let (suite, _folder) = suite_with(&upstream.models()).await;
    let channel = suite.connect_role("llm").await;
    let echo = echo::Running::start(&suite.certs());
    let bare = echo.connect(&suite.certs()).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();

    println!("\n## A model's answer over mTLS, beside a bare tonic mTLS echo (median of 3 pairs)\n");
    println!("| call | callers | echo /s | /s | p50 | p99 | part of the echo |");
    println!("|---|---|---|---|---|---|---|");
    let generate = generating(&channel);
    for callers in [16, 64] {
        beside("Generate", callers, &echo::caller(&bare), &generate).await;
    }
    println!("\n| call | callers | model alone /s | /s | p50 | p99 | part of the model alone |");
    println!("|---|---|---|---|---|---|---|");
    let direct = directly(&http, &upstream.base());
    for callers in [16, 64] {
        beside("Generate", callers, &direct, &generate).await;
    }
    added(&direct, &generate).await;
    chunks(&channel, &http, &upstream.base()).await;
}

/// Measures a component that asks, and prints.
pub async fn measure_asking() {
    let upstream = upstream::Running::start();
    let (suite, _folder) = suite_with(&upstream.models()).await;
    component(&suite).await;
}

/// Measures streams that say nothing, and prints.
pub async fn measure_idle() {
    let upstream = upstream::Running::start();
    let (suite, _folder) = suite_with(&upstream.models()).await;
    idle(&suite).await;
}

/// Measures what becomes of a provider's stream whose listener leaves, and prints.
pub async fn measure_leaving() {
    let mut provider = leaving::Provider::start().await;
    let models = json!({ "leaving": upstream::model(&provider.base(), "leaving") });
    let (suite, _folder) = suite_with(&models).await;
    left(&suite.connect_role("llm").await, &mut provider).await;
}

fn request(model: &str) -> GenerateRequest {
    let text = "What is the capital of France?".to_owned();
    let message = ChatMessage { role: ChatRole::User.into(), text, ..ChatMessage::default() };
    GenerateRequest { model: model.to_owned(), messages: vec![message], ..GenerateRequest::default() }
}

fn generating(channel: &Channel) -> impl Calls {
    let client = InferenceClient::new(channel.clone());
    move || {
        let mut client = client.clone();
        Box::pin(async move {
            let answer = client.generate(request("bench")).await.unwrap().into_inner();
            assert_eq!(answer.text, "tok ");
        })
    }
}

fn directly(http: &reqwest::Client, base: &str) -> impl Calls {
    let (http, url) = (http.clone(), format!("{base}/chat/completions"));
    let body = json!({"model": "bench-1", "stream": false, "max_completion_tokens": 4096,
        "messages": [{"role": "user", "content": "What is the capital of France?"}]})
    .to_string();
    move || {
        let request = http.post(&url).header("content-type", "application/json").body(body.clone());
        Box::pin(async move {
            let answer = request.send().await.unwrap().bytes().await.unwrap();
            assert!(!answer.is_empty());
        })
    }
}

/// Latency at a fixed rate, with and without us, in turn.
async fn added(direct: &impl Calls, generate: &impl Calls) {
    println!("\n### Added latency at {RATE} requests a second\n");
    println!("| | p50 | p99 |\n|---|---|---|");
    let mut pairs = Vec::new();
    for _ in 0..3 {
        pairs.push((at_rate(direct.clone()).await, at_rate(generate.clone()).await));
    }
    pairs.sort_by_key(|(bare, ours)| ours.0.saturating_sub(bare.0));
    let (bare, ours) = &pairs[1];
    println!("| model alone | {} | {} |", micros(bare.0), micros(bare.1));
    println!("| Generate | {} | {} |", micros(ours.0), micros(ours.1));
    println!(
        "| added | {} | {} |",
        micros(ours.0.saturating_sub(bare.0)),
        micros(ours.1.saturating_sub(bare.1))
    );
}

/// Calls at a fixed rate, whatever becomes of those before: median and 99th percentile.
async fn at_rate(call: impl Calls) -> (Duration, Duration) {
    let time = seconds() * 2;
    let all = RATE * u32::try_from(time.as_secs().max(1)).unwrap();
    let began = Instant::now();
    let mut calls = JoinSet::new();
    for n in 0..all {
        let due = began + Duration::from_secs(1) * n / RATE;
        tokio::time::sleep_until(due.into()).await;
        let call = call.clone();
        calls.spawn(async move {
            call().await;
            // From when it was due: a generator that is late hides nothing.
            due.elapsed()
        });
    }
    let mut times = calls.join_all().await;
    // The first tenth warms up.
    times.drain(..times.len() / 10);
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

/// What a piece of a stream costs beyond the model's own.
async fn chunks(channel: &Channel, http: &reqwest::Client, base: &str) {
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for n in 0..STREAMS {
        let started = Instant::now();
        let body = json!({"model": format!("bench-{CHUNKS}"), "stream": true, "messages": []}).to_string();
        let url = format!("{base}/chat/completions");
        let mut answer = http.post(url).body(body).send().await.unwrap();
        while answer.chunk().await.unwrap().is_some() {}
        let direct = started.elapsed();
        let started = Instant::now();
        let request = GenerateStreamRequest { request: Some(request("bench-1000")) };
        let mut events =
            InferenceClient::new(channel.clone()).generate_stream(request).await.unwrap().into_inner();
        let mut pieces = 0;
        while let Some(event) = events.message().await.unwrap() {
            if let Some(Event::Text(_)) = event.event {
                pieces += 1;
            }
        }
        assert_eq!(pieces, CHUNKS);
        if n >= STREAMS / 4 {
            bare.push(direct);
            ours.push(started.elapsed());
        }
    }
    bare.sort_unstable();
    ours.sort_unstable();
    let (bare, ours) = (bare[bare.len() / 2] / CHUNKS, ours[ours.len() / 2] / CHUNKS);
    let nanos = |time: Duration| time.as_nanos() as f64 / 1e3;
    println!("\n### Streaming, {CHUNKS} chunks\n");
    println!(
        "- a chunk: {:.1} µs, of the model alone {:.1} µs, added {:.1} µs",
        nanos(ours),
        nanos(bare),
        nanos(ours) - nanos(bare)
    );
}

/// How long the provider's socket outlives a caller that leaves in the middle of an answer.
async fn left(channel: &Channel, provider: &mut leaving::Provider) {
    let mut times = Vec::new();
    for _ in 0..LEAVING {
        let request = GenerateStreamRequest { request: Some(request("leaving")) };
        let mut events =
            InferenceClient::new(channel.clone()).generate_stream(request).await.unwrap().into_inner();
        events.message().await.unwrap().unwrap();
        let left = Instant::now();
        drop(events);
        times.push(provider.closed_after(left).await);
    }
    times.sort_unstable();
    println!("\n### Callers that leave, {LEAVING} of them, one after the other\n");
    println!(
        "- the provider's socket is closed after {} (median), {} (the slowest); allowed are 50 ms",
        micros(times[times.len() / 2]),
        micros(times[times.len() - 1])
    );
}

/// A component that asks the model, in an agent, journalled.
async fn component(suite: &Running) {
    suite.put(&agents::write(suite.data(), &agents::asker("bench")));
    let channel = suite.connect().await;
    let ask = suite::skill(&channel, "asker", "ask", r#"{"text":"hi"}"#, r#"{"r":"tok "}"#);
    let figures = load::run(16, seconds() * 2, ask).await;
    println!(
        "\n### GenAILLM in an agent, journalled, over mTLS, 16 callers\n\n- {:.0} runs/s, p50 {}, p99 {}",
        figures.rate,
        micros(figures.p50),
        micros(figures.p99)
    );
}

/// Streams that say nothing.
async fn idle(suite: &Running) {
    let before = memory::resident_mb(suite.pid());
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS {
        let channel = suite.connect_role("llm").await;
        let mut opening = JoinSet::new();
        for _ in 0..IDLE / CONNECTIONS {
            let mut client = InferenceClient::new(channel.clone());
            opening.spawn(async move {
                let request = GenerateStreamRequest { request: Some(request("idle")) };
                let mut events = client.generate_stream(request).await.unwrap().into_inner();
                events.message().await.unwrap().unwrap();
                events
            });
        }
        open.extend(opening.join_all().await);
    }
    let after = memory::resident_mb(suite.pid());
    println!(
        "\n### Idle streams\n\n- {} open: {:.1} KiB each ({before:.0} MB before, {after:.0} MB with them)",
        open.len(),
        (after - before) * 1024.0 / open.len() as f64
    );
}
