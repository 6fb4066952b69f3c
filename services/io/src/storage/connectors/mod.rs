//! Where bytes lie. A backend stores immutable objects under keys that this service makes; it knows no names,
//! no access lists and no Candidates, and nothing a caller wrote ever becomes a part of a path.

mod local;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use sre_service::config::ConnectorEntry;

pub use local::LocalObjects;

/// The largest chunk a reader gives, and what it holds in memory.
pub const CHUNK_BYTES: usize = 64 * 1024;

/// The key of an object: 32 hex digits, made here, spread evenly and never used twice.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ObjectKey(String);

impl ObjectKey {
    /// A fresh key.
    pub fn generate() -> Self {
        // UUIDv7 alone begins with the time, which would put all objects of a day into one folder.
        let digest = blake3::hash(sre_proto::ids::new_uuid().as_bytes());
        Self(digest.to_hex()[..32].to_owned())
    }

    /// Reads a stored key; none for anything that this service did not make.
    pub fn parse(text: &str) -> Option<Self> {
        let valid =
            text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        valid.then(|| Self(text.to_owned()))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which bytes of an object are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteRange {
    /// Start here.
    pub offset_bytes: u64,
    /// So many.
    pub length_bytes: u64,
}

/// What can go wrong in a backend.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ObjectError {
    /// There is no such object.
    #[error("object {0} is not there")]
    NotFound(String),
    /// The backend failed.
    #[error("object {key}: {source}")]
    Io {
        /// The object.
        key: String,
        /// The cause.
        #[source]
        source: Arc<std::io::Error>,
    },
}

/// The registry: opens the backend that the configuration names, the local folder where it names none.
pub fn open(entry: Option<&ConnectorEntry>, data_dir: &Path) -> anyhow::Result<Arc<dyn ObjectStore>> {
    match entry.map_or("local", ConnectorEntry::canonical) {
        "local" => {
            let folder =
                entry.and_then(|entry| entry.settings.get("folder")).and_then(|folder| folder.as_str());
            let folder = folder.map_or_else(|| data_dir.join("objects"), PathBuf::from);
            let objects = LocalObjects::open(&folder)
                .map_err(|error| anyhow::anyhow!("storage folder {}: {error}", folder.display()))?;
            Ok(Arc::new(objects))
        }
        other => anyhow::bail!("storage connector {other} is not built: use local"),
    }
}

/// A backend of objects.
///
/// Objects are written once and never changed. A write becomes visible only by `finish`, and is then durable;
/// dropping the writer before leaves nothing that `open` finds. Order: none between keys. Limits: whatever the
/// backend's medium has; callers cap sizes.
#[async_trait]
pub trait ObjectStore: Send + Sync {
    /// Begins an object. The key must be fresh.
    async fn create(&self, key: &ObjectKey) -> Result<Box<dyn ObjectWriter>, ObjectError>;

    /// Opens some bytes of an object. A range beyond its end gives what there is.
    async fn open(&self, key: &ObjectKey, range: ByteRange) -> Result<Box<dyn ObjectReader>, ObjectError>;

    /// Removes an object and what an unfinished write of it left. Idempotent: an absent one is no error.
    async fn remove(&self, key: &ObjectKey) -> Result<(), ObjectError>;
}

/// An object being written.
#[async_trait]
pub trait ObjectWriter: Send {
    /// Appends bytes.
    async fn write(&mut self, data: Bytes) -> Result<(), ObjectError>;

    /// Makes the object visible and durable.
    async fn finish(self: Box<Self>) -> Result<(), ObjectError>;
}

/// An object being read.
#[async_trait]
pub trait ObjectReader: Send {
    /// The next bytes, at most [`CHUNK_BYTES`]; none at the end of the range.
    async fn next(&mut self) -> Result<Option<Bytes>, ObjectError>;
}
