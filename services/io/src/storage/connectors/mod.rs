//! Where bytes lie. A backend stores immutable objects under keys that this service makes; it knows no names,
//! no access lists and no Candidates, and nothing a caller wrote ever becomes a part of a path.

#[cfg(feature = "azure")]
mod azure;
#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
mod client;
#[cfg(test)]
pub(crate) mod contract;
#[cfg(test)]
#[cfg(feature = "gcs")]
mod fakes;
#[cfg(feature = "gcs")]
mod gcs;
mod grpc;
#[cfg(test)]
mod grpc_tests;
mod local;
#[cfg(test)]
mod local_tests;
mod registry;
#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
mod remote;
#[cfg(test)]
#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
mod remote_tests;
#[cfg(feature = "s3")]
mod s3;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use sre_service::connectors::Connector;

pub use local::LocalObjects;
pub use registry::STORAGE;

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
    /// The backend cannot be reached, or does not answer in time: try again later.
    #[error("the storage backend {instance} does not answer: {message}")]
    Unavailable {
        /// Which instance.
        instance: String,
        /// What happened.
        message: String,
    },
    /// The backend has no room, or takes no more now.
    #[error("the storage backend {instance} has no room: {message}")]
    Full {
        /// Which instance.
        instance: String,
        /// What it said.
        message: String,
    },
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

/// A backend of objects.
///
/// Objects are written once and never changed. A write becomes visible only by `finish`, and is then durable;
/// dropping the writer before leaves nothing that `open` finds. Order: none between keys. Limits: whatever the
/// backend's medium has; callers cap sizes. Memory: a few parts of each object that is written, a chunk of each
/// that is read, whatever their sizes. Each call ends by itself, at the latest when its tries are used up.
///
/// A backend is right when it passes `contract::every_case`.
#[async_trait]
pub trait ObjectStore: Connector {
    /// Begins an object. The key must be fresh.
    async fn create(&self, key: &ObjectKey) -> Result<Box<dyn ObjectWriter>, ObjectError>;

    /// Opens some bytes of an object. The range begins within it; one that goes beyond its end gives what there
    /// is.
    async fn open(&self, key: &ObjectKey, range: ByteRange) -> Result<Box<dyn ObjectReader>, ObjectError>;

    /// Removes an object and what an unfinished write of it left; `unfinished` is what its writer told by
    /// [`ObjectWriter::unfinished`]. Idempotent: an absent one is no error.
    async fn remove(&self, key: &ObjectKey, unfinished: Option<&str>) -> Result<(), ObjectError>;
}

/// An object being written.
#[async_trait]
pub trait ObjectWriter: Send {
    /// Appends bytes.
    async fn write(&mut self, data: Bytes) -> Result<(), ObjectError>;

    /// What the backend calls this write, where it keeps parts of it that only this name removes. It is noted
    /// before anything else is written, so that a crash leaves nothing that nobody can remove.
    fn unfinished(&self) -> Option<&str> {
        None
    }

    /// Makes the object visible and durable.
    async fn finish(self: Box<Self>) -> Result<(), ObjectError>;
}

/// An object being read.
#[async_trait]
pub trait ObjectReader: Send {
    /// The next bytes, at most [`CHUNK_BYTES`]; none at the end of the range.
    async fn next(&mut self) -> Result<Option<Bytes>, ObjectError>;
}
