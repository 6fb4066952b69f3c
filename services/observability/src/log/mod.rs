//! Log lines: appended, kept per team for a bounded time and up to a bounded number, listed newest first.

mod service;
#[cfg(test)]
mod service_tests;
mod table;
#[cfg(test)]
mod tests;

use std::time::Duration;

use sre_store::{Store, StoreError};

pub use service::LogService;
pub use table::Entry;

use crate::clock::Millis;

/// Rows that go in one transaction.
const SWEEP_BATCH: u32 = 1000;

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Lines of a team; the oldest go first.
    pub lines_per_team: i64,
    /// How long a line stays.
    pub retention: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { lines_per_team: 100_000, retention: Duration::from_secs(7 * 24 * 3600) }
    }
}

/// The lines of all teams.
#[derive(Debug, Clone)]
pub struct Entries {
    store: Store,
    bounds: Bounds,
}

/// Whose lines are listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// The team.
    pub team: String,
    /// The agent.
    pub agent: String,
    /// One run's lines only, where not empty.
    pub run: String,
}

impl Entries {
    /// Lines in a store.
    pub fn new(store: Store, bounds: Bounds) -> Self {
        Self { store, bounds }
    }

    /// Appends lines, and lets go of the oldest ones of teams that have too many: the bound holds at every
    /// moment, not only after a sweep.
    pub async fn append(&self, entries: Vec<Entry>, now: Millis) -> Result<(), StoreError> {
        let most = self.bounds.lines_per_team;
        self.store
            .write(move |tx| {
                for (team, added) in table::insert(tx, &entries, now)? {
                    table::count(tx, &team, added)?;
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

    /// Some lines, newest first, before the line `before`.
    pub async fn list(
        &self,
        selection: &Selection,
        before: i64,
        limit: u32,
    ) -> Result<Vec<(i64, Entry)>, StoreError> {
        let selection = selection.clone();
        self.store.read(move |conn| table::select(conn, &selection, before, limit)).await
    }

    /// Removes lines that are too old; gives how many.
    pub async fn sweep(&self, now: Millis) -> Result<i64, StoreError> {
        let retention = Millis::try_from(self.bounds.retention.as_millis()).unwrap_or(Millis::MAX);
        let oldest = now.saturating_sub(retention);
        let mut total = 0;
        loop {
            let gone = self
                .store
                .write(move |tx| {
                    let teams = table::remove_older(tx, oldest, SWEEP_BATCH)?;
                    for (team, gone) in &teams {
                        table::count(tx, team, -gone)?;
                    }
                    Ok(teams.values().sum::<i64>())
                })
                .await?;
            total += gone;
            if gone < i64::from(SWEEP_BATCH) {
                return Ok(total);
            }
        }
    }
}
