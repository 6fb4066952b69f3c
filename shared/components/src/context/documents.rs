//! What an agent keeps: documents that outlive every process, and end by themselves where they have a time.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::ContextError;

/// The running agent's own documents. A key is a path below them; each change is atomic and durable, and none is seen
/// by other agents unless they are let in.
#[async_trait]
pub trait Documents: Send + Sync {
    /// A document with its version; none where there is none, or where its time is over.
    ///
    /// # Errors
    /// If the storage refuses or cannot be reached.
    async fn read(&self, key: &str) -> Result<Option<Document>, ContextError>;

    /// Writes a document in place of the version given, or where there is none. False where somebody else wrote
    /// meanwhile: nothing was written then.
    ///
    /// # Errors
    /// If the storage refuses, is full or cannot be reached.
    async fn replace(
        &self,
        key: &str,
        value: Bytes,
        replaces: Option<&str>,
        time_to_live: Option<Duration>,
    ) -> Result<bool, ContextError>;
}

/// A document and its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its bytes.
    pub value: Bytes,
    /// Its version.
    pub version: String,
}
