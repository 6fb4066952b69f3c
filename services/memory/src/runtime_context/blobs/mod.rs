//! Payloads of runs: kept apart from the records that name them, durable before them, deleted with their run.
//!
//! Large contents neither pass through the journal's writer nor swell its log. `files.rs` keeps them in a
//! folder, for a journal in a file; the journal in a database keeps them there, so that every process finds
//! them (`connectors/postgres/blobs.rs`).

mod files;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use parking_lot::Mutex;

pub use files::BlobFiles;

use super::error::JournalError;
use super::ids::{Digest, RunId};
use super::model::Blob;

type Result<T> = std::result::Result<T, JournalError>;

/// The content of a payload, piece by piece.
pub type Pieces = BoxStream<'static, Result<Bytes>>;

/// Bytes of a payload in one piece.
pub const PIECE_BYTES: usize = 256 * 1024;

/// Where payloads are kept. A payload is named by its run and its digest; a repeat is the same.
#[async_trait]
pub trait BlobStore: Send + Sync + 'static {
    /// Starts to take a payload.
    async fn receive(&self, run: RunId, digest: Digest) -> Result<Box<dyn Incoming>>;

    /// The size of a payload; none where it is not there whole.
    async fn size_bytes(&self, run: RunId, digest: Digest) -> Result<Option<i64>>;

    /// Reads a payload; [`JournalError::BlobNotFound`] where it is not there whole.
    async fn read(&self, run: RunId, digest: Digest) -> Result<Pieces>;

    /// Removes a run's payloads. Repeating it does nothing.
    async fn remove(&self, run: RunId) -> Result<()>;

    /// Runs of which no payload was written for `age`, at most `limit` of them: those behind `after`, in the
    /// store's own order.
    async fn untouched(&self, age: Duration, after: Option<RunId>, limit: usize) -> Result<Vec<RunId>>;

    /// Removes payloads that were begun and not finished within `age`.
    async fn remove_unfinished(&self, age: Duration) -> Result<()>;
}

/// A payload on its way in. Dropped, it is not there.
#[async_trait]
pub trait Incoming: Send {
    /// Takes the next bytes.
    async fn write(&mut self, data: Bytes) -> Result<()>;

    /// Makes the payload durable.
    async fn keep(self: Box<Self>, size_bytes: i64) -> Result<()>;
}

/// The payloads of all runs. Clones share them.
#[derive(Clone)]
pub struct Blobs {
    store: Arc<dyn BlobStore>,
    limit_bytes: u64,
    /// Where the search for orphans goes on.
    searched: Arc<Mutex<Option<RunId>>>,
}

impl Blobs {
    /// Payloads of up to so many bytes.
    pub fn new(store: Arc<dyn BlobStore>, limit_bytes: u64) -> Self {
        Self { store, limit_bytes, searched: Arc::default() }
    }

    /// Starts an upload.
    pub async fn upload(&self, run: RunId, digest: Digest) -> Result<Upload> {
        let incoming = self.store.receive(run, digest).await?;
        let hasher = Box::new(blake3::Hasher::new());
        Ok(Upload { incoming, digest, hasher, size_bytes: 0, limit_bytes: self.limit_bytes })
    }

    /// Whether the run has this payload.
    pub async fn contains(&self, run: RunId, blob: Blob) -> Result<bool> {
        Ok(self.store.size_bytes(run, blob.digest).await? == Some(blob.size_bytes))
    }

    /// Reads a payload.
    pub async fn read(&self, run: RunId, digest: Digest) -> Result<Pieces> {
        self.store.read(run, digest).await
    }

    /// Removes a run's payloads. Repeating it does nothing.
    pub async fn remove(&self, run: RunId) -> Result<()> {
        self.store.remove(run).await
    }

    /// The next runs of which no payload was written for `age`; from the first on again after the last.
    pub async fn next_untouched(&self, age: Duration, limit: usize) -> Result<Vec<RunId>> {
        let after = *self.searched.lock();
        let found = self.store.untouched(age, after, limit).await?;
        *self.searched.lock() = found.last().copied().filter(|_| found.len() >= limit);
        Ok(found)
    }

    /// Removes what was begun and not finished within `age`.
    pub async fn remove_unfinished(&self, age: Duration) -> Result<()> {
        self.store.remove_unfinished(age).await
    }
}

/// A payload on its way in, measured and checked.
pub struct Upload {
    incoming: Box<dyn Incoming>,
    digest: Digest,
    hasher: Box<blake3::Hasher>,
    size_bytes: u64,
    limit_bytes: u64,
}

impl Upload {
    /// Takes the next bytes.
    pub async fn write(&mut self, data: Bytes) -> Result<()> {
        self.size_bytes += data.len() as u64;
        if self.size_bytes > self.limit_bytes {
            return Err(JournalError::TooLarge {
                field: "data",
                limit_bytes: self.limit_bytes,
                advice: "store it as a file and name it by reference",
            });
        }
        self.hasher.update(&data);
        self.incoming.write(data).await
    }

    /// Checks the digest and makes the payload durable.
    pub async fn finish(self) -> Result<Blob> {
        let digest = Digest(*self.hasher.finalize().as_bytes());
        if digest != self.digest {
            return Err(JournalError::invalid("digest", format!("the content's digest is {digest}")));
        }
        let size_bytes = i64::try_from(self.size_bytes).unwrap_or(i64::MAX);
        self.incoming.keep(size_bytes).await?;
        Ok(Blob { digest, size_bytes })
    }
}

#[cfg(test)]
pub(crate) mod contract;
