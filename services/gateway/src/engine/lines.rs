//! Log lines of agents on their way to `observability.Log`: from a bounded queue, in batches, off the way of the
//! runs. What does not fit is lost and counted. An agent whose lines are refused is silent for as long as it was
//! told, so that what nobody keeps costs nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use sre_proto::observability::v1::log_client::LogClient;
use sre_proto::observability::v1::{LogEntry, LogLevel, LogRefusal, WriteEntriesRequest};
use sre_service::{CancellationToken, Link};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::Code;

use super::core::timestamp;
use super::scope::RunScope;

/// Lines that may wait.
const CAPACITY: usize = 8192;
const BATCH: usize = 500;
/// Bytes of a batch: a message holds 4 MiB.
const BATCH_BYTES: usize = 1 << 20;
/// How long a batch waits for company.
const LINGER: Duration = Duration::from_millis(50);
/// The longest line: the service would cut it there.
const MAX_MESSAGE_BYTES: usize = 8 * 1024;
const ATTEMPTS: u32 = 8;
const FIRST_RETRY: Duration = Duration::from_millis(100);
/// How long the last lines of a process that stops are tried.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Agents that are silent at once; beyond it, the service refuses for itself.
const MOST_SILENT: usize = 10_000;

/// The queue. Clones share it.
#[derive(Clone)]
pub struct Lines {
    queue: mpsc::Sender<LogEntry>,
    silent: Arc<Mutex<HashMap<(String, String), Instant>>>,
}

impl Lines {
    /// The queue, and the future that empties it until the process ends.
    pub fn new(link: Link, end: CancellationToken) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (queue, waiting) = mpsc::channel(CAPACITY);
        let lines = Self { queue, silent: Arc::default() };
        (lines.clone(), write(link, waiting, lines.silent, end))
    }

    /// Hands a line over; never waits. The text is only made where it has a chance to be kept.
    pub fn write(
        &self,
        scope: &RunScope,
        component: &str,
        level: LogLevel,
        message: impl FnOnce() -> String,
    ) {
        let agent = &scope.subject.version.agent;
        if self.is_silent(&agent.team, &agent.agent) {
            lost("refused", 1);
            return;
        }
        let mut message = message();
        if message.len() > MAX_MESSAGE_BYTES {
            message.truncate(message.floor_char_boundary(MAX_MESSAGE_BYTES));
        }
        let entry = LogEntry {
            team: agent.team.clone(),
            agent: agent.agent.clone(),
            run_id: scope.id.clone(),
            component: component.to_owned(),
            level: level.into(),
            message,
            time: Some(timestamp(SystemTime::now())),
        };
        if self.queue.try_send(entry).is_err() {
            lost("queue", 1);
        }
    }

    fn is_silent(&self, team: &str, agent: &str) -> bool {
        let mut silent = self.silent.lock();
        if silent.is_empty() {
            return false;
        }
        let who = (team.to_owned(), agent.to_owned());
        match silent.get(&who) {
            Some(until) if Instant::now() < *until => true,
            Some(_) => {
                silent.remove(&who);
                false
            }
            None => false,
        }
    }
}

fn lost(why: &'static str, lines: usize) {
    metrics::counter!("sre_log_lines_lost_total", "reason" => why).increment(lines as u64);
}

async fn write(
    link: Link,
    mut waiting: mpsc::Receiver<LogEntry>,
    silent: Arc<Mutex<HashMap<(String, String), Instant>>>,
    end: CancellationToken,
) {
    let mut stopping = false;
    let mut next = None;
    loop {
        if next.is_none() && !stopping {
            tokio::select! {
                line = waiting.recv() => match line {
                    Some(line) => next = Some(line),
                    None => return,
                },
                () = end.cancelled() => stopping = true,
            }
            // Also at the end: others hand over their last ones.
            if waiting.len() < BATCH {
                tokio::time::sleep(LINGER).await;
            }
        }
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some(line) = next.take().or_else(|| waiting.try_recv().ok()) {
            bytes += line.message.len();
            batch.push(line);
            if batch.len() == BATCH || bytes >= BATCH_BYTES {
                break;
            }
        }
        if batch.is_empty() {
            // Only when stopping: everything is handed over.
            return;
        }
        let size = batch.len();
        let sent = deliver(&link, batch);
        let answer = match stopping {
            true => tokio::time::timeout(LAST_WORDS, sent).await.ok().flatten(),
            false => sent.await,
        };
        match answer {
            Some(refusals) => keep_silent(&silent, refusals),
            None => {
                lost("unavailable", size);
                if stopping {
                    return;
                }
            }
        }
    }
}

/// What was refused; none where the lines could not be handed over.
async fn deliver(link: &Link, entries: Vec<LogEntry>) -> Option<Vec<LogRefusal>> {
    let mut wait = FIRST_RETRY;
    for _ in 0..ATTEMPTS {
        let request = WriteEntriesRequest { entries: entries.clone() };
        match LogClient::new(link.clone()).write_entries(request).await {
            Ok(answer) => return Some(answer.into_inner().refusals),
            Err(status) if matches!(status.code(), Code::InvalidArgument | Code::PermissionDenied) => {
                tracing::warn!(%status, "the log refuses lines of agents");
                return None;
            }
            Err(status) => {
                tracing::debug!(%status, "log lines of agents wait");
                tokio::time::sleep(wait).await;
                wait *= 2;
            }
        }
    }
    None
}

fn keep_silent(silent: &Mutex<HashMap<(String, String), Instant>>, refusals: Vec<LogRefusal>) {
    if refusals.is_empty() {
        return;
    }
    let now = Instant::now();
    let mut silent = silent.lock();
    silent.retain(|_, until| *until > now);
    for refusal in refusals {
        let wait = refusal.retry_after.and_then(|wait| Duration::try_from(wait).ok()).unwrap_or_default();
        if silent.len() < MOST_SILENT {
            silent.insert((refusal.team, refusal.agent), now + wait);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_agent_whose_lines_were_refused_is_silent_until_it_may_write() {
        let (queue, _waiting) = mpsc::channel(1);
        let lines = Lines { queue, silent: Arc::default() };
        assert!(!lines.is_silent("t", "a"));
        let refusal = LogRefusal {
            team: "t".into(),
            agent: "a".into(),
            retry_after: Some(prost_types::Duration { seconds: 2, nanos: 0 }),
            ..LogRefusal::default()
        };
        keep_silent(&lines.silent, vec![refusal]);
        assert!(lines.is_silent("t", "a") && !lines.is_silent("t", "b"));
        tokio::time::advance(Duration::from_secs(3)).await;
        assert!(!lines.is_silent("t", "a"));
        assert!(lines.silent.lock().is_empty());
    }
}
