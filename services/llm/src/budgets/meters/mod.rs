//! What was counted, and where the counts are.

use std::sync::Arc;

use async_trait::async_trait;
use sre_service::Role;
use sre_service::connectors::{Backends, Connector, Kind, Registry};

#[cfg(test)]
pub(crate) mod contract;
mod memory;
mod redis;

pub use memory::Memory;
pub use redis::RedisMeters;

/// Milliseconds since 1970.
pub type Millis = i64;

/// How a meter counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counting {
    /// Up to a moment at which it ends. Where a later reservation says a later one, that counts.
    Window {
        /// The moment.
        ends: Millis,
        /// Whether it must be begun with what was used before: see [`Meters::seed`].
        seeded: bool,
    },
    /// What is under way. A place whose holder is not heard of is free after so long.
    Places {
        /// So long, in milliseconds.
        lease: Millis,
    },
}

/// One meter, and what is to be reserved of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The meter.
    pub key: String,
    /// Not beyond this; none where it is only counted.
    pub limit: Option<i64>,
    /// How much; of places always one.
    pub amount: i64,
    /// How it counts.
    pub counting: Counting,
}

/// What became of a reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// All of it is reserved. An epoch for each line: a meter that was lost and begun again has another.
    Granted(Vec<String>),
    /// Nothing is reserved, since this line has no room.
    Refused {
        /// Its place in the list.
        line: usize,
        /// What is used of it.
        used: i64,
    },
    /// Nothing is reserved, since nobody knows what was used of these lines before.
    Unseeded(Vec<usize>),
}

/// What was reserved of a meter, and what takes its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// The meter.
    pub key: String,
    /// The epoch in which it was reserved.
    pub epoch: String,
    /// What was reserved.
    pub reserved: i64,
    /// What was used.
    pub actual: i64,
    /// Whether it is a meter of places.
    pub places: bool,
}

/// Counts. A backend knows neither budgets nor teams: it is given keys, limits and amounts.
///
/// - All keys of one call have the same scope, and a call is one atomic step, also where several processes share the
///   backend.
/// - What is reserved counts as used until it is settled. Whoever reserved and does not settle has used it, up to the
///   end of the window; a place is free when its lease ends.
/// - A backend may forget everything. A seeded meter that is not there grants nothing until it is seeded.
#[async_trait]
pub trait Meters: Connector {
    /// Reserves all lines for a holder, or none.
    async fn reserve(&self, scope: &str, holder: &str, lines: &[Line]) -> Result<Verdict, MeterError>;

    /// Puts what was used in place of what was reserved. A meter of another epoch has lost the reservation, so what
    /// was used is added to it; one that is gone stays so. Not to be repeated.
    async fn settle(&self, scope: &str, holder: &str, lines: &[Settled]) -> Result<(), MeterError>;

    /// Begins a meter with what was used before, if it is not there. Repeating it changes nothing.
    async fn seed(&self, scope: &str, key: &str, used: i64, ends: Millis) -> Result<(), MeterError>;

    /// Keeps a holder's places for another lease.
    async fn renew(
        &self,
        scope: &str,
        holder: &str,
        keys: &[String],
        lease: Millis,
    ) -> Result<(), MeterError>;

    /// What is used of a meter; none where it is not there.
    async fn used(&self, scope: &str, key: &str, places: bool) -> Result<Option<i64>, MeterError>;
}

/// Why nothing can be counted.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MeterError {
    /// The backend does not answer.
    #[error("{0}")]
    Unavailable(String),
    /// There are more meters than this process keeps.
    #[error("more budgets are in use than this process counts: use Redis for budgets")]
    Full,
}

/// The kinds of backends there are.
pub static REGISTRY: Registry<dyn Meters> = Registry {
    role: Role::Llm,
    service: "budgets",
    kinds: &[
        Kind { name: "memory", open: |it| Box::pin(memory::open(it)), check: memory::check },
        Kind { name: "redis", open: |it| Box::pin(redis::open(it)), check: redis::check },
    ],
    built_in: "memory",
};

/// For the command that checks connectors without a suite.
pub fn backends() -> Vec<&'static dyn Backends> {
    vec![&REGISTRY]
}

/// The meters of a host.
pub async fn open(host: &sre_service::Host) -> anyhow::Result<Arc<dyn Meters>> {
    let instances = REGISTRY.open(host).await?;
    Ok(Arc::clone(&instances.default()))
}
