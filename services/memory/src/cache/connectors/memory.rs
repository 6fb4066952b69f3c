//! Entries in the memory of this process, bounded by bytes. What was used longest ago goes first.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use moka::Expiry;
use moka::ops::compute::{CompResult, Op};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use sre_service::connectors::{Connector, Opening, Unhealthy};

use super::CacheStore;
use crate::cache::clock::{Clock, Millis};
use crate::cache::connectors::counts;
use crate::cache::error::CacheError;
use crate::cache::name::EntryName;
use crate::cache::record::{Change, Outcome, Record, Seen, Step, apply};
use crate::usage::Usage;

/// What an entry costs besides name, value, list and notes, roughly.
const ENTRY_OVERHEAD_BYTES: usize = 320;

/// What an operator may say.
#[derive(Debug, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(default)]
struct Settings {
    /// What all entries together may take, in bytes; `cache.max_bytes` where absent.
    max_bytes: Option<u64>,
}

/// Checks the settings.
pub(super) fn check(opening: &Opening) -> anyhow::Result<()> {
    opening.check::<Settings>()
}

/// Opens an instance.
pub(super) async fn open(opening: Opening) -> anyhow::Result<Arc<dyn CacheStore>> {
    let settings: Settings = opening.settings()?;
    let max_bytes = settings.max_bytes.unwrap_or(opening.config().cache.max_bytes);
    Ok(Arc::new(Memory::new(max_bytes, Clock::steady())))
}

/// Entries in memory. Clones share them.
#[derive(Clone, Debug)]
pub struct Memory {
    entries: Cache<Arc<str>, Arc<Record>>,
    clock: Clock,
    usage: Usage,
}

impl Memory {
    /// An empty cache that takes this many bytes at most.
    pub fn new(max_bytes: u64, clock: Clock) -> Self {
        let usage = Usage::default();
        let counted = usage.clone();
        let entries = Cache::builder()
            .weigher(|name: &Arc<str>, record: &Arc<Record>| weight(name, record))
            .max_capacity(max_bytes)
            // A new entry always finds its place, whatever was popular before.
            .eviction_policy(EvictionPolicy::lru())
            .expire_after(AtItsEnd(clock.clone()))
            .eviction_listener(move |name: Arc<Arc<str>>, record: Arc<Record>, _| {
                counted.gone(&name, counts(&name, record.head.size_bytes));
            })
            .build();
        Self { entries, clock, usage }
    }

    #[cfg(test)]
    pub(crate) fn weighted_size(&self) -> u64 {
        self.entries.run_pending_tasks();
        self.entries.weighted_size()
    }
}

#[async_trait]
impl Connector for Memory {
    async fn check(&self) -> Result<(), Unhealthy> {
        Ok(())
    }
}

#[async_trait]
impl CacheStore for Memory {
    fn now(&self) -> Millis {
        self.clock.now()
    }

    fn usage(&self) -> Option<&Usage> {
        Some(&self.usage)
    }

    async fn look(&self, name: &EntryName) -> Result<Option<Arc<Record>>, CacheError> {
        let now = self.clock.now();
        Ok(self.entries.get(name.as_str()).filter(|record| record.head.is_live(now)))
    }

    async fn update(&self, name: &EntryName, seen: &Seen, change: Change) -> Result<Outcome, CacheError> {
        let mut outcome = Outcome::Moved;
        let now = self.clock.now();
        // One atomic step on the name: nobody else acts on it meanwhile.
        let result: CompResult<Arc<str>, Arc<Record>> =
            self.entries.entry(Arc::from(name.as_str())).and_compute_with(|current| {
                let current = current.map(moka::Entry::into_value).filter(|record| record.head.is_live(now));
                let (step, told) = apply(current.as_deref(), seen, change);
                outcome = told;
                match step {
                    Step::Keep => Op::Nop,
                    Step::Put(record) => {
                        self.usage.put(name.as_str(), counts(name.as_str(), record.head.size_bytes));
                        Op::Put(Arc::new(record))
                    }
                    Step::Remove => Op::Remove,
                }
            });
        drop(result);
        Ok(outcome)
    }
}

/// Frees the memory of what is over. Reads do not rely on it: they look at the clock themselves.
struct AtItsEnd(Clock);

impl AtItsEnd {
    fn after(&self, record: &Record) -> Option<Duration> {
        let expires = record.head.expires_ms?;
        Some(Duration::from_millis(u64::try_from(expires.saturating_sub(self.0.now())).unwrap_or(0)))
    }
}

impl Expiry<Arc<str>, Arc<Record>> for AtItsEnd {
    fn expire_after_create(
        &self,
        _: &Arc<str>,
        record: &Arc<Record>,
        _: std::time::Instant,
    ) -> Option<Duration> {
        self.after(record)
    }

    fn expire_after_update(
        &self,
        _: &Arc<str>,
        record: &Arc<Record>,
        _: std::time::Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        self.after(record)
    }
}

fn weight(name: &str, record: &Record) -> u32 {
    let notes: usize = record.head.notes.iter().map(|(name, note)| name.len() + note.len() + 64).sum();
    // The list is kept as text and as entries.
    let list = 4 * record.head.guard.text().len();
    let bytes = 2 * name.len() + record.value.len() + list + notes + ENTRY_OVERHEAD_BYTES;
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
