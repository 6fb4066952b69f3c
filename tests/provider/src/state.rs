//! What the server knows: scenarios that wait, requests that came, what each key used, and how fast it is to be.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;

use crate::files::Files;
use crate::oauth::Issuer;
use crate::scenario::{Scenario, Usage};

/// The oldest requests are forgotten beyond so many.
const MOST_RECORDED: usize = 20_000;

/// A request that came.
#[derive(Debug, Clone, Serialize)]
pub struct Recorded {
    /// Its place among all.
    pub number: u64,
    /// Its method.
    pub method: String,
    /// Its path, as it was written.
    pub path: String,
    /// What follows the question mark.
    pub query: String,
    /// Its headers; the last value of each.
    pub headers: BTreeMap<String, String>,
    /// Its body: as JSON where it is, else as text.
    pub body: Value,
    /// Where the answer stands.
    pub ended: Ended,
    /// When the answer ended or its listener went.
    #[serde(skip)]
    pub ended_at: Option<Instant>,
}

/// Where an answer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// It is being sent.
    Open,
    /// All was sent.
    Whole,
    /// The listener went, or a scenario broke it off.
    Dropped,
}

/// What a key used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Used {
    /// Requests that were answered with success.
    pub answers: u64,
    /// Requests that were refused.
    pub refusals: u64,
    /// Tokens.
    #[serde(flatten)]
    pub usage: Totals,
}

/// Tokens in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Of requests, cached ones among them.
    pub input: u64,
    /// Of answers.
    pub output: u64,
    /// Read from the provider's cache.
    pub cached: u64,
    /// Written to it.
    pub cache_write: u64,
    /// Of thinking.
    pub reasoning: u64,
}

/// How fast the server is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Load {
    /// The wait before each answer.
    pub latency_ms: u64,
    /// Tokens a second; as fast as can be where 0.
    pub tokens_per_second: u64,
    /// Answers under way at once: more are refused with 503; any number where 0.
    pub most_at_once: usize,
    /// Requests are neither recorded nor counted.
    pub forgetful: bool,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    queue: VecDeque<Scenario>,
    requests: VecDeque<Recorded>,
    ledger: BTreeMap<String, Used>,
    load: Load,
    under_way: usize,
}

/// What the server knows. Clones share it.
#[derive(Debug, Clone)]
pub struct State {
    inner: Arc<Mutex<Inner>>,
    changed: watch::Sender<u64>,
    /// Tokens of clouds.
    pub issuer: Arc<Issuer>,
    /// Uploaded files.
    pub files: Arc<Files>,
}

impl State {
    pub(crate) fn new(issuer: Issuer) -> Self {
        Self {
            inner: Arc::default(),
            changed: watch::Sender::new(0),
            issuer: Arc::new(issuer),
            files: Arc::default(),
        }
    }

    /// The next requests that name no scenario are answered with this one.
    pub fn queue(&self, scenario: Scenario) {
        self.inner.lock().queue.push_back(scenario);
    }

    /// The scenario of the next request.
    pub(crate) fn next_scenario(&self) -> Option<Scenario> {
        let mut inner = self.inner.lock();
        let first = inner.queue.front_mut()?;
        if first.times > 1 {
            first.times -= 1;
            return Some(first.clone());
        }
        inner.queue.pop_front()
    }

    /// How fast the server is from now on.
    pub fn set_load(&self, load: Load) {
        self.inner.lock().load = load;
    }

    /// How fast the server is.
    pub fn load(&self) -> Load {
        self.inner.lock().load
    }

    /// The requests so far, oldest first.
    pub fn requests(&self) -> Vec<Recorded> {
        self.inner.lock().requests.iter().cloned().collect()
    }

    /// What each key used.
    pub fn ledger(&self) -> BTreeMap<String, Used> {
        self.inner.lock().ledger.clone()
    }

    /// Forgets requests, ledger and queue.
    pub fn clear(&self) {
        let mut inner = self.inner.lock();
        inner.requests.clear();
        inner.ledger.clear();
        inner.queue.clear();
    }

    /// Waits until what the server knows is as a test wants it; whether it became so in this time.
    pub async fn wait_for(&self, within: Duration, is_so: impl Fn(&Self) -> bool) -> bool {
        let mut changed = self.changed.subscribe();
        let wait = async {
            while !is_so(self) {
                if changed.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(within, wait).await.is_ok()
    }

    pub(crate) fn number(&self) -> u64 {
        let mut inner = self.inner.lock();
        inner.next += 1;
        inner.next
    }

    pub(crate) fn record(&self, request: Recorded) {
        let mut inner = self.inner.lock();
        if inner.load.forgetful {
            return;
        }
        if inner.requests.len() >= MOST_RECORDED {
            inner.requests.pop_front();
        }
        inner.requests.push_back(request);
        drop(inner);
        self.touch();
    }

    pub(crate) fn ended(&self, number: u64, ended: Ended) {
        let mut inner = self.inner.lock();
        let request = inner.requests.iter_mut().rev().find(|request| request.number == number);
        if let Some(request) = request.filter(|request| request.ended == Ended::Open) {
            request.ended = ended;
            request.ended_at = Some(Instant::now());
        }
        drop(inner);
        self.touch();
    }

    pub(crate) fn used(&self, key: &str, usage: Usage) {
        let mut inner = self.inner.lock();
        if inner.load.forgetful {
            return;
        }
        let used = inner.ledger.entry(key.to_owned()).or_default();
        used.answers += 1;
        used.usage.input += usage.input;
        used.usage.output += usage.output;
        used.usage.cached += usage.cached;
        used.usage.cache_write += usage.cache_write;
        used.usage.reasoning += usage.reasoning;
        drop(inner);
        self.touch();
    }

    pub(crate) fn refused(&self, key: &str) {
        self.inner.lock().ledger.entry(key.to_owned()).or_default().refusals += 1;
        self.touch();
    }

    /// A place among the answers under way; none where all are taken.
    pub(crate) fn begin(&self) -> Option<Place> {
        let mut inner = self.inner.lock();
        let most = inner.load.most_at_once;
        if most > 0 && inner.under_way >= most {
            return None;
        }
        inner.under_way += 1;
        Some(Place(self.clone()))
    }

    fn touch(&self) {
        self.changed.send_modify(|count| *count += 1);
    }
}

/// A place among the answers under way.
#[derive(Debug)]
pub(crate) struct Place(State);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.inner.lock().under_way -= 1;
    }
}
