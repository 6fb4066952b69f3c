//! Appends of many runs in few round trips: what runs write while a batch is on its way goes into the next.
//!
//! A run's appends stay in order: it always uses the same lane, and a lane has one batch on its way. An
//! append whose outcome is unknown (the answer was lost) is not repeated before the run was read.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use prost::Message as _;
use sre_proto::memory::v1::{AppendOutcome, AppendRequest};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tonic::{Code, Status};

/// Batches on their way at once.
const LANES: usize = 4;
/// Appends that wait in one lane; more makes runs wait.
const LANE_CAPACITY: usize = 1024;
/// Appends of one batch; the store takes 1000.
const BATCH_APPENDS: usize = 512;
/// Bytes of one batch: a message holds 4 MiB.
const BATCH_BYTES: usize = 3 << 20;
/// How long a caller is kept waiting while the journal does not answer; the run itself goes on. Whoever asked for a run
/// hears within a second, on a busy machine too.
pub const CALLERS_PATIENCE: Duration = Duration::from_millis(700);
const FIRST_WAIT: Duration = Duration::from_millis(20);
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// Where appends go.
#[async_trait]
pub trait AppendStore: Send + Sync + 'static {
    /// Appends to several runs; durable when it answers.
    async fn append_batch(&self, appends: Vec<AppendRequest>) -> Result<Vec<AppendOutcome>, Status>;

    /// Sequence of the run's next record, and its epoch.
    async fn position(&self, run_id: &str) -> Result<(i64, i64), Status>;
}

/// Why records were not written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// Another engine owns the run, or it ended: stop working on it.
    #[error("another owner holds the run")]
    Fenced,
    /// The store cannot be reached; it was tried for as long as the lease can matter.
    #[error("the journal cannot be reached: {0}")]
    Unavailable(Status),
    /// The store refused the records.
    #[error("the journal refused the records: {0}")]
    Refused(String),
    /// The run that was to be opened exists already, or waits for a slot: it is not this engine's.
    #[error("the run is somebody else's, or waits")]
    Elsewhere,
    /// The run was opened after its caller had heard that it was not.
    #[error("the run was opened too late for its caller")]
    Unwanted,
}

struct Item {
    request: AppendRequest,
    /// Sequence the first record gets if nobody else wrote.
    first_sequence: i64,
    reply: oneshot::Sender<Result<i64, AppendError>>,
}

/// The queue of all runs of this engine.
#[derive(Clone)]
pub struct AppendQueue {
    lanes: Arc<Vec<mpsc::Sender<Item>>>,
    outage: watch::Receiver<Option<Outage>>,
}

/// The store does not answer.
#[derive(Debug, Clone)]
pub struct Outage {
    /// Since when.
    pub since: Instant,
    /// What it said last.
    pub status: Status,
}

impl AppendQueue {
    /// A queue, and the futures that empty it: one a lane, each to be run as a task.
    pub fn new(
        store: Arc<dyn AppendStore>,
        give_up_after: Duration,
    ) -> (Self, Vec<impl Future<Output = ()> + Send + 'static>) {
        let (outage, seen) = watch::channel(None);
        let outage = Arc::new(outage);
        let (lanes, workers) = (0..LANES)
            .map(|_| {
                let (sender, receiver) = mpsc::channel(LANE_CAPACITY);
                let lane = Lane { store: store.clone(), outage: outage.clone(), give_up_after };
                (sender, lane.run(receiver))
            })
            .unzip();
        (Self { lanes: Arc::new(lanes), outage: seen }, workers)
    }

    /// Writes records of a run. Ready when they are durable.
    pub async fn append(&self, request: AppendRequest, first_sequence: i64) -> Result<i64, AppendError> {
        let lane = blake3::hash(request.run_id.as_bytes()).as_bytes()[0];
        let (reply, answer) = oneshot::channel();
        let item = Item { request, first_sequence, reply };
        let closed = || AppendError::Unavailable(stopping());
        self.lanes[usize::from(lane) % LANES].send(item).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Ready once the store did not answer for so long.
    pub async fn unavailable_for(&self, patience: Duration) -> Status {
        let mut outage = self.outage.clone();
        loop {
            let now = outage.borrow_and_update().clone();
            match now {
                Some(outage) if outage.since.elapsed() >= patience => return outage.status,
                Some(seen) => {
                    let _ = tokio::time::timeout_at(seen.since + patience, outage.changed()).await;
                }
                None => {
                    if outage.changed().await.is_err() {
                        return stopping();
                    }
                }
            }
        }
    }
}

/// What callers hear while the engine stops.
pub fn stopping() -> Status {
    sre_proto::error::status(
        Code::Unavailable,
        sre_proto::error::Reason::RoleUnavailable,
        "the engine is stopping: try again, another engine goes on with the run",
    )
}

struct Lane {
    store: Arc<dyn AppendStore>,
    outage: Arc<watch::Sender<Option<Outage>>>,
    give_up_after: Duration,
}

impl Lane {
    async fn run(self, mut items: mpsc::Receiver<Item>) {
        let mut held: Option<Item> = None;
        loop {
            let first = match held.take() {
                Some(item) => item,
                None => match items.recv().await {
                    Some(item) => item,
                    None => return,
                },
            };
            let mut bytes = first.request.encoded_len();
            let mut batch = vec![first];
            while batch.len() < BATCH_APPENDS {
                let Ok(item) = items.try_recv() else { break };
                bytes += item.request.encoded_len();
                if bytes > BATCH_BYTES {
                    held = Some(item);
                    break;
                }
                batch.push(item);
            }
            self.write(batch).await;
        }
    }

    async fn write(&self, mut batch: Vec<Item>) {
        let began = Instant::now();
        let mut wait = FIRST_WAIT;
        loop {
            let appends = batch.iter().map(|item| item.request.clone()).collect();
            let status = match self.store.append_batch(appends).await {
                Ok(outcomes) => {
                    self.outage.send_if_modified(|outage| outage.take().is_some());
                    return answer(batch, outcomes);
                }
                Err(status) => status,
            };
            self.outage.send_modify(|outage| {
                let since = outage.as_ref().map_or(began, |known| known.since);
                *outage = Some(Outage { since, status: status.clone() });
            });
            if began.elapsed() >= self.give_up_after || !worth_repeating(&status) {
                for item in batch {
                    let _ = item.reply.send(Err(AppendError::Unavailable(status.clone())));
                }
                return;
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
            batch = self.without_written(batch).await;
            if batch.is_empty() {
                return;
            }
        }
    }

    /// Answers those that were written although the answer was lost, or that were fenced; keeps the others.
    async fn without_written(&self, batch: Vec<Item>) -> Vec<Item> {
        let mut positions: HashMap<String, (i64, i64)> = HashMap::new();
        let mut left = Vec::with_capacity(batch.len());
        for item in batch {
            let run = &item.request.run_id;
            let position = match positions.get(run) {
                Some(known) => *known,
                None => match self.store.position(run).await {
                    Ok(position) => *positions.entry(run.clone()).or_insert(position),
                    // Still away: the next round asks again.
                    Err(_) => (item.first_sequence, item.request.epoch),
                },
            };
            let (next, epoch) = position;
            let last =
                item.first_sequence + i64::try_from(item.request.records.len()).unwrap_or(i64::MAX) - 1;
            if epoch != item.request.epoch {
                let _ = item.reply.send(Err(AppendError::Fenced));
            } else if next > last && !item.request.records.is_empty() {
                let _ = item.reply.send(Ok(last));
            } else {
                left.push(item);
            }
        }
        left
    }
}

fn answer(batch: Vec<Item>, outcomes: Vec<AppendOutcome>) {
    let mut outcomes = outcomes.into_iter();
    for item in batch {
        let result = match outcomes.next() {
            Some(outcome) if outcome.reason.is_empty() => Ok(outcome.last_sequence),
            Some(outcome) if matches!(outcome.reason.as_str(), "FENCED" | "NOT_FOUND") => {
                Err(AppendError::Fenced)
            }
            Some(outcome) => Err(AppendError::Refused(outcome.reason)),
            None => Err(AppendError::Refused("the answer left it out".to_owned())),
        };
        // Nobody waits where the run was dropped.
        let _ = item.reply.send(result);
    }
}

/// Whether a call may succeed when it is made again.
pub fn worth_repeating(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Unknown
            | Code::Cancelled
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use sre_proto::memory::v1::JournalRecord;
    use tokio::task::JoinSet;

    #[derive(Default)]
    struct Store {
        state: Mutex<State>,
    }

    #[derive(Default)]
    struct State {
        batches: Vec<usize>,
        written: HashMap<String, i64>,
        /// Answers that are lost after the write, then answers that fail before it.
        lost: usize,
        away: usize,
        epoch: i64,
    }

    #[async_trait]
    impl AppendStore for Store {
        async fn append_batch(&self, appends: Vec<AppendRequest>) -> Result<Vec<AppendOutcome>, Status> {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let mut state = self.state.lock();
            if state.away > 0 {
                state.away -= 1;
                return Err(Status::unavailable("away"));
            }
            state.batches.push(appends.len());
            let outcomes = appends
                .into_iter()
                .map(|append| {
                    if append.epoch != state.epoch {
                        return AppendOutcome { last_sequence: 0, reason: "FENCED".into() };
                    }
                    let last = state.written.entry(append.run_id).or_insert(0);
                    *last += append.records.len() as i64;
                    AppendOutcome { last_sequence: *last, reason: String::new() }
                })
                .collect();
            if state.lost > 0 {
                state.lost -= 1;
                return Err(Status::unavailable("lost"));
            }
            Ok(outcomes)
        }

        async fn position(&self, run_id: &str) -> Result<(i64, i64), Status> {
            let state = self.state.lock();
            Ok((state.written.get(run_id).copied().unwrap_or(0) + 1, state.epoch))
        }
    }

    fn started(state: State) -> (AppendQueue, Arc<Store>, JoinSet<()>) {
        let store = Arc::new(Store { state: Mutex::new(state) });
        let (queue, workers) = AppendQueue::new(store.clone(), Duration::from_secs(2));
        let mut tasks = JoinSet::new();
        for worker in workers {
            tasks.spawn(worker);
        }
        (queue, store, tasks)
    }

    fn append(run: &str, epoch: i64) -> AppendRequest {
        AppendRequest {
            run_id: run.into(),
            epoch,
            records: vec![JournalRecord::default()],
            ..Default::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn concurrent_runs_share_round_trips_and_keep_their_order() {
        let (queue, store, _tasks) = started(State::default());
        let mut runs = JoinSet::new();
        for run in 0..64 {
            let queue = queue.clone();
            runs.spawn(async move {
                for sequence in 1..=4 {
                    assert_eq!(queue.append(append(&run.to_string(), 0), sequence).await.unwrap(), sequence);
                }
            });
        }
        while let Some(done) = runs.join_next().await {
            done.unwrap();
        }
        let batches = store.state.lock().batches.clone();
        assert_eq!(batches.iter().sum::<usize>(), 256);
        assert!(batches.len() < 64, "{} round trips", batches.len());
    }

    #[tokio::test(start_paused = true)]
    async fn an_append_whose_answer_was_lost_is_not_written_twice() {
        let (queue, store, _tasks) = started(State { lost: 1, ..Default::default() });
        assert_eq!(queue.append(append("r", 0), 1).await.unwrap(), 1);
        assert_eq!(store.state.lock().written["r"], 1);
        assert_eq!(queue.append(append("r", 0), 2).await.unwrap(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_comes_back_gets_what_waited() {
        let (queue, store, _tasks) = started(State { away: 3, ..Default::default() });
        let waiting = queue.append(append("r", 0), 1);
        let warned = queue.unavailable_for(Duration::from_millis(10));
        let (written, status) = tokio::join!(waiting, warned);
        assert_eq!(written.unwrap(), 1);
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(store.state.lock().written["r"], 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_stays_away_is_given_up() {
        let (queue, _, _tasks) = started(State { away: usize::MAX, ..Default::default() });
        assert!(matches!(queue.append(append("r", 0), 1).await, Err(AppendError::Unavailable(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_fenced_run_is_told() {
        let (queue, _, _tasks) = started(State { epoch: 7, ..Default::default() });
        assert!(matches!(queue.append(append("r", 6), 1).await, Err(AppendError::Fenced)));
    }
}
