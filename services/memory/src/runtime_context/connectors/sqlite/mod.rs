//! The journal in one SQLite file: the statements of the protocol, one after the other, in the single
//! writer's transaction, whose commit many callers share.

mod append;
mod approvals;
mod claim;
mod conversations;
mod inbox;
mod open;
mod outbox;
mod query;
mod retention;
mod rows;
mod schema;
mod sessions;
mod slots;
mod waiters;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sre_store::Store;
use sre_store::rusqlite::Connection;

pub use schema::MIGRATIONS;

use super::{Emptied, Journal, Purge, Unshipped};
use crate::runtime_context::approval::{Approval, ApprovalFilter, Decision};
use crate::runtime_context::changes::{Change, Observed, Observer};
use crate::runtime_context::error::JournalError;
use crate::runtime_context::ids::{RunId, SessionId};
use crate::runtime_context::model::{
    Append, Claim, Claimed, Opened, Opening, Page, Parked, Parking, ReadFrom, Reaped, Run, RunFilter,
    Session, Signal, Signalled, Summary, Take,
};
use crate::runtime_context::settings::JournalSettings;
use crate::runtime_context::time::{Clock, UnixMs};

type Result<T> = std::result::Result<T, JournalError>;

/// The embedded journal. Clones share the store.
#[derive(Clone)]
pub struct SqliteJournal {
    store: Store,
    clock: Arc<dyn Clock>,
    settings: Arc<JournalSettings>,
    observed: Observed,
}

impl SqliteJournal {
    /// A journal over a store with [`MIGRATIONS`].
    pub fn new(store: Store, clock: Arc<dyn Clock>, settings: Arc<JournalSettings>) -> Self {
        Self { store, clock, settings, observed: Observed::default() }
    }

    /// Runs `work` in the writer's transaction, with the store's clock read inside it, and tells what it
    /// changed once it is durable.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.store.try_write_then(self.transaction(work), self.told()).await
    }

    /// The same for what each run does, which decides before its first change (see [`Store::try_write_decided_then`]).
    async fn write_decided<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.store.try_write_decided_then(self.transaction(work), self.told()).await
    }

    fn transaction<T, W: FnOnce(&Transaction<'_>) -> Result<T>>(
        &self,
        work: W,
    ) -> impl FnOnce(&Connection) -> Result<(T, Vec<Change>)> + use<T, W> {
        let clock = Arc::clone(&self.clock);
        let settings = Arc::clone(&self.settings);
        move |conn| {
            let changes = RefCell::default();
            let tx = Transaction { conn, now: clock.now(), settings: &settings, changes };
            let value = work(&tx)?;
            Ok((value, tx.changes.into_inner()))
        }
    }

    fn told<T>(&self) -> impl FnOnce((T, Vec<Change>)) -> T + use<T> {
        let observed = self.observed.clone();
        move |(value, changes)| {
            observed.tell(changes);
            value
        }
    }

    async fn query<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.store.try_read(work).await
    }
}

/// What a write works with.
struct Transaction<'a> {
    conn: &'a Connection,
    now: UnixMs,
    settings: &'a JournalSettings,
    /// Told after the commit.
    changes: RefCell<Vec<Change>>,
}

impl Transaction<'_> {
    fn tell(&self, change: Change) {
        let mut changes = self.changes.borrow_mut();
        // Once is enough. Only the last ones are looked at: a session that ends hands back runs by the
        // thousand, and nothing else tells so many.
        let repeated = matches!(change, Change::Claimable | Change::Rescheduled)
            && changes.iter().rev().take(4).any(|told| *told == change);
        if !repeated {
            changes.push(change);
        }
    }
}

#[async_trait]
impl Journal for SqliteJournal {
    fn observe(&self, observer: Observer) {
        self.observed.observe(observer);
    }

    async fn prepare(&self) -> Result<()> {
        self.write(slots::recount).await
    }

    async fn open_session(&self, time_to_live: Duration, host: String) -> Result<Session> {
        self.write(move |tx| sessions::open(tx, time_to_live, &host)).await
    }

    async fn renew_session(&self, id: SessionId) -> Result<Option<Session>> {
        self.write(move |tx| sessions::renew(tx, id)).await
    }

    async fn close_session(&self, id: SessionId) -> Result<u64> {
        self.write(move |tx| sessions::close(tx, id)).await
    }

    async fn open_run(&self, opening: Opening) -> Result<Opened> {
        self.write_decided(move |tx| open::open(tx, &opening)).await
    }

    async fn append(&self, appends: Vec<Append>) -> Result<Vec<Result<i64>>> {
        self.write_decided(move |tx| append::append_each(tx, &appends)).await
    }

    async fn park(&self, parking: Parking) -> Result<Parked> {
        self.write(move |tx| append::park(tx, &parking)).await
    }

    async fn claim(&self, claim: Claim) -> Result<Claimed> {
        self.write(move |tx| claim::claim(tx, claim)).await
    }

    async fn signal(&self, run: RunId, signal: Signal) -> Result<Signalled> {
        self.write(move |tx| inbox::signal(tx, run, &signal)).await
    }

    async fn pending_signals(&self, session: SessionId) -> Result<Option<Vec<(RunId, Signal)>>> {
        self.query(move |conn| inbox::pending_of_session(conn, session)).await
    }

    async fn read(&self, run: RunId, from: ReadFrom) -> Result<Page> {
        self.query(move |conn| query::page(conn, run, from)).await
    }

    async fn run(&self, run: RunId) -> Result<Run> {
        self.query(move |conn| query::run(conn, run)).await
    }

    async fn take(&self, take: Take) -> Result<(Run, Vec<Signal>)> {
        self.write(move |tx| claim::take(tx, take)).await
    }

    async fn find(&self, caller: String, request_id: String) -> Result<Run> {
        let after = self.clock.now().before(self.settings.request_ids);
        self.query(move |conn| open::find(conn, &caller, &request_id, after)).await
    }

    async fn approval(&self, run: RunId, id: String) -> Result<Approval> {
        let now = self.clock.now();
        self.query(move |conn| approvals::get(conn, run, &id, now)).await
    }

    async fn approvals(&self, filter: ApprovalFilter) -> Result<Vec<Approval>> {
        let now = self.clock.now();
        self.query(move |conn| approvals::list(conn, &filter, now)).await
    }

    async fn decide(&self, run: RunId, id: String, decision: Decision) -> Result<Approval> {
        self.write(move |tx| approvals::decide(tx, run, &id, &decision)).await
    }

    async fn list(&self, filter: RunFilter) -> Result<Vec<Run>> {
        self.query(move |conn| query::list(conn, &filter)).await
    }

    async fn delete(&self, run: RunId) -> Result<()> {
        self.write(move |tx| retention::delete(tx, run)).await
    }

    async fn write_summaries(&self, runs: Vec<Summary>) -> Result<usize> {
        self.write(move |tx| open::write_summaries(tx, &runs)).await
    }

    async fn reap(&self) -> Result<Reaped> {
        self.write(claim::reap).await
    }

    async fn next_wake(&self) -> Result<Option<Duration>> {
        let team_running = self.settings.team_running;
        let next = self.query(move |conn| claim::next_wake(conn, team_running)).await?;
        Ok(next.map(|at| self.clock.now().until(at)))
    }

    async fn expire(&self) -> Result<usize> {
        self.write(retention::expire).await
    }

    async fn purge(&self) -> Result<Purge> {
        self.write(retention::purge).await
    }

    async fn purged(&self, runs: Vec<i64>) -> Result<()> {
        self.write(move |tx| retention::purged(tx, &runs)).await
    }

    async fn existing(&self, runs: Vec<RunId>) -> Result<Vec<RunId>> {
        self.query(move |conn| retention::existing(conn, &runs)).await
    }

    async fn unshipped(&self, limit: usize) -> Result<Vec<Unshipped>> {
        self.query(move |conn| outbox::waiting(conn, limit)).await
    }

    async fn shipped(&self, ids: Vec<i64>) -> Result<()> {
        self.write_decided(move |tx| outbox::remove(tx.conn, &ids)).await
    }

    fn poll_interval(&self) -> Option<Duration> {
        // The file is locked by this process: nobody else writes to it.
        None
    }
}

#[cfg(test)]
mod tests;
