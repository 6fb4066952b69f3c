//! What the tests of adapters share.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Response as Answer};
use serde_json::{Value, json};
use sre_proto::llm::v1 as pb;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::wire::Reading;
use super::{Call, Piece};
use crate::inference::error::InferenceError;
use crate::inference::settings::InferenceSettings;
use crate::models::{Mode, Table};

/// A change of a request, and what of the body it changes.
pub type Case = (fn(&mut pb::GenerateRequest), Value);

/// A call of a model at a provider, that says hi.
pub fn call(provider: &str, model_id: &str) -> Call {
    call_of(&json!({"modelId": model_id, "provider": provider}))
}

/// The same with the whole entry.
pub fn call_of(entry: &Value) -> Call {
    let table = Table::new([("m".to_owned(), entry.clone())].into(), Mode::Replace);
    let request = pb::GenerateRequest {
        model: "m".to_owned(),
        messages: vec![user("hi")],
        max_tokens: Some(4_096),
        ..Default::default()
    };
    Call {
        model: table.resolve("m").unwrap(),
        request,
        base_url: None,
        key: Some(crate::inference::Key::of("k".into())),
    }
}

pub fn say(role: pb::ChatRole, text: &str) -> pb::ChatMessage {
    pb::ChatMessage { role: role as i32, text: text.to_owned(), ..Default::default() }
}

pub fn user(text: &str) -> pb::ChatMessage {
    say(pb::ChatRole::User, text)
}

/// The model calls tools, each by the name of its id with `t-` in front.
pub fn calling(ids: &[&str]) -> pb::ChatMessage {
    let call = |id: &&str| pb::ToolCall {
        id: (*id).to_owned(),
        name: format!("t-{id}"),
        arguments_json: "{\"a\":1}".into(),
        ..Default::default()
    };
    pb::ChatMessage { tool_calls: ids.iter().map(call).collect(), ..say(pb::ChatRole::Assistant, "") }
}

pub fn result(id: &str, text: &str) -> pb::ChatMessage {
    pb::ChatMessage {
        tool_call_id: id.to_owned(),
        tool_name: format!("t-{id}"),
        ..say(pb::ChatRole::Tool, text)
    }
}

pub fn tool(name: &str) -> pb::Tool {
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]});
    pb::Tool {
        name: name.to_owned(),
        description: "d".to_owned(),
        parameters_json: schema.to_string().into(),
    }
}

pub fn media(mimetype: &str, source: pb::media::Source) -> pb::Part {
    let media =
        pb::Media { mimetype: mimetype.to_owned(), source: Some(source), file_name: "f.pdf".to_owned() };
    pb::Part { part: Some(pb::part::Part::Media(media)) }
}

/// Settings whose waits are short.
pub fn settings() -> InferenceSettings {
    InferenceSettings {
        repeat_wait: std::time::Duration::from_millis(1),
        first_token_timeout: std::time::Duration::from_secs(20),
        ..InferenceSettings::default()
    }
}

/// A stream read in these pieces; then its end.
pub fn read(
    call: &Call,
    mut reading: Box<dyn Reading>,
    pieces: &[&[u8]],
) -> Result<(Vec<Piece>, pb::GenerateResponse), InferenceError> {
    let mut seen = Vec::new();
    for piece in pieces {
        seen.extend(reading.push(call, piece)?);
        if reading.is_done() {
            return Ok((seen, reading.finish(call)));
        }
    }
    seen.extend(reading.end(call)?);
    Ok((seen, reading.finish(call)))
}

/// The same whole, byte by byte, and cut at random places: all of them say the same.
pub fn read_in_every_way(
    call: &Call,
    reading: impl Fn(&Call) -> Box<dyn Reading>,
    bytes: &[u8],
) -> Result<(Vec<Piece>, pb::GenerateResponse), InferenceError> {
    let whole = read(call, reading(call), &[bytes]);
    let told = |result: &Result<(Vec<Piece>, pb::GenerateResponse), InferenceError>| format!("{result:?}");
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(told(&read(call, reading(call), &single)), told(&whole), "byte by byte");
    for _ in 0..200 {
        let mut cuts: Vec<usize> =
            (0..rand::random_range(0..20usize)).map(|_| rand::random_range(0..=bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
        assert_eq!(told(&read(call, reading(call), &pieces)), told(&whole), "cut at {cuts:?}");
    }
    whole
}

/// Events as a server sends them.
pub fn sse(events: &[Value]) -> Vec<u8> {
    let event = |event: &Value| {
        let name = event["type"].as_str().map(|name| format!("event: {name}\n")).unwrap_or_default();
        format!("{name}data: {event}\n\n")
    };
    events.iter().map(event).collect::<String>().into_bytes()
}

/// A request as a server saw it.
#[derive(Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// What a server answers: called with the number of the call and its path.
type Script = Arc<dyn Fn(usize, &Seen) -> Answer<Body> + Send + Sync>;

/// A server that answers by a script and tells what it saw.
pub struct Server {
    pub base: String,
    pub seen: mpsc::Receiver<Seen>,
    _tasks: JoinSet<()>,
}

pub async fn server(script: impl Fn(usize, &Seen) -> Answer<Body> + Send + Sync + 'static) -> Server {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let (sender, seen) = mpsc::channel(64);
    let state: (Script, mpsc::Sender<Seen>, Arc<AtomicUsize>) = (Arc::new(script), sender, Arc::default());
    let answer =
        async |State((script, sender, count)): State<(Script, mpsc::Sender<Seen>, Arc<AtomicUsize>)>,
               request: Request| {
            let (parts, body) = request.into_parts();
            let body = axum::body::to_bytes(body, 64 << 20).await.unwrap().to_vec();
            let path = parts.uri.path_and_query().unwrap().to_string();
            let seen = Seen { method: parts.method.to_string(), path, headers: parts.headers, body };
            let answer = script(count.fetch_add(1, Ordering::SeqCst), &seen);
            sender.try_send(seen).unwrap();
            answer
        };
    let router = Router::new().fallback(answer).with_state(state);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    Server { base, seen, _tasks: tasks }
}

pub fn json_answer(status: u16, value: &Value) -> Answer<Body> {
    Answer::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Body::from(value.to_string()))
        .unwrap()
}
