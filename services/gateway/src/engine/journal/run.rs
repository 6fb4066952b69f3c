//! The journal of one run, as its owner writes it: records are collected and written in order, one append on
//! its way at a time; what comes meanwhile goes into the next one, however often a flush is asked for. The journal
//! of a run that nobody knows yet begins with opening it: what the run did in memory until then goes into the same
//! transaction.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use prost::Message as _;
use sre_proto::memory::v1::{
    AppendRequest, JournalRecord, ParkRequest, PendingSignal, RunApproval, RunState,
};

use super::clock;
use super::opening::Opening;
use super::queue::{AppendError, AppendQueue, AppendStore as _};
use super::store::JournalStore;
use crate::engine::session::Lease;

/// Ready when the records are durable.
pub type Flushed = Shared<BoxFuture<'static, Result<(), AppendError>>>;

/// Records that may wait to be written before the run waits for the journal.
const UNWRITTEN_RECORDS: usize = 1_000;
/// Bytes of them, and of one append: a message holds 4 MiB.
const UNWRITTEN_BYTES: usize = 1 << 20;
/// What one record adds to the ledger at most: the store takes no more.
const USAGE_BYTES: usize = 48 << 10;
/// Wait before a run is parked again whose store did not answer.
const RETRY: Duration = Duration::from_millis(100);

/// The journal of one run.
pub struct RunJournal {
    store: JournalStore,
    queue: AppendQueue,
    run_id: String,
    lease: Lease,
    epoch: i64,
    next_sequence: i64,
    opening: Option<Box<Opening>>,
    pending: Vec<JournalRecord>,
    pending_bytes: usize,
    approvals: Vec<RunApproval>,
    consumed: Vec<String>,
    /// What the run did and no record tells the ledger yet.
    used: VecDeque<Bytes>,
    last: Flushed,
    /// What `last` will write, until it begins.
    unbegun: Arc<Mutex<Option<Batch>>>,
}

/// What one append writes.
#[derive(Default)]
struct Batch {
    records: Vec<JournalRecord>,
    consumed: Vec<String>,
    approvals: Vec<RunApproval>,
    /// The state that it ends the run with, and the outcome.
    end: Option<(RunState, Bytes)>,
}

impl Batch {
    fn add(&mut self, more: Self) {
        self.records.extend(more.records);
        self.consumed.extend(more.consumed);
        self.approvals.extend(more.approvals);
        self.end = more.end;
    }
}

/// Until when a run is parked.
#[derive(Clone, Debug, Default)]
pub struct Parking {
    /// A time that wakes it, in milliseconds since 1970 by the store's clock.
    pub until_ms: Option<u64>,
    /// Runs whose end wakes it.
    pub wake_on_end: Vec<String>,
    /// A person paused it.
    pub paused: bool,
}

/// Whether a run was parked.
#[derive(Debug)]
pub enum Parked {
    /// It is somebody else's from now on.
    Left,
    /// It is not: these signals wait already.
    Not(Vec<PendingSignal>),
}

impl RunJournal {
    /// The journal of a run that this lease owns with this epoch.
    pub fn new(
        store: JournalStore,
        queue: AppendQueue,
        run_id: String,
        lease: Lease,
        epoch: i64,
        next_sequence: i64,
    ) -> Self {
        let last: BoxFuture<'static, _> = Box::pin(std::future::ready(Ok(())));
        let last = last.shared();
        Self {
            store,
            queue,
            run_id,
            lease,
            epoch,
            next_sequence,
            opening: None,
            pending: Vec::new(),
            pending_bytes: 0,
            approvals: Vec::new(),
            consumed: Vec::new(),
            used: VecDeque::new(),
            last,
            unbegun: Arc::default(),
        }
    }

    /// The journal of a run that its first flush opens.
    pub fn unopened(store: JournalStore, queue: AppendQueue, lease: Lease, opening: Opening) -> Self {
        let run_id = opening.run_id().to_owned();
        Self {
            opening: Some(Box::new(opening)),
            ..Self::new(store, queue, run_id, lease, FIRST_EPOCH, FIRST_SEQUENCE)
        }
    }

    /// The lease under which it is written.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Sequence that the next record gets.
    pub fn next_sequence(&self) -> i64 {
        self.next_sequence + i64::try_from(self.pending.len()).unwrap_or(i64::MAX)
    }

    /// Adds a record; it is written with the next flush.
    pub fn push(&mut self, mut record: JournalRecord) {
        if record.usage.is_empty() {
            record.usage = self.next_used();
        }
        self.pending_bytes += record.body.len() + record.usage.len();
        self.pending.push(record);
    }

    /// Adds to the ledger, with the record that is added next (and those after it, where it is much).
    pub fn use_up(&mut self, events: impl IntoIterator<Item = Bytes>) {
        self.used.extend(events);
    }

    /// As many events as a record takes. Encoded messages that follow each other are one with the items of all.
    fn next_used(&mut self) -> Bytes {
        match self.used.len() {
            0 => return Bytes::new(),
            1 => return self.used.pop_front().unwrap_or_default(),
            _ => {}
        }
        let mut used = BytesMut::new();
        while let Some(event) = self.used.pop_front() {
            if !used.is_empty() && used.len() + event.len() > USAGE_BYTES {
                self.used.push_front(event);
                break;
            }
            used.extend_from_slice(&event);
        }
        used.freeze()
    }

    /// Asks people; the next flush does.
    pub fn ask(&mut self, approval: RunApproval) {
        self.approvals.push(approval);
    }

    /// A signal was acted upon; the next flush says so.
    pub fn consume(&mut self, signal_id: String) {
        self.consumed.push(signal_id);
    }

    /// Whether records wait to be written.
    pub fn is_dirty(&self) -> bool {
        !self.pending.is_empty() || self.opening.is_some()
    }

    /// Whether so many records wait that the run should, too.
    pub fn is_full(&self) -> bool {
        self.pending.len() > UNWRITTEN_RECORDS || self.pending_bytes > UNWRITTEN_BYTES
    }

    /// Writes what was added. The answer has to be awaited (or the next one) for anything to happen.
    pub fn flush(&mut self) -> Flushed {
        if self.is_dirty() {
            self.append(None);
        }
        self.last.clone()
    }

    /// Ends the run with what was added.
    pub fn close(&mut self, state: RunState, outcome: Bytes) -> Flushed {
        self.append(Some((state, outcome)));
        self.last.clone()
    }

    /// Gives the run up until a moment or a signal. Ready when that is durable.
    pub async fn park(&mut self, parking: Parking) -> Result<Parked, AppendError> {
        if self.opening.is_some() {
            self.flush().await?;
        }
        self.last.clone().await?;
        let mut records = self.take_pending();
        self.set_apart(&mut records).await?;
        let mut request = ParkRequest {
            run_id: self.run_id.clone(),
            session: self.lease.id().to_string(),
            epoch: self.epoch,
            until: parking.until_ms.map(|until| clock::moment(until).into()),
            records,
            consumed_signals: std::mem::take(&mut self.consumed),
            wake_on_end: parking.wake_on_end,
            paused: parking.paused,
            approvals: std::mem::take(&mut self.approvals),
        };
        let last = self.next_sequence - 1;
        loop {
            match self.store.park(request.clone()).await {
                Ok(answer) if answer.parked => return Ok(Parked::Left),
                Ok(answer) => return Ok(Parked::Not(answer.signals)),
                Err(status) if is_over(&status) => {
                    // Parked by a call whose answer was lost, or claimed by somebody: the same to this engine.
                    return Ok(Parked::Left);
                }
                Err(status) if !super::queue::worth_repeating(&status) => {
                    return Err(AppendError::Refused(status.message().to_owned()));
                }
                Err(status) => {
                    tracing::debug!(run = self.run_id, %status, "a run cannot be parked yet");
                    if self.lease.lost().is_cancelled() {
                        return Err(AppendError::Fenced);
                    }
                    tokio::time::sleep(RETRY).await;
                    // A call whose answer was lost wrote its records all the same, where signals kept the run.
                    if let Ok((next, epoch)) = self.store.position(&self.run_id).await
                        && epoch == self.epoch
                        && next > last
                    {
                        request.records.clear();
                    }
                }
            }
        }
    }

    fn take_pending(&mut self) -> Vec<JournalRecord> {
        let records = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        self.next_sequence += i64::try_from(records.len()).unwrap_or(i64::MAX);
        records
    }

    async fn set_apart(&self, records: &mut [JournalRecord]) -> Result<(), AppendError> {
        apart(&self.store, &self.run_id, records).await
    }

    fn append(&mut self, end: Option<(RunState, Bytes)>) {
        let first_sequence = self.next_sequence;
        let batch = Batch {
            records: self.take_pending(),
            consumed: std::mem::take(&mut self.consumed),
            approvals: std::mem::take(&mut self.approvals),
            end,
        };
        if let Some(unbegun) = self.unbegun.lock().as_mut() {
            return unbegun.add(batch);
        }
        let unbegun = Arc::new(Mutex::new(Some(batch)));
        self.unbegun = Arc::clone(&unbegun);
        let owned = AppendRequest {
            run_id: self.run_id.clone(),
            session: self.lease.id().to_string(),
            epoch: self.epoch,
            ..AppendRequest::default()
        };
        let (store, queue, before) = (self.store.clone(), self.queue.clone(), self.last.clone());
        let (opening, lease) = (self.opening.take(), self.lease.clone());
        let write: BoxFuture<'static, _> = Box::pin(async move {
            before.await?;
            let Batch { mut records, consumed, approvals, end } = unbegun.lock().take().unwrap_or_default();
            let (close_state, outcome) = end.unwrap_or_default();
            let end = AppendRequest {
                close_state: close_state.into(),
                outcome,
                consumed_signals: consumed,
                approvals,
                ..owned.clone()
            };
            apart(&store, &end.run_id, &mut records).await?;
            let mut next = first_sequence;
            let mut parts = split(records).into_iter();
            let mut part = parts.next().unwrap_or_default();
            if let Some(opening) = opening {
                // The last record of a run that ends at once belongs to its end.
                let rest = match end.close_state() {
                    RunState::Unspecified => Vec::new(),
                    _ => part.split_off(part.len().saturating_sub(1).max(1).min(part.len())),
                };
                next += length(&part);
                opening.open(&store, &lease, part).await?;
                part = if rest.is_empty() { parts.next().unwrap_or_default() } else { rest };
                if part.is_empty() && is_idle(&end) {
                    return Ok(());
                }
            }
            loop {
                let following = parts.next();
                let written = length(&part);
                let request = if following.is_some() { owned.clone() } else { end.clone() };
                let request = AppendRequest { records: part, expected_sequence: next, ..request };
                queue.append(request, next).await?;
                next += written;
                match following {
                    Some(following) => part = following,
                    None => return Ok(()),
                }
            }
        });
        self.last = write.shared();
    }
}

/// What the store gives a run that is opened for its owner.
pub const FIRST_EPOCH: i64 = 1;
const FIRST_SEQUENCE: i64 = 1;

fn length(records: &[JournalRecord]) -> i64 {
    i64::try_from(records.len()).unwrap_or(i64::MAX)
}

fn is_idle(end: &AppendRequest) -> bool {
    end.close_state() == RunState::Unspecified && end.consumed_signals.is_empty() && end.approvals.is_empty()
}

async fn apart(store: &JournalStore, run_id: &str, records: &mut [JournalRecord]) -> Result<(), AppendError> {
    for record in records {
        if store.is_large(record) {
            let large = std::mem::take(record);
            *record = store.apart(run_id, large).await.map_err(AppendError::Unavailable)?;
        }
    }
    Ok(())
}

/// Records in parts that fit a message.
fn split(records: Vec<JournalRecord>) -> Vec<Vec<JournalRecord>> {
    let mut parts = vec![Vec::with_capacity(records.len().min(UNWRITTEN_RECORDS))];
    let mut bytes = 0;
    for record in records {
        let size = record.encoded_len();
        if let Some(part) = parts.last_mut()
            && (bytes + size <= UNWRITTEN_BYTES || part.is_empty())
        {
            bytes += size;
            part.push(record);
            continue;
        }
        bytes = size;
        parts.push(vec![record]);
    }
    parts
}

/// Whether the run is not this owner's any more.
fn is_over(status: &tonic::Status) -> bool {
    use sre_proto::error::{Reason, reason};
    matches!(reason(status), Some(Reason::Fenced | Reason::NotFound))
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use sre_proto::memory::v1::AppendOutcome;
    use tokio::sync::Semaphore;
    use tonic::Status;

    use super::*;
    use crate::engine::journal::queue::AppendStore;
    use crate::engine::journal::testing::{Alone, lease};

    /// Notes what is appended, and answers when it may.
    struct Slow {
        appended: Mutex<Vec<AppendRequest>>,
        may: Semaphore,
    }

    #[async_trait]
    impl AppendStore for Slow {
        async fn append_batch(&self, appends: Vec<AppendRequest>) -> Result<Vec<AppendOutcome>, Status> {
            self.appended.lock().extend(appends.clone());
            self.may.acquire().await.unwrap().forget();
            let last = |append: &AppendRequest| append.expected_sequence + length(&append.records) - 1;
            let outcome = |append| AppendOutcome { last_sequence: last(append), ..AppendOutcome::default() };
            Ok(appends.iter().map(outcome).collect())
        }

        async fn position(&self, _run_id: &str) -> Result<(i64, i64), Status> {
            Err(Status::unavailable("nobody asks"))
        }
    }

    #[tokio::test]
    async fn what_is_flushed_during_an_append_is_one_append() {
        let store = Arc::new(Slow { appended: Mutex::default(), may: Semaphore::new(0) });
        let (queue, lanes) = AppendQueue::new(Arc::clone(&store) as _, Duration::from_secs(1));
        let (lease, mut tasks) = lease().await;
        for lane in lanes {
            tasks.spawn(lane);
        }
        let alone = Alone::new().await;
        let mut journal = RunJournal::new(alone.store(), queue, "run".to_owned(), lease, 1, 1);
        let push = |journal: &mut RunJournal, step: usize| {
            journal.push(JournalRecord { step: step.to_string(), ..JournalRecord::default() });
        };

        push(&mut journal, 1);
        let first = journal.flush();
        let polled = first.clone();
        tasks.spawn(async move { drop(polled.await) });
        while store.appended.lock().is_empty() {
            tokio::task::yield_now().await;
        }
        let mut flushes = Vec::new();
        for step in 2..6 {
            push(&mut journal, step);
            journal.consume(step.to_string());
            flushes.push(journal.flush());
        }
        push(&mut journal, 6);
        flushes.push(journal.close(RunState::Done, Bytes::from_static(b"answer")));
        assert_eq!(store.appended.lock().len(), 1, "one at a time");
        store.may.add_permits(2);
        first.await.unwrap();
        for flush in flushes {
            flush.await.unwrap();
        }

        let appended = store.appended.lock();
        let [_, rest] = appended.as_slice() else { panic!("{} appends", appended.len()) };
        let steps: Vec<_> = rest.records.iter().map(|record| record.step.as_str()).collect();
        assert_eq!((rest.expected_sequence, steps), (2, vec!["2", "3", "4", "5", "6"]));
        assert_eq!((rest.close_state(), rest.consumed_signals.len()), (RunState::Done, 4));
        assert_eq!(&rest.outcome[..], b"answer");
        assert_eq!(journal.next_sequence(), 7);
    }

    #[test]
    fn records_are_split_into_messages_in_order() {
        assert_eq!(split(Vec::new()).len(), 1);
        let record = |number: usize, size: usize| JournalRecord {
            step: number.to_string(),
            body: vec![0; size].into(),
            ..JournalRecord::default()
        };
        let records: Vec<_> = (0..40).map(|number| record(number, 60 << 10)).collect();
        let parts = split(records.clone());
        assert!(parts.len() > 1);
        for part in &parts {
            assert!(part.iter().map(prost::Message::encoded_len).sum::<usize>() <= UNWRITTEN_BYTES);
        }
        assert_eq!(parts.concat(), records);
        let large = split(vec![record(0, 2 << 20), record(1, 1)]);
        assert_eq!(large.len(), 2, "what is too large for a part is one by itself");
    }
}
