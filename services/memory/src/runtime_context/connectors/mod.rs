//! Where the journal is kept: one file (or folder) per backend behind one trait.

mod sqlite;

#[cfg(test)]
mod contract;

use std::time::Duration;

use async_trait::async_trait;

pub use sqlite::{MIGRATIONS, SqliteJournal};

use super::error::JournalError;
use super::ids::{RunId, SessionId};
use super::model::{
    Append, Claim, Claimed, Opened, Opening, Page, Parked, Parking, ReadFrom, Reaped, Run, RunFilter,
    Session, Signal, Signalled, Summary,
};

/// The journal's store. Every write is durable when its future is ready, and is one transaction. Writes of
/// an owner are fenced: they match (session, epoch) of the run's row or write nothing.
///
/// A backend is right when it passes `contract::run`.
#[async_trait]
pub trait Journal: Send + Sync + 'static {
    /// Opens a session.
    async fn open_session(&self, time_to_live: Duration, host: String) -> Result<Session, JournalError>;

    /// Renews a session: none once it was reaped. One that expired and was not reaped lives on, for nobody
    /// owns its runs yet. Not idempotent in time, harmless to repeat.
    async fn renew_session(&self, id: SessionId) -> Result<Option<Session>, JournalError>;

    /// Ends a session; its runs can be claimed at once, and that its owner left is not held against them.
    /// Gives how many. Repeating it does nothing.
    async fn close_session(&self, id: SessionId) -> Result<u64, JournalError>;

    /// Opens a run, or gives the one that the run id, the caller's request id or the parent's idempotency key
    /// names already.
    async fn open_run(&self, opening: Opening) -> Result<Opened, JournalError>;

    /// Appends, each item for itself: the sequence of the last record of each, or why it was refused. The
    /// outer error means that nothing was written. NOT idempotent: a caller that does not know the outcome
    /// reads the run before it writes again.
    async fn append(&self, appends: Vec<Append>) -> Result<Vec<Result<i64, JournalError>>, JournalError>;

    /// Parks a run, unless signals wait. The records are written either way.
    async fn park(&self, parking: Parking) -> Result<Parked, JournalError>;

    /// Reaps, then gives runs that are ready or due to the claimer, each with epoch + 1: child runs first,
    /// then by due time.
    async fn claim(&self, claim: Claim) -> Result<Claimed, JournalError>;

    /// Puts a signal into a run's inbox and wakes the run where it waits. Idempotent by signal id as long as
    /// the run exists, consumed or not.
    async fn signal(&self, run: RunId, signal: Signal) -> Result<Signalled, JournalError>;

    /// Signals that wait for runs of a session; none where the session is over.
    async fn pending_signals(&self, session: SessionId)
    -> Result<Option<Vec<(RunId, Signal)>>, JournalError>;

    /// A page of records in order, of about a message's size, with the run's state in the same snapshot.
    async fn read(&self, run: RunId, from: ReadFrom) -> Result<Page, JournalError>;

    /// A run with everything.
    async fn run(&self, run: RunId) -> Result<Run, JournalError>;

    /// Runs, newest first, without spec and outcome.
    async fn list(&self, filter: RunFilter) -> Result<Vec<Run>, JournalError>;

    /// Deletes an ended run: at once for readers, its rows in batches by [`Journal::purge`].
    async fn delete(&self, run: RunId) -> Result<(), JournalError>;

    /// Writes ended runs; those whose id is taken are left out. Gives how many were written.
    async fn write_summaries(&self, runs: Vec<Summary>) -> Result<usize, JournalError>;

    /// Ends sessions that expired and releases their runs, a batch of them.
    async fn reap(&self) -> Result<Reaped, JournalError>;

    /// How long until next a run comes due or a session expires, by the store's clock.
    async fn next_wake(&self) -> Result<Option<Duration>, JournalError>;

    /// Deletes a batch of what is past its retention; gives how many runs it deleted.
    async fn expire(&self) -> Result<usize, JournalError>;

    /// Removes a batch of what deleted runs left behind. Gives runs whose rows are all gone: the caller
    /// removes their payloads and then says so to [`Journal::purged`].
    async fn purge(&self) -> Result<Purge, JournalError>;

    /// Forgets deleted runs of which nothing is left.
    async fn purged(&self, runs: Vec<i64>) -> Result<(), JournalError>;

    /// Which of these runs exist, in any state, deleted ones that are not purged included.
    async fn existing(&self, runs: Vec<RunId>) -> Result<Vec<RunId>, JournalError>;

    /// How often a reader must look for records written by other processes; none where this process writes
    /// them all.
    fn poll_interval(&self) -> Option<Duration>;
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
