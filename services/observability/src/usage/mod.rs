//! The ledger: events that count once, and their sums by hour and by run.

mod service;
#[cfg(test)]
mod service_tests;
mod sums;
mod table;
#[cfg(test)]
mod tests;

use std::time::Duration;

use prost::Message as _;
use sre_proto::observability::v1::UsageEvent;
use sre_store::StoreError;
use sre_store::sql::Database;

pub use service::UsageService;
pub use sums::Sums;
pub use table::{By, Query, Total};

use table::Added;

use crate::clock::Millis;

/// Events stay so long: longer than a run may take, so that a late repeat is still known.
const EVENTS: Duration = Duration::from_secs(35 * 24 * 3600);
/// Sums stay so long.
const SUMS: Duration = Duration::from_secs(400 * 24 * 3600);
/// Rows that go in one transaction.
const SWEEP_BATCH: u32 = 1000;
/// One hour.
pub(crate) const HOUR_MS: Millis = 3_600_000;

/// The ledger of all teams. Clones share it.
#[derive(Debug, Clone)]
pub struct Ledger {
    store: Database,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recorded {
    /// New events.
    pub new: i32,
    /// Events that the ledger knew.
    pub known: i32,
}

impl Ledger {
    /// The ledger in a store.
    pub fn new(store: Database) -> Self {
        Self { store }
    }

    /// Records events, each once: one whose team and id are known changes nothing. Durable when it answers.
    pub async fn record(&self, events: Vec<UsageEvent>, now: Millis) -> Result<Recorded, StoreError> {
        self.store
            .write_decided(move |tx| {
                let (mut recorded, mut added) = (Recorded::default(), Added::default());
                for event in &events {
                    if table::insert(tx, event, now)? {
                        recorded.new += 1;
                        added.add(event, now);
                    } else {
                        recorded.known += 1;
                    }
                }
                table::add(tx, &added)?;
                Ok(recorded)
            })
            .await
    }

    /// Sums, the most expensive first.
    pub async fn query(&self, query: &Query) -> Result<Vec<(String, Sums)>, StoreError> {
        let query = query.clone();
        self.store.read(move |conn| table::query(conn, &query)).await
    }

    /// The events of a run in the order in which they came, so many at most.
    pub async fn of_run(&self, team: &str, run: &str, most: u32) -> Result<Vec<UsageEvent>, StoreError> {
        let (team, run) = (team.to_owned(), run.to_owned());
        let rows = self.store.read(move |conn| table::of_run(conn, &team, &run, most)).await?;
        // What was encoded here decodes here.
        Ok(rows.iter().map(|row| UsageEvent::decode(row.as_slice()).unwrap_or_default()).collect())
    }

    /// The sums of a run, with what models used in runs that were started from it.
    pub async fn sums_of_run(&self, team: &str, run: &str) -> Result<Sums, StoreError> {
        let (team, run) = (team.to_owned(), run.to_owned());
        self.store.read(move |conn| table::sums_of_run(conn, &team, &run)).await
    }

    /// One sum of all that fits.
    pub async fn total(&self, total: Total) -> Result<Sums, StoreError> {
        self.store.read(move |conn| table::total(conn, &total)).await
    }

    /// Removes what is too old; gives how many events.
    pub async fn sweep(&self, now: Millis) -> Result<usize, StoreError> {
        let before =
            |age: Duration| now.saturating_sub(Millis::try_from(age.as_millis()).unwrap_or(Millis::MAX));
        let (events, sums) = (before(EVENTS), before(SUMS) / HOUR_MS);
        let mut total = 0;
        loop {
            let gone = self
                .store
                .write(move |tx| {
                    let gone = table::remove_events(tx, events, SWEEP_BATCH)?;
                    Ok((gone, table::remove_sums(tx, events / HOUR_MS, sums, SWEEP_BATCH)?))
                })
                .await?;
            total += gone.0;
            if gone.0 < SWEEP_BATCH as usize && gone.1 < SWEEP_BATCH as usize {
                return Ok(total);
            }
        }
    }
}
