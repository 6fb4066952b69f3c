//! The cache: values that may be lost, each one record with its access list and its end.
//!
//! `service.rs` speaks gRPC and decides access; this file holds the entries in memory, bounded by bytes. A
//! caller looks at an entry, has its list checked, and then acts on exactly that entry: where the list was
//! changed in between, the act answers [`Moved`] and the check is made again.

mod service;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use moka::Expiry;
use moka::ops::compute::{CompResult, Op};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use sre_identity::Acl;
use tokio::time::Instant;

pub use service::CacheService;

/// What an entry costs besides its name and value, roughly.
const ENTRY_OVERHEAD_BYTES: usize = 256;
/// What an entry of an access list costs, roughly.
const ACL_ENTRY_BYTES: usize = 96;

/// Limits of the cache.
#[derive(Debug, Clone)]
pub struct CacheSettings {
    /// What all entries together may take.
    pub max_bytes: u64,
    /// The largest value.
    pub max_value_bytes: u64,
    /// How long an entry lives unless its writer says.
    pub default_ttl: Duration,
    /// The longest that a writer may say.
    pub max_ttl: Duration,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            max_bytes: 64 << 20,
            max_value_bytes: 4 << 20,
            default_ttl: Duration::from_secs(3600),
            max_ttl: Duration::from_secs(30 * 24 * 3600),
        }
    }
}

/// Which access list a decision was made by. None: there was no entry, the name decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen(Option<u64>);

/// The access list is not the one that was decided by: decide again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moved;

/// An entry as it stands.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) value: Bytes,
    pub(crate) acl: Arc<Acl>,
    /// Version of the value.
    pub(crate) etag: u64,
    /// Version of the access list, unique among all entries that ever were.
    acl_version: u64,
    expires: Instant,
}

impl Entry {
    /// What is left of its life.
    pub(crate) fn time_to_live(&self) -> Duration {
        self.expires.saturating_duration_since(Instant::now())
    }

    fn is_live(&self) -> bool {
        self.expires > Instant::now()
    }
}

/// When a set applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    Always,
    IfAbsent,
    IfPresent,
    IfMatch(u64),
}

/// Why an increment was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotCounted {
    Moved,
    NoNumber,
    Overflow,
}

/// All entries. Clones share them.
#[derive(Clone)]
pub struct Entries {
    entries: Cache<Arc<str>, Arc<Entry>>,
    /// Versions of values and lists: never the same twice, over restarts too.
    versions: Arc<AtomicU64>,
    settings: Arc<CacheSettings>,
}

/// Frees the memory of what is over. Reads do not rely on it: they look at the clock themselves.
struct AtItsEnd;

impl Expiry<Arc<str>, Arc<Entry>> for AtItsEnd {
    fn expire_after_create(
        &self,
        _: &Arc<str>,
        entry: &Arc<Entry>,
        _: std::time::Instant,
    ) -> Option<Duration> {
        Some(entry.time_to_live())
    }

    fn expire_after_update(
        &self,
        _: &Arc<str>,
        entry: &Arc<Entry>,
        _: std::time::Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(entry.time_to_live())
    }
}

impl Entries {
    /// An empty cache.
    pub fn new(settings: CacheSettings) -> Self {
        let entries = Cache::builder()
            .weigher(|name: &Arc<str>, entry: &Arc<Entry>| weight(name, entry))
            .max_capacity(settings.max_bytes)
            // A new entry always finds its place, whatever was popular before.
            .eviction_policy(EvictionPolicy::lru())
            .expire_after(AtItsEnd)
            .build();
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let first = u64::try_from(since.as_nanos()).unwrap_or(1);
        Self { entries, versions: Arc::new(AtomicU64::new(first)), settings: Arc::new(settings) }
    }

    pub(crate) fn settings(&self) -> &CacheSettings {
        &self.settings
    }

    /// The entry as it stands, and what to decide by.
    pub(crate) fn look(&self, name: &str) -> (Option<Arc<Entry>>, Seen) {
        let entry = self.entries.get(name).filter(|entry| entry.is_live());
        let seen = Seen(entry.as_ref().map(|entry| entry.acl_version));
        (entry, seen)
    }

    /// Sets a value where the condition holds; gives its version, or none. `acl` is for a new entry.
    pub(crate) fn set(
        &self,
        name: &str,
        seen: Seen,
        value: Bytes,
        time_to_live: Duration,
        condition: Condition,
        acl: Acl,
    ) -> Result<Option<u64>, Moved> {
        self.change(name, seen, |current| {
            let holds = match condition {
                Condition::Always => true,
                Condition::IfAbsent => current.is_none(),
                Condition::IfPresent => current.is_some(),
                Condition::IfMatch(etag) => current.is_some_and(|entry| entry.etag == etag),
            };
            if !holds {
                return (Change::Nothing, None);
            }
            let etag = self.version();
            let entry = self.entry(current, value, Instant::now() + time_to_live, etag, acl);
            (Change::Put(entry), Some(etag))
        })
    }

    /// Deletes an entry; whether there was one.
    pub(crate) fn delete(&self, name: &str, seen: Seen) -> Result<bool, Moved> {
        self.change(name, seen, |current| (Change::Remove, current.is_some()))
    }

    /// Changes an entry's end; whether there is one.
    pub(crate) fn touch(&self, name: &str, seen: Seen, time_to_live: Duration) -> Result<bool, Moved> {
        self.change(name, seen, |current| match current {
            None => (Change::Nothing, false),
            Some(entry) => {
                let acl = Arc::clone(&entry.acl);
                let expires = Instant::now() + time_to_live;
                (Change::Put(Entry { value: entry.value.clone(), acl, expires, ..*entry }), true)
            }
        })
    }

    /// Adds to a whole number; a new one starts at 0 and lives for `time_to_live`, an old one keeps its end.
    pub(crate) fn increment(
        &self,
        name: &str,
        seen: Seen,
        delta: i64,
        time_to_live: Duration,
        acl: Acl,
    ) -> Result<i64, NotCounted> {
        let counted = self.change(name, seen, |current| {
            let before = match current {
                None => Some(0),
                Some(entry) => {
                    std::str::from_utf8(&entry.value).ok().and_then(|text| text.parse::<i64>().ok())
                }
            };
            let Some(before) = before else { return (Change::Nothing, Err(NotCounted::NoNumber)) };
            let Some(after) = before.checked_add(delta) else {
                return (Change::Nothing, Err(NotCounted::Overflow));
            };
            let expires = current.map_or_else(|| Instant::now() + time_to_live, |entry| entry.expires);
            let value = Bytes::from(after.to_string());
            (Change::Put(self.entry(current, value, expires, self.version(), acl)), Ok(after))
        });
        counted.unwrap_or(Err(NotCounted::Moved))
    }

    /// Replaces the access list; false where there is no entry.
    pub(crate) fn set_acl(&self, name: &str, seen: Seen, acl: Acl) -> Result<bool, Moved> {
        self.change(name, seen, |current| match current {
            None => (Change::Nothing, false),
            Some(entry) => {
                let acl_version = self.version();
                let value = entry.value.clone();
                (Change::Put(Entry { value, acl: Arc::new(acl), acl_version, ..*entry }), true)
            }
        })
    }

    /// A value under the list of the entry it replaces, or under a new one.
    fn entry(&self, current: Option<&Entry>, value: Bytes, expires: Instant, etag: u64, acl: Acl) -> Entry {
        let (acl, acl_version) = match current {
            Some(entry) => (Arc::clone(&entry.acl), entry.acl_version),
            None => (Arc::new(acl), self.version()),
        };
        Entry { value, acl, etag, acl_version, expires }
    }

    /// One atomic step on a name: nobody else acts on it meanwhile.
    fn change<T>(
        &self,
        name: &str,
        seen: Seen,
        act: impl FnOnce(Option<&Entry>) -> (Change, T),
    ) -> Result<T, Moved> {
        let mut outcome = Err(Moved);
        let result: CompResult<Arc<str>, Arc<Entry>> =
            self.entries.entry(Arc::from(name)).and_compute_with(|current| {
                let current = current.map(moka::Entry::into_value).filter(|entry| entry.is_live());
                if Seen(current.as_ref().map(|entry| entry.acl_version)) != seen {
                    return Op::Nop;
                }
                let (change, answer) = act(current.as_deref());
                outcome = Ok(answer);
                match change {
                    Change::Nothing => Op::Nop,
                    Change::Put(entry) => Op::Put(Arc::new(entry)),
                    Change::Remove => Op::Remove,
                }
            });
        drop(result);
        outcome
    }

    fn version(&self) -> u64 {
        self.versions.fetch_add(1, Ordering::Relaxed)
    }
}

enum Change {
    Nothing,
    Put(Entry),
    Remove,
}

fn weight(name: &str, entry: &Entry) -> u32 {
    let list = entry.acl.entries().count() * ACL_ENTRY_BYTES;
    u32::try_from(name.len() + entry.value.len() + list + ENTRY_OVERHEAD_BYTES).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
