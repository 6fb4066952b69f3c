//! Summaries of runs that answered first. They are written behind, in batches, from a bounded queue: what
//! does not fit is lost and counted, because such a run changed nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;
use sre_proto::memory::v1::{RunRecord, WriteSummariesResponse};
use tokio::sync::mpsc;
use tonic::Status;

const CAPACITY: usize = 8192;
const BATCH: usize = 512;
/// How long a batch waits for company.
const LINGER: Duration = Duration::from_millis(20);
/// Teams whose rates are remembered.
const MOST_TEAMS: usize = 10_000;
/// What a quiet team may hand over at once, in seconds of its rate. As the store's own.
const BURST_SECONDS: f64 = 10.0;
const ATTEMPTS: u32 = 3;
const RETRY: Duration = Duration::from_millis(250);

/// Where summaries go.
#[async_trait]
pub trait SummaryStore: Send + Sync + 'static {
    /// Writes them.
    async fn write(&self, runs: Vec<RunRecord>) -> Result<WriteSummariesResponse, Status>;
}

/// The queue.
#[derive(Clone)]
pub struct Summaries {
    queue: mpsc::Sender<RunRecord>,
    lost: Arc<AtomicU64>,
    teams: Arc<Mutex<HashMap<String, Bucket>>>,
    per_second: u32,
}

/// What a team may still hand over.
struct Bucket {
    left: f64,
    since: Instant,
}

impl Summaries {
    /// The queue, and the future that empties it until all clones of it are gone. Each team hands over so many a
    /// second: the store keeps no more, and what it would refuse need not be made.
    pub fn new(
        store: Arc<dyn SummaryStore>,
        per_second: u32,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (queue, waiting) = mpsc::channel(CAPACITY);
        let lost = Arc::new(AtomicU64::new(0));
        let summaries = Self { queue, lost: lost.clone(), teams: Arc::default(), per_second };
        (summaries, write_behind(store, waiting, lost))
    }

    /// Whether the team may hand over one more now; a refusal is counted.
    pub fn admits(&self, team: &str) -> bool {
        let (rate, burst) = (f64::from(self.per_second), f64::from(self.per_second) * BURST_SECONDS);
        let now = Instant::now();
        let mut teams = self.teams.lock();
        if teams.len() > MOST_TEAMS {
            // Full buckets need not be remembered.
            teams.retain(|_, bucket| {
                bucket.left + now.duration_since(bucket.since).as_secs_f64() * rate < burst
            });
        }
        if !teams.contains_key(team) {
            teams.insert(team.to_owned(), Bucket { left: burst, since: now });
        }
        let Some(bucket) = teams.get_mut(team) else { return false };
        bucket.left = burst.min(bucket.left + now.duration_since(bucket.since).as_secs_f64() * rate);
        bucket.since = now;
        if bucket.left < 1.0 {
            drop(teams);
            metrics::counter!("sre_engine_summaries_capped_total").increment(1);
            return false;
        }
        bucket.left -= 1.0;
        true
    }

    /// Hands a summary over; never waits.
    pub fn push(&self, run: RunRecord) {
        if self.queue.try_send(run).is_err() {
            count(&self.lost, 1);
        }
    }

    /// How many were lost since the start.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

fn count(lost: &AtomicU64, more: usize) {
    let more = more as u64;
    let before = lost.fetch_add(more, Ordering::Relaxed);
    metrics::counter!("sre_engine_summaries_lost_total").increment(more);
    // Once per power of two: a full queue must not fill the log.
    if before.checked_ilog2() != (before + more).checked_ilog2() {
        tracing::warn!(lost = before + more, "summaries of runs were lost");
    }
}

async fn write_behind(
    store: Arc<dyn SummaryStore>,
    mut waiting: mpsc::Receiver<RunRecord>,
    lost: Arc<AtomicU64>,
) {
    let mut batch = Vec::with_capacity(BATCH);
    while let Some(first) = waiting.recv().await {
        batch.push(first);
        if waiting.len() < BATCH {
            tokio::time::sleep(LINGER).await;
        }
        while batch.len() < BATCH {
            let Ok(run) = waiting.try_recv() else { break };
            batch.push(run);
        }
        write(&*store, std::mem::take(&mut batch), &lost).await;
    }
}

async fn write(store: &dyn SummaryStore, batch: Vec<RunRecord>, lost: &AtomicU64) {
    let size = batch.len();
    for attempt in 1..=ATTEMPTS {
        match store.write(batch.clone()).await {
            Ok(answer) => {
                if answer.dropped > 0 {
                    metrics::counter!("sre_engine_summaries_capped_total")
                        .increment(u64::try_from(answer.dropped).unwrap_or_default());
                }
                return;
            }
            Err(status) => {
                tracing::debug!(%status, attempt, "summaries could not be written");
                if attempt < ATTEMPTS {
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }
    count(lost, size);
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::task::JoinSet;

    #[derive(Default)]
    struct Store {
        batches: Mutex<Vec<usize>>,
        away: Mutex<u32>,
    }

    #[async_trait]
    impl SummaryStore for Store {
        async fn write(&self, runs: Vec<RunRecord>) -> Result<WriteSummariesResponse, Status> {
            let mut away = self.away.lock();
            if *away > 0 {
                *away -= 1;
                return Err(Status::unavailable("away"));
            }
            self.batches.lock().push(runs.len());
            Ok(WriteSummariesResponse { written: i32::try_from(runs.len()).unwrap(), dropped: 0 })
        }
    }

    async fn run(store: &Arc<Store>, pushed: usize) -> u64 {
        let (summaries, writer) = Summaries::new(store.clone(), 100);
        for _ in 0..pushed {
            summaries.push(RunRecord::default());
        }
        let mut tasks = JoinSet::new();
        tasks.spawn(writer);
        let lost = summaries.lost.clone();
        drop(summaries);
        tasks.join_next().await.unwrap().unwrap();
        lost.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn each_team_has_its_own_rate() {
        let (summaries, _writer) = Summaries::new(Arc::new(Store::default()), 2);
        let admitted = (0..100).filter(|_| summaries.admits("a")).count();
        assert!((20..25).contains(&admitted), "{admitted}");
        assert!(summaries.admits("b"));
    }

    #[tokio::test(start_paused = true)]
    async fn they_are_written_in_batches() {
        let store = Arc::new(Store::default());
        assert_eq!(run(&store, 1000).await, 0);
        assert_eq!(*store.batches.lock(), [512, 488]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_fit_is_counted() {
        let store = Arc::new(Store::default());
        assert_eq!(run(&store, CAPACITY + 7).await, 7);
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_outage_loses_nothing_and_a_long_one_is_counted() {
        let store = Arc::new(Store { away: Mutex::new(2), ..Default::default() });
        assert_eq!(run(&store, 3).await, 0);
        *store.away.lock() = u32::MAX;
        assert_eq!(run(&store, 5).await, 5);
    }
}
