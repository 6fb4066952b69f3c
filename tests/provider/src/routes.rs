//! Which format a path speaks, who may ask, and the answer.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State as Held};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::answer::{Answer, Asked};
use crate::deliver::{Sent, body};
use crate::named::named;
use crate::scenario::{Refuse, Scenario};
use crate::server::Connection;
use crate::state::{Ended, Recorded, State};
use crate::wires::{Wire, converse};
use crate::{admin, embeddings, files, images, oauth, sigv4};

/// The largest body.
const MOST_BYTES: usize = 64 << 20;

/// What a path asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// An answer; the model and whether it streams, where the path says so.
    Generate(Wire, Option<(String, bool)>),
    /// Vectors.
    Embed(embeddings::Format, String),
    /// Images.
    Image(images::Format),
    /// The models.
    Models,
    /// Files.
    Files,
    /// A token of the cloud.
    Token,
    /// The server's own.
    Admin,
    /// Nothing.
    Unknown,
}

/// A request, read.
pub(crate) struct Incoming {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub number: u64,
}

impl Incoming {
    /// A header's text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The key, wherever the format puts it.
    pub fn key(&self) -> String {
        let bearer = self.header("authorization").strip_prefix("Bearer ").unwrap_or_default();
        let query = self.query.split('&').find_map(|pair| pair.strip_prefix("key="));
        [bearer, self.header("x-api-key"), self.header("x-goog-api-key"), query.unwrap_or_default()]
            .into_iter()
            .find(|key| !key.is_empty())
            .unwrap_or_default()
            .to_owned()
    }
}

/// What a path asks for: read from its end.
pub fn endpoint(path: &str) -> Endpoint {
    let decoded = percent_decode_str(path).decode_utf8_lossy().into_owned();
    if decoded.starts_with("/__fake/") {
        return Endpoint::Admin;
    }
    if ["/v1beta/files", "/v1/files", "/upload/"].iter().any(|part| decoded.contains(part)) {
        return Endpoint::Files;
    }
    if let Some((model, verb)) = decoded.rsplit_once(':').filter(|(model, _)| model.contains("/models/")) {
        let model = model.rsplit_once("/models/").map_or(model, |(_, model)| model).to_owned();
        return match verb {
            "generateContent" => Endpoint::Generate(Wire::Gemini, Some((model, false))),
            "streamGenerateContent" => Endpoint::Generate(Wire::Gemini, Some((model, true))),
            // Claude at Vertex AI.
            "rawPredict" => Endpoint::Generate(Wire::Messages, Some((model, false))),
            "streamRawPredict" => Endpoint::Generate(Wire::Messages, Some((model, true))),
            "embedContent" => Endpoint::Embed(embeddings::Format::GoogleOne, model),
            "batchEmbedContents" => Endpoint::Embed(embeddings::Format::GoogleBatch, model),
            "predict" if model.contains("embedding") => Endpoint::Embed(embeddings::Format::Vertex, model),
            "predict" => Endpoint::Image(images::Format::Predict),
            _ => Endpoint::Unknown,
        };
    }
    if let Some(rest) = decoded.rsplit_once("/model/").map(|(_, rest)| rest) {
        return match rest.rsplit_once('/') {
            Some((model, "converse")) => Endpoint::Generate(Wire::Converse, Some((model.to_owned(), false))),
            Some((model, "converse-stream")) => {
                Endpoint::Generate(Wire::Converse, Some((model.to_owned(), true)))
            }
            _ => Endpoint::Unknown,
        };
    }
    let ends = |end: &str| decoded.ends_with(end);
    match () {
        () if ends("/chat/completions") => Endpoint::Generate(Wire::Chat, None),
        () if ends("/responses") => Endpoint::Generate(Wire::Responses, None),
        () if ends("/messages") => Endpoint::Generate(Wire::Messages, None),
        () if ends("/api/chat") => Endpoint::Generate(Wire::Ollama, None),
        () if ends("/api/embed") => Endpoint::Embed(embeddings::Format::Ollama, String::new()),
        () if ends("/embeddings") => Endpoint::Embed(embeddings::Format::OpenAi, String::new()),
        () if ends("/images/generations") => Endpoint::Image(images::Format::Generate),
        () if ends("/images/edits") => Endpoint::Image(images::Format::Edit),
        () if ends("/models") => Endpoint::Models,
        () if ends("/token") => Endpoint::Token,
        () => Endpoint::Unknown,
    }
}

/// Answers a request.
pub(crate) async fn handle(
    Held(state): Held<State>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, MOST_BYTES).await else {
        return json_answer(413, &json!({"error": "the request is too large"}));
    };
    let incoming = Incoming {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        body,
        number: state.number(),
    };
    let endpoint = endpoint(&incoming.path);
    if endpoint == Endpoint::Admin {
        return admin::handle(&state, &incoming);
    }
    state.record(recorded(&incoming));
    let number = incoming.number;
    let answer = match endpoint {
        Endpoint::Generate(wire, named) => return generate(&state, incoming, wire, named, connection).await,
        Endpoint::Token => oauth::handle(&state.issuer, &incoming),
        Endpoint::Files => files::handle(&state, &incoming),
        Endpoint::Models => models(&incoming),
        Endpoint::Embed(format, model) => match refused(&state, &incoming, Wire::Chat).await {
            Some(refusal) => refusal,
            None => embeddings::handle(&state, &incoming, format, &model),
        },
        Endpoint::Image(format) => {
            let wire = if format == images::Format::Predict { Wire::Gemini } else { Wire::Chat };
            match refused(&state, &incoming, wire).await {
                Some(refusal) => refusal,
                None => images::handle(&state, incoming, format).await,
            }
        }
        Endpoint::Admin | Endpoint::Unknown => {
            json_answer(404, &json!({"error": {"message": "no such path", "type": "invalid_request_error"}}))
        }
    };
    state.ended(number, Ended::Whole);
    answer
}

/// The scenario that a request names, or that waits.
fn scenario(state: &State, incoming: &Incoming) -> Result<Scenario, Box<Response>> {
    let header = incoming.header("x-fake-scenario");
    if header.is_empty() {
        return Ok(state.next_scenario().unwrap_or_default());
    }
    let found = if header.starts_with('{') { serde_json::from_str(header).ok() } else { named(header) };
    found.ok_or_else(|| {
        Box::new(json_answer(400, &json!({"error": {"message": format!("no scenario {header:?}")}})))
    })
}

/// An error in place of vectors and images.
async fn refused(state: &State, incoming: &Incoming, wire: Wire) -> Option<Response> {
    if !matches!(wire, Wire::Gemini) && !incoming.path.ends_with("/api/embed") && incoming.key().is_empty() {
        return Some(refusal(wire, &Refuse { status: 401, ..Refuse::default() }));
    }
    let scenario = match scenario(state, incoming) {
        Ok(scenario) => scenario,
        Err(answer) => return Some(*answer),
    };
    tokio::time::sleep(Duration::from_millis(scenario.headers_after_ms)).await;
    let refuse = scenario.refuse?;
    state.refused(&incoming.key());
    Some(refusal(wire, &refuse))
}

async fn generate(
    state: &State,
    incoming: Incoming,
    wire: Wire,
    named: Option<(String, bool)>,
    connection: Connection,
) -> Response {
    let number = incoming.number;
    let refuse = |refuse: &Refuse, key: &str| {
        state.refused(key);
        state.ended(number, Ended::Whole);
        refusal(wire, refuse)
    };
    let key = match who(state, &incoming, wire) {
        Ok(key) => key,
        Err(words) => {
            let status = if wire == Wire::Converse { 403 } else { 401 };
            return refuse(&Refuse { status, message: words, ..Refuse::default() }, "");
        }
    };
    let scenario = match scenario(state, &incoming) {
        Ok(scenario) => scenario,
        Err(answer) => return *answer,
    };
    let wait = scenario.headers_after_ms + state.load().latency_ms;
    if wait > 0 {
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }
    if let Some(asked) = &scenario.refuse {
        return refuse(asked, &key);
    }
    if let Some(words) = wrong_at_vertex(&incoming, wire) {
        return refuse(&Refuse { status: 400, message: words.to_owned(), ..Refuse::default() }, &key);
    }
    let Some(place) = state.begin() else {
        let busy = Refuse { status: 503, message: "too many answers under way".into(), ..Refuse::default() };
        return refuse(&busy, &key);
    };
    let asked = asked(&incoming, wire, named);
    let streams = asked.streams;
    let answer = Answer::of(asked, scenario);
    if answer.scenario.malformed {
        state.ended(number, Ended::Whole);
        return plain(200, "application/json", Body::from("{\"choices\": [oops"));
    }
    if !streams && let Some(error) = answer.error() {
        return refuse(error, &key);
    }
    let mut sent = Sent::begin(state, &answer, &key, place);
    if streams {
        let frames = wire.frames(&answer);
        let stream = body(frames, &answer, sent, Some(connection));
        return plain(200, wire.stream_type(), stream);
    }
    sent.whole = true;
    json_answer(200, &wire.whole(&answer))
}

/// What Vertex AI refuses of Anthropic's format: the model is in the path, the version in the body.
fn wrong_at_vertex(incoming: &Incoming, wire: Wire) -> Option<&'static str> {
    if wire != Wire::Messages || !incoming.path.contains("/projects/") {
        return None;
    }
    let body = incoming.json();
    match () {
        () if body["anthropic_version"] != "vertex-2023-10-16" => Some("anthropic_version: Field required"),
        () if body.get("model").is_some() => Some("model: Extra inputs are not permitted"),
        () => None,
    }
}

fn asked(incoming: &Incoming, wire: Wire, named: Option<(String, bool)>) -> Asked {
    let body = incoming.json();
    let (model, streams) = named.unwrap_or_else(|| {
        let model = body["model"].as_str().unwrap_or_default().to_owned();
        // Ollama streams unless it is told otherwise.
        (model, body["stream"].as_bool().unwrap_or(wire == Wire::Ollama))
    });
    let flavour = incoming.path.split('/').nth(1).unwrap_or_default().to_owned();
    Asked { number: incoming.number, flavour, model, streams, body }
}

/// Whose key it is; what is wrong with it.
fn who(state: &State, incoming: &Incoming, wire: Wire) -> Result<String, String> {
    let key = incoming.key();
    if key.starts_with("invalid") {
        return Err("the key is not known".to_owned());
    }
    match wire {
        Wire::Ollama => Ok(key),
        Wire::Converse if key.is_empty() => sigv4::check(incoming).map_err(|error| error.to_string()),
        Wire::Gemini | Wire::Messages if incoming.path.contains("/projects/") => state.issuer.check(&key),
        Wire::Messages if incoming.header("anthropic-version").is_empty() => {
            Err("anthropic-version: header is required".to_owned())
        }
        _ if key.is_empty() => Err("there is no key".to_owned()),
        _ => Ok(key),
    }
}

fn recorded(incoming: &Incoming) -> Recorded {
    let mut headers = BTreeMap::new();
    for (name, value) in &incoming.headers {
        headers.insert(name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    let body = serde_json::from_slice(&incoming.body)
        .unwrap_or_else(|_| String::from_utf8_lossy(&incoming.body).into_owned().into());
    Recorded {
        number: incoming.number,
        method: incoming.method.to_string(),
        path: incoming.path.clone(),
        query: incoming.query.clone(),
        headers,
        body,
        ended: Ended::Open,
        ended_at: None,
    }
}

fn models(incoming: &Incoming) -> Response {
    if !incoming.header("x-goog-api-key").is_empty() {
        let model = json!({"name": "models/fake-1", "displayName": "Fake", "inputTokenLimit": 8192,
            "supportedGenerationMethods": ["generateContent"]});
        return json_answer(200, &json!({"models": [model]}));
    }
    let model = json!({"id": "fake-1", "object": "model", "created": 1_790_000_000, "owned_by": "fake"});
    json_answer(200, &json!({"object": "list", "data": [model]}))
}

/// An error as a format sends it.
fn refusal(wire: Wire, refuse: &Refuse) -> Response {
    let mut answer = if refuse.malformed {
        plain(refuse.status, "text/html", Body::from("<html>bad gateway</html>"))
    } else {
        json_answer(refuse.status, &wire.refusal(refuse))
    };
    let headers = answer.headers_mut();
    if let Some(seconds) = refuse.retry_after {
        headers.insert("retry-after", seconds.into());
    }
    if let Some(ms) = refuse.retry_after_ms {
        headers.insert("retry-after-ms", ms.into());
    }
    if refuse.status == 429 {
        headers.insert("x-ratelimit-remaining-requests", 0.into());
        headers.insert("x-ratelimit-reset-requests", http::HeaderValue::from_static("1s"));
    }
    if wire == Wire::Converse {
        headers.insert("x-amzn-errortype", http::HeaderValue::from_static(converse::exception(refuse)));
    }
    answer
}

/// An answer that is JSON.
pub(crate) fn json_answer(status: u16, value: &Value) -> Response {
    plain(status, "application/json", Body::from(value.to_string()))
}

/// An answer.
pub(crate) fn plain(status: u16, kind: &'static str, body: Body) -> Response {
    let mut answer = Response::new(body);
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = answer.headers_mut();
    headers.insert("content-type", http::HeaderValue::from_static(kind));
    headers.insert("x-request-id", http::HeaderValue::from_static("req_fake"));
    answer
}
