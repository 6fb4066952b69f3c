//! The journal in a PostgreSQL database, which several processes may share.
//!
//! A statement takes many runs at once, as columns; what several callers want at the same time is written in
//! one transaction (`lane.rs`). A transaction is two or three round trips: statements that need no answer of each
//! other are sent together, the commit with the last of them. Rows are locked in one order everywhere: the
//! session, what ends, what waits for it, each by id; whoever picks among many skips what is locked.

mod admission;
mod append;
mod blobs;
mod claim;
mod conversations;
mod ending;
mod inbox;
mod lane;
mod notices;
mod open;
mod outbox;
mod park;
mod partitions;
mod poison;
mod query;
mod questions;
mod reap;
mod retention;
mod rows;
mod schema;
mod sessions;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sre_store::pg::Pg;
use sre_store::{ErrorKind, StoreError};
use tokio::task::JoinSet;
use uuid::Uuid;

pub use blobs::PostgresBlobs;
pub use schema::{PG_MIGRATIONS, SESSION};

use super::{Journal, Purge, Unshipped};
use crate::runtime_context::approval::{Approval, ApprovalFilter, Decision};
use crate::runtime_context::changes::{Change, Observed, Observer};
use crate::runtime_context::error::JournalError;
use crate::runtime_context::ids::{RunId, SessionId};
use crate::runtime_context::model::{
    Append, Claim, Claimed, Opened, Opening, Page, Parked, Parking, ReadFrom, Reaped, Run, RunFilter,
    Session, Signal, Signalled, Summary, Take,
};
use crate::runtime_context::settings::JournalSettings;

use admission::Admission;
use lane::Lane;
use notices::Notices;

type Result<T> = std::result::Result<T, JournalError>;

/// Tries of a transaction that was in another's way. Nothing was written by those before.
const TRIES: u32 = 6;
/// The wait after the first; doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(5);
/// Transactions of a lane that are under way at once.
const WORKERS: usize = 2;
/// Runs opened in one transaction.
const OPENINGS: usize = 128;
/// Calls of `append` written in one transaction.
const APPENDS: usize = 128;

/// Runs work on a connection of the pool, again where another transaction was in its way. No function over a
/// closure, for its future could not be told to be `Send` for every connection.
macro_rules! transact {
    ($core:expr, $client:ident => $work:expr) => {{
        let mut tries = $crate::runtime_context::connectors::postgres::Tries::default();
        loop {
            let loan = $core.pg.lend().await?;
            let outcome: $crate::runtime_context::connectors::postgres::Result<_> = {
                let $client = loan.client()?;
                loan.run(async { $work }).await
            };
            let outcome = loan.finish(outcome).await;
            if !tries.again(outcome.as_ref().err()).await {
                break outcome;
            }
        }
    }};
}
use transact;

/// Counts tries.
struct Tries {
    left: u32,
    wait: Duration,
}

impl Default for Tries {
    fn default() -> Self {
        Self { left: TRIES, wait: FIRST_WAIT }
    }
}

impl Tries {
    /// Whether to try again, after a wait.
    async fn again(&mut self, error: Option<&JournalError>) -> bool {
        let Some(JournalError::Store(error)) = error else { return false };
        self.left -= 1;
        if error.kind() != ErrorKind::Busy || self.left == 0 {
            return false;
        }
        tracing::debug!(%error, "a transaction of the journal is tried again");
        tokio::time::sleep(self.wait).await;
        self.wait *= 2;
        true
    }
}

/// The journal in a database. Clones share it.
#[derive(Clone)]
pub struct PostgresJournal {
    core: Arc<Core>,
    opens: Lane<Opening, Opened>,
    appends: Lane<Vec<Append>, Vec<Result<i64>>>,
    _tasks: Arc<JoinSet<()>>,
}

/// What statements work with.
struct Core {
    pg: Pg,
    settings: Arc<JournalSettings>,
    observed: Observed,
    notices: Notices,
    admission: Admission,
    /// This process among those that share the database.
    process: Uuid,
}

impl PostgresJournal {
    /// A journal over a pool with [`PG_MIGRATIONS`] and [`SESSION`].
    pub async fn open(pg: Pg, settings: Arc<JournalSettings>) -> Result<Self> {
        let process = sre_proto::ids::new_uuid();
        let core = Arc::new(Core {
            notices: Notices::new(process, pg.schema_name()),
            pg,
            settings,
            observed: Observed::default(),
            admission: Admission::default(),
            process,
        });
        transact!(core, client => partitions::make_ahead(client).await)?;
        let mut tasks = JoinSet::new();
        let opening = Arc::clone(&core);
        let opens = Lane::start(&mut tasks, WORKERS, OPENINGS, move |openings: Vec<Opening>| {
            let core = Arc::clone(&opening);
            async move { Box::pin(open::open_each(&core, &openings)).await }
        });
        let appending = Arc::clone(&core);
        let appends = Lane::start(&mut tasks, WORKERS, APPENDS, move |calls: Vec<Vec<Append>>| {
            let core = Arc::clone(&appending);
            async move { Box::pin(append_calls(&core, calls)).await }
        });
        tasks.spawn(core.notices.clone().run(core.pg.clone(), core.observed.clone()));
        Ok(Self { core, opens, appends, _tasks: Arc::new(tasks) })
    }
}

/// Writes the appends of several calls together and gives each call its own.
async fn append_calls(core: &Core, calls: Vec<Vec<Append>>) -> Vec<Result<Vec<Result<i64>>>> {
    let counts: Vec<usize> = calls.iter().map(Vec::len).collect();
    let all: Vec<Append> = calls.into_iter().flatten().collect();
    match append::append_each(core, &all).await {
        Ok(outcomes) => {
            let mut outcomes = outcomes.into_iter();
            counts.into_iter().map(|count| Ok(outcomes.by_ref().take(count).collect())).collect()
        }
        Err(error) => counts.into_iter().map(|_| Err(error.clone())).collect(),
    }
}

impl Core {
    /// Tells what was committed, here and elsewhere.
    fn tell(&self, changes: Vec<Change>) {
        self.notices.tell(&changes);
        self.observed.tell(changes);
    }
}

#[async_trait]
impl Journal for PostgresJournal {
    fn observe(&self, observer: Observer) {
        self.core.observed.observe(observer);
    }

    async fn open_session(&self, time_to_live: Duration, host: String) -> Result<Session> {
        let session = transact!(self.core, client => sessions::open(client, time_to_live, &host).await)?;
        self.core.tell(vec![Change::Rescheduled]);
        Ok(session)
    }

    async fn renew_session(&self, id: SessionId) -> Result<Option<Session>> {
        transact!(self.core, client => sessions::renew(client, id).await)
    }

    async fn close_session(&self, id: SessionId) -> Result<u64> {
        let (released, found) = transact!(self.core, client => sessions::close(client, id).await)?;
        if found {
            self.core.tell(vec![Change::SessionOver(id)]);
        }
        if released > 0 {
            self.core.tell(vec![Change::Claimable]);
        }
        Ok(released)
    }

    async fn open_run(&self, opening: Opening) -> Result<Opened> {
        self.opens.call(opening).await
    }

    async fn append(&self, appends: Vec<Append>) -> Result<Vec<Result<i64>>> {
        self.appends.call(appends).await
    }

    async fn park(&self, parking: Parking) -> Result<Parked> {
        park::park(&self.core, &parking).await
    }

    async fn claim(&self, claim: Claim) -> Result<Claimed> {
        claim::claim(&self.core, claim).await
    }

    async fn take(&self, take: Take) -> Result<(Run, Vec<Signal>)> {
        claim::take(&self.core, take).await
    }

    async fn signal(&self, run: RunId, signal: Signal) -> Result<Signalled> {
        inbox::signal(&self.core, run, &signal).await
    }

    async fn pending_signals(&self, session: SessionId) -> Result<Option<Vec<(RunId, Signal)>>> {
        transact!(self.core, client => inbox::pending_of_session(client, session).await)
    }

    async fn read(&self, run: RunId, from: ReadFrom) -> Result<Page> {
        transact!(self.core, client => query::page(client, run, from).await)
    }

    async fn run(&self, run: RunId) -> Result<Run> {
        transact!(self.core, client => query::run(client, run).await)
    }

    async fn find(&self, caller: String, request_id: String) -> Result<Run> {
        let kept = sessions::millis(self.core.settings.request_ids);
        transact!(self.core, client => query::by_request(client, &caller, &request_id, kept).await)
    }

    async fn approval(&self, run: RunId, id: String) -> Result<Approval> {
        transact!(self.core, client => questions::get_one(client, run, &id).await)
    }

    async fn approvals(&self, filter: ApprovalFilter) -> Result<Vec<Approval>> {
        transact!(self.core, client => questions::list(client, &filter).await)
    }

    async fn decide(&self, run: RunId, id: String, decision: Decision) -> Result<Approval> {
        questions::decide(&self.core, run, &id, &decision).await
    }

    async fn list(&self, filter: RunFilter) -> Result<Vec<Run>> {
        transact!(self.core, client => query::list(client, &filter).await)
    }

    async fn delete(&self, run: RunId) -> Result<()> {
        retention::delete(&self.core, run).await
    }

    async fn write_summaries(&self, runs: Vec<Summary>) -> Result<usize> {
        transact!(self.core, client => retention::write_summaries(client, &runs).await)
    }

    async fn reap(&self) -> Result<Reaped> {
        reap::reap(&self.core).await
    }

    async fn next_wake(&self) -> Result<Option<Duration>> {
        transact!(self.core, client => reap::next_wake(&self.core, client).await)
    }

    async fn expire(&self) -> Result<usize> {
        let process = self.core.process;
        transact!(self.core, client => partitions::look_after(client, process).await)?;
        transact!(self.core, client => retention::expire(&self.core, client).await)
    }

    async fn purge(&self) -> Result<Purge> {
        transact!(self.core, client => retention::purge(&self.core, client).await)
    }

    async fn purged(&self, runs: Vec<i64>) -> Result<()> {
        transact!(self.core, client => retention::purged(client, &runs).await)
    }

    async fn existing(&self, runs: Vec<RunId>) -> Result<Vec<RunId>> {
        transact!(self.core, client => retention::existing(client, &runs).await)
    }

    async fn unshipped(&self, limit: usize) -> Result<Vec<Unshipped>> {
        transact!(self.core, client => outbox::waiting(client, limit).await)
    }

    async fn shipped(&self, ids: Vec<i64>) -> Result<()> {
        transact!(self.core, client => outbox::remove(client, &ids).await)
    }

    fn poll_interval(&self) -> Option<Duration> {
        Some(self.core.notices.poll_interval())
    }
}

impl From<sre_store::pg::tokio_postgres::Error> for JournalError {
    fn from(error: sre_store::pg::tokio_postgres::Error) -> Self {
        Self::Store(StoreError::from(error))
    }
}

#[cfg(test)]
pub(super) mod tests;
