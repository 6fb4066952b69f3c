//! Where the journal is kept: one file (or folder) per backend behind one trait.

mod postgres;
mod sqlite;

#[cfg(test)]
pub(crate) mod contract;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

pub use postgres::{PG_MIGRATIONS, PostgresBlobs, PostgresJournal, SESSION as PG_SESSION};
pub use sqlite::{MIGRATIONS, SqliteJournal};

use super::approval::{Approval, ApprovalFilter, Decision};
use super::changes::Observer;
use super::error::JournalError;
use super::ids::{RunId, SessionId};
use super::model::{
    Append, Claim, Claimed, Opened, Opening, Page, Parked, Parking, ReadFrom, Reaped, Run, RunFilter,
    Session, Signal, Signalled, Summary, Take,
};

/// The journal's store. Every write is durable when its future is ready, and is one transaction. Writes of
/// an owner are fenced: they match (session, epoch) of the run's row or write nothing.
///
/// **The end of a run** (by [`Journal::append`], or as poison), in the same transaction: its inbox goes, its
/// pending approvals expire, and each run that was parked with `wake_on_end` on it finds
/// [`job_done`](super::model::job_done) in its inbox and is woken unless it is paused.
///
/// **Admission**: a slot is a run in state LEASED; they are counted per team and kind. Opening with a session
/// and claiming never take more than `team_running`; [`Journal::take`] may. A run that cannot be opened as
/// owned is QUEUED, and so is one that is opened as owned while others of its team and kind are QUEUED
/// (children, which go first, only by the count). Parking, ending and handing back free the slot at once.
///
/// **Changes**: after each commit the backend tells its observer what others wait for, see
/// [`Change`](super::changes::Change); what other processes wrote it tells as soon as it learns of it.
///
/// A backend is right when it passes `contract::every_case`.
#[async_trait]
pub trait Journal: Send + Sync + 'static {
    /// Sets who is told of changes; once, before the first write.
    fn observe(&self, observer: Observer);

    /// Mends what a binary of the version before may have left, such as counters; once, before the first
    /// write.
    async fn prepare(&self) -> Result<(), JournalError> {
        Ok(())
    }

    /// Opens a session.
    async fn open_session(&self, time_to_live: Duration, host: String) -> Result<Session, JournalError>;

    /// Renews a session: none once it was reaped. One that expired and was not reaped lives on, for nobody
    /// owns its runs yet. Not idempotent in time, harmless to repeat.
    async fn renew_session(&self, id: SessionId) -> Result<Option<Session>, JournalError>;

    /// Ends a session; its runs can be claimed at once, and that its owner left is not held against them.
    /// Gives how many. Repeating it does nothing.
    async fn close_session(&self, id: SessionId) -> Result<u64, JournalError>;

    /// Opens a run, or gives the one that the run id, the caller's request id or the parent's idempotency key
    /// names already. Asked for with a session and without a free slot, the run is QUEUED and has no session.
    async fn open_run(&self, opening: Opening) -> Result<Opened, JournalError>;

    /// Appends, each item for itself: the sequence of the last record of each, or why it was refused. The
    /// outer error means that nothing was written. Idempotent where `expected_sequence` is set: if the run's
    /// records from there on are these, by this epoch (and its state is the asked end), the answer is as if
    /// they were written now; if it stands elsewhere, that is [`JournalError::OutOfSequence`].
    async fn append(&self, appends: Vec<Append>) -> Result<Vec<Result<i64, JournalError>>, JournalError>;

    /// Parks a run, unless signals wait that would wake it, or a run of `wake_on_end` ended already or does
    /// not exist (a paused one is parked then). Records, consumed signals and approvals are written either way.
    async fn park(&self, parking: Parking) -> Result<Parked, JournalError>;

    /// Reaps, then gives runs that are ready or due to the claimer, each with epoch + 1. One run at a time
    /// goes to the team with the fewest LEASED runs (of all kinds) that has a claimable one and a free slot
    /// for it; in a team child runs first, then by due time. What the runs waited for is forgotten.
    async fn claim(&self, claim: Claim) -> Result<Claimed, JournalError>;

    /// Gives one run that nobody owns to the taker with epoch + 1, whatever it waits for and without asking
    /// for a slot; not counted as a barren claim. [`JournalError::RunBusy`] while a session that has not
    /// expired owns it (the taker's own, too), [`JournalError::RunEnded`] and [`JournalError::NewerFormat`]
    /// where nothing can be done.
    async fn take(&self, take: Take) -> Result<(Run, Vec<Signal>), JournalError>;

    /// Puts a signal into a run's inbox and wakes the run where it waits for it, see
    /// [`Hold`](super::model::Hold). Idempotent by signal id as long as the run exists, consumed or not.
    async fn signal(&self, run: RunId, signal: Signal) -> Result<Signalled, JournalError>;

    /// Signals that wait for runs of a session; none where the session is over.
    async fn pending_signals(&self, session: SessionId)
    -> Result<Option<Vec<(RunId, Signal)>>, JournalError>;

    /// A page of records in order, of about a message's size, with the run's state in the same snapshot.
    async fn read(&self, run: RunId, from: ReadFrom) -> Result<Page, JournalError>;

    /// A run with everything.
    async fn run(&self, run: RunId) -> Result<Run, JournalError>;

    /// The run that this caller opened with this request id within the last 24 hours.
    async fn find(&self, caller: String, request_id: String) -> Result<Run, JournalError>;

    /// An approval.
    async fn approval(&self, run: RunId, id: String) -> Result<Approval, JournalError>;

    /// Approvals, newest first.
    async fn approvals(&self, filter: ApprovalFilter) -> Result<Vec<Approval>, JournalError>;

    /// Decides a pending approval and puts [`Approval::signal`] into the inbox of its run like
    /// [`Journal::signal`], in one transaction. A repeat of an equal decision gives the approval as decided;
    /// else [`JournalError::AlreadyDecided`], or [`JournalError::ApprovalExpired`].
    async fn decide(&self, run: RunId, id: String, decision: Decision) -> Result<Approval, JournalError>;

    /// Runs, newest first, without spec and outcome.
    async fn list(&self, filter: RunFilter) -> Result<Vec<Run>, JournalError>;

    /// Deletes an ended run: at once for readers, its rows in batches by [`Journal::purge`].
    async fn delete(&self, run: RunId) -> Result<(), JournalError>;

    /// Writes ended runs; those whose id is taken are left out. Gives how many were written.
    async fn write_summaries(&self, runs: Vec<Summary>) -> Result<usize, JournalError>;

    /// Ends sessions that expired and releases their runs, a batch of them.
    async fn reap(&self) -> Result<Reaped, JournalError>;

    /// How long until next a run comes due or a session expires, by the store's clock; a lower bound. Runs of
    /// teams without a free slot do not count.
    async fn next_wake(&self) -> Result<Option<Duration>, JournalError>;

    /// Deletes a batch of what is past its retention and marks approvals whose time has passed; gives how many
    /// runs it deleted.
    async fn expire(&self) -> Result<usize, JournalError>;

    /// Removes a batch of what deleted runs left behind. Gives runs whose rows are all gone: the caller
    /// removes their payloads and then says so to [`Journal::purged`].
    async fn purge(&self) -> Result<Purge, JournalError>;

    /// Forgets deleted runs of which nothing is left.
    async fn purged(&self, runs: Vec<i64>) -> Result<(), JournalError>;

    /// Which of these runs exist, in any state, deleted ones that are not purged included.
    async fn existing(&self, runs: Vec<RunId>) -> Result<Vec<RunId>, JournalError>;

    /// What records added to the ledger and was not shipped yet, oldest first, so much at most. Replicas may be
    /// given the same: the ledger counts an event once.
    async fn unshipped(&self, limit: usize) -> Result<Vec<Unshipped>, JournalError>;

    /// It was shipped.
    async fn shipped(&self, ids: Vec<i64>) -> Result<(), JournalError>;

    /// How often a reader must look for records written by other processes; none where this process writes
    /// them all.
    fn poll_interval(&self) -> Option<Duration>;
}

/// What records of one write added to the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unshipped {
    /// Its place in the outbox.
    pub id: i64,
    /// Encoded events, opaque.
    pub events: Bytes,
}

/// A batch of what deleted runs left behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Purge {
    /// Runs of which only payloads may be left.
    pub emptied: Vec<Emptied>,
    /// Whether there is more to do.
    pub more: bool,
}

/// A deleted run without rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Emptied {
    /// The backend's key of it.
    pub key: i64,
    /// Whose payloads to remove; none where another run was opened under the same id since.
    pub payloads_of: Option<RunId>,
}
