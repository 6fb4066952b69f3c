//! A stream of calls beside what a test does, and what became of each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
use tonic::Status;

use super::clients::Client;

/// One call that ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What was called.
    pub what: &'static str,
    /// When it was begun.
    pub begun: Instant,
    /// How long it took.
    pub took: Duration,
    /// What came of it.
    pub result: Result<Value, Status>,
}

impl Outcome {
    /// Whether it failed.
    pub fn failed(&self) -> bool {
        self.result.is_err()
    }
}

/// A load; dropped, it ends.
pub struct Load {
    callers: JoinSet<()>,
    outcomes: Arc<Mutex<Vec<Outcome>>>,
    stop: watch::Sender<bool>,
}

impl Load {
    /// No load yet.
    pub fn new() -> Self {
        Self { callers: JoinSet::new(), outcomes: Arc::default(), stop: watch::Sender::new(false) }
    }

    /// Adds a caller that makes one call after the other, with a pause between.
    pub fn add<F, Fut>(&mut self, what: &'static str, client: Client, pause: Duration, call: F)
    where
        F: Fn(Client, u64) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Value, Status>> + Send + 'static,
    {
        let (outcomes, stop) = (Arc::clone(&self.outcomes), self.stop.subscribe());
        self.callers.spawn(async move {
            let mut number = 0;
            while !*stop.borrow() {
                let begun = Instant::now();
                let result = call(client.clone(), number).await;
                let outcome = Outcome { what, begun, took: begun.elapsed(), result };
                outcomes.lock().await.push(outcome);
                number += 1;
                tokio::time::sleep(pause).await;
            }
        });
    }

    /// What ended so far since a moment.
    pub async fn since(&self, moment: Instant) -> Vec<Outcome> {
        self.outcomes.lock().await.iter().filter(|outcome| outcome.begun >= moment).cloned().collect()
    }

    /// Lets the calls in flight end, and gives everything.
    pub async fn finish(mut self) -> Vec<Outcome> {
        self.stop.send_replace(true);
        while let Some(ended) = self.callers.join_next().await {
            ended.unwrap();
        }
        std::mem::take(&mut *self.outcomes.lock().await)
    }
}
