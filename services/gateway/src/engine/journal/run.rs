//! The journal of one run, as its owner writes it: records are collected and written in order, one append on
//! its way at a time.

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use sre_proto::memory::v1::{AppendRequest, JournalRecord, RunState};

use super::queue::{AppendError, AppendQueue};
use super::store::JournalStore;
use crate::engine::session::Lease;

/// Ready when the records are durable.
pub type Flushed = Shared<BoxFuture<'static, Result<(), AppendError>>>;

/// The journal of one run.
pub struct RunJournal {
    store: JournalStore,
    queue: AppendQueue,
    run_id: String,
    lease: Lease,
    epoch: i64,
    next_sequence: i64,
    pending: Vec<JournalRecord>,
    consumed: Vec<String>,
    last: Flushed,
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
            pending: Vec::new(),
            consumed: Vec::new(),
            last,
        }
    }

    /// The lease under which it is written.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// The owner's epoch.
    pub fn epoch(&self) -> i64 {
        self.epoch
    }

    /// Adds a record; it is written with the next flush.
    pub fn push(&mut self, record: JournalRecord) {
        self.pending.push(record);
    }

    /// A signal was acted upon; the next flush says so.
    pub fn consume(&mut self, signal_id: String) {
        self.consumed.push(signal_id);
    }

    /// Whether records wait to be written.
    pub fn is_dirty(&self) -> bool {
        !self.pending.is_empty()
    }

    /// How many records wait to be written.
    pub fn unwritten(&self) -> usize {
        self.pending.len()
    }

    /// Writes what was added. The answer has to be awaited (or the next one) for anything to happen.
    pub fn flush(&mut self) -> Flushed {
        if self.is_dirty() {
            self.append(RunState::Unspecified, bytes::Bytes::new());
        }
        self.last.clone()
    }

    /// Ends the run with what was added.
    pub fn close(&mut self, state: RunState, outcome: bytes::Bytes) -> Flushed {
        self.append(state, outcome);
        self.last.clone()
    }

    fn append(&mut self, close_state: RunState, outcome: bytes::Bytes) {
        let records = std::mem::take(&mut self.pending);
        let first_sequence = self.next_sequence;
        self.next_sequence += i64::try_from(records.len()).unwrap_or(i64::MAX);
        let mut request = AppendRequest {
            run_id: self.run_id.clone(),
            session: self.lease.id().to_string(),
            epoch: self.epoch,
            records,
            close_state: close_state.into(),
            outcome,
            consumed_signals: std::mem::take(&mut self.consumed),
            ..AppendRequest::default()
        };
        let (store, queue, before) = (self.store.clone(), self.queue.clone(), self.last.clone());
        let write: BoxFuture<'static, _> = Box::pin(async move {
            before.await?;
            for record in &mut request.records {
                if store.is_large(record) {
                    let large = std::mem::take(record);
                    *record = store.apart(&request.run_id, large).await.map_err(AppendError::Unavailable)?;
                }
            }
            queue.append(request, first_sequence).await.map(|_| ())
        });
        self.last = write.shared();
    }
}
