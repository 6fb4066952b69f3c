//! An HTTP server that counts what it receives, and holds answers back until it is told.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Answers `{path, count}`; paths that are held answer when they are released, `/lookup` what it is told to.
pub struct Server {
    pub address: String,
    seen: watch::Sender<Seen>,
    held: Arc<Mutex<HashMap<String, watch::Sender<bool>>>>,
    _serving: JoinSet<()>,
}

/// Idempotency keys by path, in order of arrival.
pub type Seen = HashMap<String, Vec<String>>;

#[derive(Clone)]
struct Shared {
    seen: watch::Sender<Seen>,
    held: Arc<Mutex<HashMap<String, watch::Sender<bool>>>>,
}

impl Server {
    pub async fn start() -> Self {
        let shared = Shared { seen: watch::Sender::new(Seen::new()), held: Arc::default() };
        let (seen, held) = (shared.seen.clone(), shared.held.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let router = Router::new().fallback(answer).with_state(shared);
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, seen, held, _serving: serving }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// From now on this path does not answer.
    pub fn hold(&self, path: &str) {
        self.held.lock().insert(path.to_owned(), watch::Sender::new(false));
    }

    pub fn release(&self, path: &str) {
        self.held.lock()[path].send_replace(true);
    }

    pub fn count(&self, path: &str) -> usize {
        self.seen.borrow().get(path).map_or(0, Vec::len)
    }

    pub fn keys(&self, path: &str) -> Vec<String> {
        self.seen.borrow().get(path).cloned().unwrap_or_default()
    }

    /// Ready when the path was called so often.
    pub async fn called(&self, path: &str, times: usize) {
        let mut seen = self.seen.subscribe();
        let enough = seen.wait_for(|seen| seen.get(path).map_or(0, Vec::len) >= times);
        tokio::time::timeout(std::time::Duration::from_secs(20), enough)
            .await
            .expect("it is called")
            .unwrap();
    }
}

/// A document with an operation that changes something, and one that does not.
fn document() -> serde_json::Value {
    let body = json!({"content": {"application/json": {"schema": {"type": "object"}}}});
    json!({"openapi": "3.0.0", "info": {"title": "Shop", "description": "Sells things."}, "paths": {
        "/sell": {"post": {"operationId": "sell", "requestBody": body}},
        "/look": {"get": {"operationId": "look"}},
    }})
}

async fn answer(State(shared): State<Shared>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let key = request.headers().get("idempotency-key").map(|key| key.to_str().unwrap().to_owned());
    let mut count = 0;
    shared.seen.send_modify(|seen| {
        let keys = seen.entry(path.clone()).or_default();
        keys.push(key.unwrap_or_default());
        count = keys.len();
    });
    let released = shared.held.lock().get(&path).map(|held| held.subscribe());
    if let Some(mut released) = released {
        released.wait_for(|released| *released).await.unwrap();
    }
    match path.as_str() {
        "/openapi.json" => Json(document()).into_response(),
        "/lookup/missing" => StatusCode::NOT_FOUND.into_response(),
        "/lookup/broken" => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        _ => Json(json!({ "path": path, "count": count })).into_response(),
    }
}
