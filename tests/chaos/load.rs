//! Runs, started and followed to their end whatever dies meanwhile. A start is repeated under its request id
//! until some gateway acknowledges it, so that one run comes of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sre_proto::gateway::v1::{Run, RunState, StartRunRequest};
use tokio::task::JoinSet;
use tonic::{Code, Status};

use crate::agent::{AGENT, SKILL};
use crate::harness::clients::{Client, json as parsed, start_request};
use crate::topology::Suite;

/// A call that is not answered in this time is made again.
const CALL: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(100);
const LOOK: Duration = Duration::from_millis(400);

/// A run that was started.
#[derive(Debug, Clone)]
pub struct Started {
    /// Its number here, which is its input.
    pub number: String,
    /// Its id.
    pub run_id: String,
    /// How it ended; none where it did not in time.
    pub end: Option<(RunState, Value)>,
    /// How often its start was tried.
    pub tries: usize,
    /// What was refused although nothing was wrong with it.
    pub wrong: Vec<String>,
}

/// Starts runs that follow each other, so many at a time.
pub struct Load {
    workers: JoinSet<Vec<Started>>,
    left: Arc<AtomicUsize>,
    /// Runs that are not over yet, the unstarted ones included.
    unfinished: Arc<AtomicUsize>,
}

impl Load {
    /// Begins. `label` keeps the numbers of one phase apart from those of others.
    pub fn begin(suite: &Arc<Suite>, label: &str, runs: usize, in_flight: usize, until: Instant) -> Self {
        let mut load = Self {
            workers: JoinSet::new(),
            left: Arc::new(AtomicUsize::new(runs)),
            unfinished: Arc::new(AtomicUsize::new(runs)),
        };
        for _ in 0..in_flight {
            let (suite, label) = (Arc::clone(suite), label.to_owned());
            let (left, unfinished) = (Arc::clone(&load.left), Arc::clone(&load.unfinished));
            load.workers.spawn(async move {
                let clients: Vec<Client> = (0..suite.gateways()).map(|n| suite.client(n)).collect();
                let mut started = Vec::new();
                let next = || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
                while let Ok(number) = next() {
                    if let Some(run) = one(&clients, format!("{label}-{number}"), number, until).await {
                        started.push(run);
                    }
                    unfinished.fetch_sub(1, Ordering::Relaxed);
                }
                started
            });
        }
        load
    }

    /// Starts no more; what is under way goes on.
    pub fn stop(&self) {
        let unstarted = self.left.swap(0, Ordering::Relaxed);
        self.unfinished.fetch_sub(unstarted, Ordering::Relaxed);
    }

    /// How many runs are not over.
    pub fn unfinished(&self) -> usize {
        self.unfinished.load(Ordering::Relaxed)
    }

    /// Waits for all of them, or until their time is over.
    pub async fn finish(mut self) -> Vec<Started> {
        let mut all = Vec::new();
        while let Some(started) = self.workers.join_next().await {
            all.extend(started.unwrap());
        }
        all
    }
}

/// None where it could not even be started in time.
async fn one(clients: &[Client], number: String, spread: usize, until: Instant) -> Option<Started> {
    let mut wrong = Vec::new();
    let request = StartRunRequest {
        request_id: format!("chaos-{number}"),
        ..start_request(AGENT, SKILL, &json!({ "run": number }))
    };
    let mut tries = 0;
    let run = loop {
        if Instant::now() > until {
            return None;
        }
        let client = &clients[(spread + tries) % clients.len()];
        tries += 1;
        match within(client.runs().start_run(request.clone())).await {
            Ok(run) => break run.into_inner(),
            Err(status) => {
                note(&mut wrong, "StartRun", &status);
                tokio::time::sleep(AGAIN).await;
            }
        }
    };
    let run_id = run.name.rsplit('/').next().unwrap_or_default().to_owned();
    let mut end = None;
    let mut looks = spread;
    while end.is_none() && Instant::now() < until {
        tokio::time::sleep(LOOK).await;
        looks += 1;
        match within(clients[looks % clients.len()].get_run(&run.name)).await {
            Ok(run) => end = ended(&run),
            Err(status) => note(&mut wrong, "GetRun", &status),
        }
    }
    Some(Started { number, run_id, end, tries, wrong })
}

async fn within<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let expired = |_| Err(Status::deadline_exceeded("no answer"));
    tokio::time::timeout(CALL, call).await.unwrap_or_else(expired)
}

/// Processes that are away are no mistake; a refusal is.
fn note(wrong: &mut Vec<String>, call: &str, status: &Status) {
    let away = [Code::Unavailable, Code::DeadlineExceeded, Code::Cancelled, Code::Unknown];
    if !away.contains(&status.code()) && wrong.len() < 3 {
        wrong.push(format!("{call}: {:?}: {}", status.code(), status.message()));
    }
}

fn ended(run: &Run) -> Option<(RunState, Value)> {
    match run.state() {
        state @ (RunState::Done | RunState::Failed | RunState::Cancelled) => {
            let answer = if run.legacy_json.is_empty() { Value::Null } else { parsed(&run.legacy_json) };
            let answer = if state == RunState::Done { answer } else { json!(format!("{:?}", run.result)) };
            Some((state, answer))
        }
        _ => None,
    }
}
