//! Two servers that count. One honours idempotency keys: a key's first answer is every answer to it. The other
//! knows no keys, as most servers do.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// How long answers take: long enough that processes die while calls are under way, and different, so that
/// the calls of a run end in any order.
const ANSWERS_AFTER_MS: std::ops::Range<u64> = 10..250;

/// Who called: the run, as its caller numbered it, and the component.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sender {
    /// The run's number.
    pub run: String,
    /// The component's id.
    pub component: String,
}

/// Whether a server knows keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// A key's first answer is repeated.
    Honoured,
    /// Each request is a new one.
    Ignored,
}

/// What a server saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// How often each sender called.
    pub calls: HashMap<Sender, usize>,
    /// The keys of each sender, each once.
    pub keys: HashMap<Sender, Vec<String>>,
    /// Which sender a key came from first.
    pub owners: HashMap<String, Sender>,
    /// The number that each sender was answered first.
    pub answers: HashMap<Sender, u64>,
    /// Requests without a key, or from nobody.
    pub odd: usize,
    /// Numbers given out.
    given: u64,
}

impl Seen {
    /// All requests.
    pub fn requests(&self) -> usize {
        self.calls.values().sum()
    }

    fn take(&mut self, sender: Sender, key: &str) -> u64 {
        *self.calls.entry(sender.clone()).or_default() += 1;
        let keys = self.keys.entry(sender.clone()).or_default();
        if !keys.iter().any(|known| known == key) {
            keys.push(key.to_owned());
        }
        self.owners.entry(key.to_owned()).or_insert_with(|| sender.clone());
        if key.is_empty() {
            self.odd += 1;
        }
        self.given += 1;
        *self.answers.entry(sender).or_insert(self.given)
    }
}

/// A server; it ends when it is dropped.
pub struct Counting {
    address: String,
    seen: Arc<Mutex<Seen>>,
    _serving: JoinSet<()>,
}

impl Counting {
    /// Listens on a free port of loopback.
    pub async fn start(keys: Keys) -> Self {
        let seen = Arc::<Mutex<Seen>>::default();
        let router = Router::new().fallback(answer).with_state((keys, Arc::clone(&seen)));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, seen, _serving: serving }
    }

    /// Host and port.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The URL that agents call.
    pub fn url(&self) -> String {
        format!("http://{}/count", self.address)
    }

    /// Reads what it saw.
    pub fn read<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.lock().unwrap())
    }
}

async fn answer(
    State((keys, seen)): State<(Keys, Arc<Mutex<Seen>>)>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Json<Value> {
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    let sender = Sender { run: text("run"), component: text("component") };
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).unwrap_or_default().to_owned();
    let delay = delay(&sender);
    let number = {
        let mut seen = seen.lock().unwrap();
        let number = seen.take(sender, &key);
        if keys == Keys::Honoured { number } else { seen.given }
    };
    tokio::time::sleep(delay).await;
    Json(json!({ "number": number }))
}

fn delay(sender: &Sender) -> Duration {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    sender.hash(&mut hasher);
    Duration::from_millis(
        ANSWERS_AFTER_MS.start + hasher.finish() % (ANSWERS_AFTER_MS.end - ANSWERS_AFTER_MS.start),
    )
}
