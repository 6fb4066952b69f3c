//! Backends of the cache.

use std::sync::Arc;

use async_trait::async_trait;
use sre_service::Role;
use sre_service::connectors::{Connector, Kind, Registry};

use super::clock::Millis;
use super::error::CacheError;
use super::name::EntryName;
use super::record::{Change, Head, Outcome, Record, Seen};
use crate::usage::Usage;

mod codec;
#[cfg(test)]
mod contract;
mod grpc;
mod local;
mod memory;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "s3")]
mod s3;
#[cfg(test)]
mod tests;

pub use local::LocalEntries;
pub use memory::Memory;

/// Where entries are. A backend knows neither access lists nor Candidates: a list is a text that it keeps.
///
/// - An entry is one record. What is past its end is not there, to the millisecond, whether or not its bytes were
///   removed already.
/// - [`CacheStore::update`] is one atomic step by [`super::record::apply`]: of changes that come together each
///   sees what the one before made. A change that fails with [`CacheError::Uncertain`] may have been made.
/// - Nothing is ordered across entries, and any entry may be gone at any time: it is a cache.
/// - Values are as long as the service allows, 8 MiB unless configured; keys have 1024 characters at most.
#[async_trait]
pub trait CacheStore: Connector {
    /// The time by which this backend tells ends.
    fn now(&self) -> Millis;

    /// What each team has here, where the backend can tell.
    fn usage(&self) -> Option<&Usage> {
        None
    }

    /// An entry that is live.
    async fn look(&self, name: &EntryName) -> Result<Option<Arc<Record>>, CacheError>;

    /// The same without its value, where that costs less.
    async fn head(&self, name: &EntryName) -> Result<Option<Head>, CacheError> {
        Ok(self.look(name).await?.map(|record| record.head.clone()))
    }

    /// Changes an entry, if its list is still the one that was `seen`.
    async fn update(&self, name: &EntryName, seen: &Seen, change: Change) -> Result<Outcome, CacheError>;

    /// Removes some of what nobody can see any more. Called once a minute.
    async fn sweep(&self) -> Result<(), CacheError> {
        Ok(())
    }
}

/// What an entry costs in its team's books besides name and value.
const COUNTED_OVERHEAD_BYTES: u64 = 256;

/// What an entry counts for in its team's books.
pub(crate) fn counts(name: &str, size_bytes: u64) -> u32 {
    u32::try_from(name.len() as u64 + size_bytes + COUNTED_OVERHEAD_BYTES).unwrap_or(u32::MAX)
}

/// The kinds of backends there are.
pub static REGISTRY: Registry<dyn CacheStore> = Registry {
    role: Role::Memory,
    service: "cache",
    kinds: &[
        Kind { name: "memory", open: |it| Box::pin(memory::open(it)), check: memory::check },
        Kind { name: "local", open: |it| Box::pin(local::open(it)), check: local::check },
        #[cfg(feature = "redis")]
        Kind { name: "redis", open: |it| Box::pin(redis::open(it)), check: redis::check },
        #[cfg(not(feature = "redis"))]
        sre_service::connector_compiled_out!("redis", "sre-memory/redis"),
        #[cfg(feature = "s3")]
        Kind { name: "s3", open: |it| Box::pin(s3::open(it)), check: s3::check },
        #[cfg(not(feature = "s3"))]
        sre_service::connector_compiled_out!("s3", "sre-memory/s3"),
        Kind {
            name: "grpc",
            open: |it| Box::pin(grpc::open(it)),
            check: sre_service::connectors::grpc::check,
        },
    ],
    built_in: "memory",
};
