//! A local HTTP server that agents call. It keeps what it saw and answers by the path:
//! `/echo` gives headers and body back, `/fail` does so with status 500, `/count` answers how many calls came,
//! `/hang` never answers.

use std::sync::atomic::{AtomicUsize, Ordering};
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

/// What the server keeps.
#[derive(Clone, Default)]
struct Shared {
    seen: Log,
    left: Arc<AtomicUsize>,
}

/// Counts callers who went away before they were answered.
struct Hanging(Arc<AtomicUsize>);

impl Drop for Hanging {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// The server; it ends when it is dropped.
pub struct HttpServer {
    address: String,
    shared: Shared,
    _serving: JoinSet<()>,
}

impl HttpServer {
    /// Listens on a free port of loopback.
    pub async fn start() -> Self {
        let shared = Shared::default();
        let router = Router::new().fallback(answer).with_state(shared.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, shared, _serving: serving }
    }

    /// Host and port, as the egress policy lists them.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// How many callers of `/hang` went away.
    pub fn left(&self) -> usize {
        self.shared.left.load(Ordering::SeqCst)
    }

    /// What came to a path so far.
    pub fn seen(&self, path: &str) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().iter().filter(|seen| seen.path == path).cloned().collect()
    }
}

async fn answer(
    State(shared): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, Json<Value>) {
    let seen =
        Seen { path: uri.path().to_owned(), headers, body: String::from_utf8_lossy(&body).into_owned() };
    let shown: Map<String, Value> =
        seen.headers.keys().map(|name| (name.to_string(), json!(seen.header(name.as_str())))).collect();
    let status = if seen.path == "/fail" { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK };
    let count = {
        let mut log = shared.seen.lock().unwrap();
        log.push(seen.clone());
        log.iter().filter(|other| other.path == seen.path).count()
    };
    if seen.path == "/hang" {
        let _hanging = Hanging(shared.left);
        std::future::pending::<()>().await;
    }
    (status, Json(json!({ "headers": shown, "body": seen.body, "count": count })))
}
