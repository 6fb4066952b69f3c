//! The ledger: events that count once, and their sums by hour and by run.

mod held;
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
use sre_service::usage::counted;
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
/// Rows of a run that are read at once: one may hold many events.
const ROWS_READ: u32 = 200;
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
                    let counted = i32::try_from(counted(event)).unwrap_or(i32::MAX);
                    if table::insert(tx, event, now)? {
                        recorded.new += counted;
                        added.add(event, now);
                    } else {
                        recorded.known += counted;
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
    pub async fn of_run(&self, team: &str, run: &str, most: usize) -> Result<Vec<UsageEvent>, StoreError> {
        let mut events = Vec::new();
        let mut after = 0;
        loop {
            let (team, run) = (team.to_owned(), run.to_owned());
            let rows =
                self.store.read(move |conn| table::of_run(conn, &team, &run, after, ROWS_READ)).await?;
            let is_last = rows.len() < ROWS_READ as usize;
            for (place, row) in rows {
                after = place;
                // What was encoded here decodes here.
                events.extend(held::each(UsageEvent::decode(row.as_slice()).unwrap_or_default()));
            }
            if is_last || events.len() >= most {
                events.truncate(most);
                return Ok(events);
            }
        }
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
