//! Entries as the reference wrote them, under two keys: `smyth:cache:<key>` with the value and
//! `smyth:metadata:<key>` with a JSON object that holds the access list as the text `acl`. They are read, never
//! written: a set makes an entry of ours in their place.

use std::sync::Arc;

use bytes::Bytes;
use sre_redis::{Effect, Redis, cmd};

use crate::cache::clock::Millis;
use crate::cache::error::CacheError;
use crate::cache::name::EntryName;
use crate::cache::record::{Guard, Head, Notes, Record};

/// What an operator says of them.
#[derive(Debug, Clone, serde::Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub(crate) struct Settings {
    /// The team whose entries they are: the reference had one space of keys for all, so somebody must say. Its key
    /// `k` is read as `teams/<team>/cache/k`.
    pub(crate) team: String,
    /// What the keys of values begin with.
    pub(crate) values: String,
    /// What the keys of their metadata begin with.
    pub(crate) metadata: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self { team: String::new(), values: "smyth:cache".to_owned(), metadata: "smyth:metadata".to_owned() }
    }
}

impl Settings {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            sre_identity::candidate::is_valid_id(&self.team),
            "legacy.team must name the team whose entries they are"
        );
        Ok(())
    }
}

/// Reads them.
#[derive(Debug, Clone)]
pub(super) struct Legacy {
    scope: String,
    settings: Settings,
}

/// Whether an access list is the reference's.
pub(super) fn is_legacy(guard: &Guard) -> bool {
    guard.is_legacy()
}

impl Legacy {
    pub(super) fn new(settings: Settings) -> Self {
        Self { scope: format!("teams/{}", settings.team), settings }
    }

    /// The two keys of an entry that can be one of them.
    fn keys(&self, name: &EntryName) -> Option<[String; 2]> {
        let is_theirs = name.scope() == self.scope;
        is_theirs.then(|| {
            [&self.settings.values, &self.settings.metadata].map(|prefix| format!("{prefix}:{}", name.key()))
        })
    }

    pub(super) async fn look(
        &self,
        redis: &Redis,
        name: &EntryName,
        now: Millis,
    ) -> Result<Option<Arc<Record>>, CacheError> {
        let Some([value, metadata]) = self.keys(name) else { return Ok(None) };
        // Each by itself: in a cluster they may be on two nodes.
        let found: Option<Vec<u8>> = redis.query(cmd("GET").arg(&value), Effect::Read).await?;
        let Some(found) = found else { return Ok(None) };
        let metadata: Option<String> = redis.query(cmd("GET").arg(&metadata), Effect::Read).await?;
        let left: i64 = redis.query(cmd("PTTL").arg(&value), Effect::Read).await?;
        let Some((list, notes)) = metadata.as_deref().and_then(read_metadata) else {
            // No list, no access (the reference gave it to whoever came first).
            return Ok(None);
        };
        let value = Bytes::from(found);
        let etag = u128::from_be_bytes(first_half(&blake3::hash(&value)));
        let head = Head {
            etag,
            expires_ms: (left >= 0).then(|| now.saturating_add(left)),
            size_bytes: value.len() as u64,
            notes: Arc::new(notes),
            guard: Guard::from_legacy_text(&list),
        };
        Ok(Some(Arc::new(Record { head, value })))
    }

    pub(super) async fn remove(&self, redis: &Redis, name: &EntryName) -> Result<(), CacheError> {
        for key in self.keys(name).into_iter().flatten() {
            let _: i64 = redis.query(cmd("UNLINK").arg(key), Effect::Write).await?;
        }
        Ok(())
    }
}

/// The list's text, and the other texts as notes.
fn read_metadata(json: &str) -> Option<(String, Notes)> {
    let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(json).ok()?;
    let list = fields.get("acl")?.as_str()?.to_owned();
    let notes = fields.iter().filter(|(name, _)| *name != "acl");
    let notes = notes.filter_map(|(name, note)| Some((name.clone(), note.as_str()?.to_owned())));
    Some((list, notes.collect()))
}

fn first_half(digest: &blake3::Hash) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&digest.as_bytes()[..16]);
    half
}
