//! A provider of models that keeps a ledger of its own: what it charged, and for what.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Tokens of every answer.
pub const OUTPUT_TOKENS: i64 = 7;
/// Tokens of every request that count as cached.
pub const CACHED_TOKENS: i64 = 2;
/// What a prompt says that is refused once.
pub const BUSY: &str = "busy";
/// What a prompt says whose first request waits to be released.
pub const HELD: &str = "held";

/// What was charged for a model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Charged {
    pub calls: i64,
    pub input_tokens: i64,
    pub output_tokens: i64,
    pub cached_tokens: i64,
}

#[derive(Default)]
struct Book {
    charged: BTreeMap<String, Charged>,
    /// How often a request came with a key.
    asked: HashMap<String, usize>,
    /// The answers that are given again for their key.
    given: HashMap<String, String>,
    answers: usize,
}

struct Shared {
    book: Mutex<Book>,
    released: Semaphore,
}

/// The provider; it ends when it is dropped.
pub struct Provider {
    address: String,
    shared: Arc<Shared>,
    _serving: JoinSet<()>,
}

impl Provider {
    /// Listens on a free port of loopback.
    pub async fn start() -> Self {
        let shared = Arc::new(Shared { book: Mutex::default(), released: Semaphore::new(0) });
        let router =
            Router::new().route("/{model}/v1/chat/completions", post(answer)).with_state(Arc::clone(&shared));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, shared, _serving: serving }
    }

    /// The catalogue's entries: `charging` charges each answer, `repeating` gives the same answer again for the same
    /// key and charges it once.
    pub fn models(&self) -> Value {
        let model = |name: &str| {
            json!({
                "modelId": format!("{name}-1"), "provider": "OpenAI", "credentials": "none",
                "baseURL": format!("http://{}/{name}/v1", self.address),
                "features": ["text"], "tokens": 8000, "completionTokens": 100,
                "prices": { "inputMicros": 2_000_000, "outputMicros": 10_000_000, "cachedInputMicros": 1_000_000 },
            })
        };
        json!({ "charging": model("charging"), "repeating": model("repeating") })
    }

    /// What was charged for each model.
    pub fn charged(&self) -> BTreeMap<String, Charged> {
        self.shared.book.lock().unwrap().charged.clone()
    }

    /// How many requests came whose prompt is held, by key.
    pub fn held(&self) -> Vec<usize> {
        let book = self.shared.book.lock().unwrap();
        book.asked.iter().filter(|(key, _)| key.starts_with(HELD)).map(|(_, times)| *times).collect()
    }

    /// Answers what is held, and what will be.
    pub fn release(&self) {
        self.shared.released.add_permits(1_000);
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    Path(model): Path<String>,
    headers: HeaderMap,
    axum::Json(request): axum::Json<Value>,
) -> Response {
    let key = headers.get("idempotency-key").map(|key| key.to_str().unwrap()).unwrap_or_default();
    let prompt = request["messages"].to_string();
    let held = prompt.contains(HELD);
    let times = {
        let mut book = shared.book.lock().unwrap();
        let times = book.asked.entry(format!("{}/{model}/{key}", if held { HELD } else { "" })).or_default();
        *times += 1;
        *times
    };
    if prompt.contains(BUSY) && times == 1 {
        let refusal = json!({ "error": { "message": "busy", "type": "rate_limit" } });
        return (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "0")], axum::Json(refusal)).into_response();
    }
    if held && times == 1 {
        shared.released.acquire().await.unwrap().forget();
    }
    let input_tokens = i64::try_from(prompt.len()).unwrap();
    let id = shared.book.lock().unwrap().charge(&model, key, input_tokens);
    streamed(&id, input_tokens)
}

impl Book {
    /// The id of the answer. It is charged unless it was given before.
    fn charge(&mut self, model: &str, key: &str, input_tokens: i64) -> String {
        let known = self.given.get(&format!("{model}/{key}")).filter(|_| model == "repeating");
        if let Some(id) = known {
            return id.clone();
        }
        self.answers += 1;
        let id = format!("chatcmpl-{}", self.answers);
        self.given.insert(format!("{model}/{key}"), id.clone());
        let charged = self.charged.entry(model.to_owned()).or_default();
        charged.calls += 1;
        charged.input_tokens += input_tokens;
        charged.output_tokens += OUTPUT_TOKENS;
        charged.cached_tokens += CACHED_TOKENS;
        id
    }
}

fn streamed(id: &str, input_tokens: i64) -> Response {
    let usage = json!({
        "prompt_tokens": input_tokens, "completion_tokens": OUTPUT_TOKENS,
        "prompt_tokens_details": { "cached_tokens": CACHED_TOKENS },
    });
    let chunks = [
        json!({ "id": id, "choices": [{ "index": 0, "delta": { "content": "an answer" } }] }),
        json!({ "id": id, "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }], "usage": usage }),
    ];
    let mut body: String = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
    body.push_str("data: [DONE]\n\n");
    ([("content-type", "text/event-stream")], body).into_response()
}
