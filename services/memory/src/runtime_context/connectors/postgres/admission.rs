//! Slots: how many runs of a team and kind are LEASED, and when counting them needs a lock.
//!
//! Whoever adds LEASED runs counts the others in its own statement. Two that do so at the same time do not
//! see each other's, so near the limit they take turns, by a lock on (team, kind) that ends with their
//! transactions. Far from it the margin is more than all connections together can add at once.

use std::collections::{BTreeSet, HashMap};

use parking_lot::Mutex;
use sre_store::pg::PgClient;

use super::Result;
use super::rows::query;

/// Runs that transactions which do not see each other may add together.
const MARGIN: i64 = 512;
/// Teams and kinds whose counts are remembered.
const REMEMBERED: usize = 10_000;

/// A team and a kind of runs.
pub(super) type Slots = (String, i16);

/// What was last counted, so that those near their limit are locked at once.
#[derive(Debug, Default)]
pub(super) struct Admission {
    counted: Mutex<HashMap<Slots, i64>>,
}

impl Admission {
    /// Remembers a count.
    pub(super) fn counted(&self, slots: &Slots, used: i64) {
        let mut counted = self.counted.lock();
        if counted.len() >= REMEMBERED && !counted.contains_key(slots) {
            counted.clear();
        }
        counted.insert(slots.clone(), used);
    }

    /// Those of `slots` that were near their limit when they were last counted.
    pub(super) fn near<'a>(&self, slots: impl IntoIterator<Item = &'a Slots>, limit: u32) -> BTreeSet<Slots> {
        let counted = self.counted.lock();
        let near = |slots: &&Slots| is_near(counted.get(*slots).copied().unwrap_or(0), limit);
        slots.into_iter().filter(near).cloned().collect()
    }
}

/// Whether those who count at the same time could exceed the limit together.
pub(super) fn is_near(used: i64, limit: u32) -> bool {
    used + MARGIN >= i64::from(limit)
}

/// Takes turns with others that count these, until the end of the transaction. In order, so that two that
/// want the same never wait for each other.
pub(super) async fn lock(client: &PgClient, slots: &BTreeSet<Slots>) -> Result<()> {
    let text = "select pg_advisory_xact_lock(hashtextextended('sre-slots:' || current_schema() || ':' || $1::text, 0))";
    for (team, kind) in slots {
        query(client, text, &[&format!("{kind}:{team}")]).await?;
    }
    Ok(())
}
