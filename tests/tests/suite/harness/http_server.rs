//! A local HTTP server that agents call. It keeps what it saw and answers by the path:
//! `/echo` gives headers and body back, `/fail` does so with status 500, `/count` answers how many calls came.

use std::sync::{Arc, Mutex};

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;

/// A request that came.
#[derive(Debug, Clone)]
pub struct Seen {
    pub path: String,
    pub headers: HeaderMap,
    pub body: String,
}

impl Seen {
    /// A header as text; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

type Log = Arc<Mutex<Vec<Seen>>>;

/// The server; it ends when it is dropped.
pub struct HttpServer {
    address: String,
    seen: Log,
    _serving: JoinSet<()>,
}

impl HttpServer {
    /// Listens on a free port of loopback.
    pub async fn start() -> Self {
        let seen = Log::default();
        let router = Router::new().fallback(answer).with_state(Arc::clone(&seen));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, seen, _serving: serving }
    }

    /// Host and port, as the egress policy lists them.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What came to a path so far.
    pub fn seen(&self, path: &str) -> Vec<Seen> {
        self.seen.lock().unwrap().iter().filter(|seen| seen.path == path).cloned().collect()
    }
}

async fn answer(
    State(log): State<Log>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, Json<Value>) {
    let seen =
        Seen { path: uri.path().to_owned(), headers, body: String::from_utf8_lossy(&body).into_owned() };
    let shown: Map<String, Value> =
        seen.headers.keys().map(|name| (name.to_string(), json!(seen.header(name.as_str())))).collect();
    let status = if seen.path == "/fail" { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK };
    let mut log = log.lock().unwrap();
    log.push(seen.clone());
    let count = log.iter().filter(|other| other.path == seen.path).count();
    (status, Json(json!({ "headers": shown, "body": seen.body, "count": count })))
}
