//! Log lines: appended, kept per team for a bounded time and up to a bounded number, listed newest first, followed
//! oldest first.

mod filter;
mod rates;
mod service;
#[cfg(test)]
mod service_tests;
mod sinks;
mod table;
mod tail;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use sre_store::StoreError;
use sre_store::sql::Database;
use tokio::sync::watch;

pub use filter::Filter;
pub use service::LogService;
pub(crate) use service::rescue;
pub use sinks::Sinks;
pub use table::Entry;

use crate::clock::Millis;

/// Rows that go in one transaction.
const SWEEP_BATCH: u32 = 1000;
/// Rows that one read looks at: a filter that lets few pass gives a short page, not a long wait.
const WINDOW: u32 = 20_000;

/// The lines of all teams.
#[derive(Debug, Clone)]
pub struct Entries {
    store: Database,
}

/// Whose lines are read, and which.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// The team.
    pub team: String,
    /// The agent.
    pub agent: String,
    /// Which lines.
    pub filter: Filter,
}

/// Some lines with their places.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// The lines.
    pub entries: Vec<(i64, Entry)>,
    /// The place that was looked at last; none where there is nothing further.
    pub looked_to: Option<i64>,
}

impl Entries {
    /// Lines in a store.
    pub fn new(store: Database) -> Self {
        Self { store }
    }

    /// Appends lines, and lets go of the oldest ones of teams that have more than they may: the bound holds at
    /// every moment, not only after a sweep. A team that `most` does not name is bounded by others' calls.
    pub async fn append(
        &self,
        entries: Vec<Entry>,
        most: HashMap<String, i64>,
        now: Millis,
    ) -> Result<(), StoreError> {
        self.store
            .write(move |tx| {
                for (team, added) in table::insert(tx, &entries, now)? {
                    table::count(tx, &team, added)?;
                    let Some(most) = most.get(&team) else { continue };
                    let excess = table::lines(tx, &team)? - most;
                    if excess > 0 {
                        let gone = table::remove_oldest(tx, &team, excess)?;
                        table::count(tx, &team, -gone)?;
                    }
                }
                Ok(())
            })
            .await
    }

    /// Some lines, newest first, before the place `before`.
    pub async fn list(&self, selection: &Selection, before: i64, limit: u32) -> Result<Found, StoreError> {
        let selection = selection.clone();
        self.store.read(move |conn| table::before(conn, &selection, before, limit, WINDOW)).await
    }

    /// Some lines, oldest first, after the place `after`.
    pub async fn follow(&self, selection: &Selection, after: i64, limit: u32) -> Result<Found, StoreError> {
        let selection = selection.clone();
        self.store.read(move |conn| table::after(conn, &selection, after, limit, WINDOW)).await
    }

    /// The place of the newest line of all.
    pub async fn end(&self) -> Result<i64, StoreError> {
        self.store.read(table::end).await
    }

    /// Changes with each write here.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.store.watch()
    }

    /// Teams that have lines.
    pub async fn teams(&self) -> Result<Vec<String>, StoreError> {
        self.store.read(table::teams).await
    }

    /// Removes lines of a team that were stored before `oldest`; gives how many.
    pub async fn sweep(&self, team: &str, oldest: Millis) -> Result<i64, StoreError> {
        let mut total = 0;
        loop {
            let team = team.to_owned();
            let gone = self
                .store
                .write(move |tx| {
                    let gone = table::remove_older(tx, &team, oldest, SWEEP_BATCH)?;
                    table::count(tx, &team, -gone)?;
                    Ok(gone)
                })
                .await?;
            total += gone;
            if gone < i64::from(SWEEP_BATCH) {
                return Ok(total);
            }
        }
    }
}
