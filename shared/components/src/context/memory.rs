//! What an agent remembers: small values that end by themselves.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::ContextError;

/// The running agent's own entries in the cache. A key is a path below them; each change is atomic, and none is
/// seen by other agents.
#[async_trait]
pub trait Memory: Send + Sync {
    /// The value of an entry, if there is one.
    ///
    /// # Errors
    /// If the cache refuses or cannot be reached.
    async fn get(&self, key: &str) -> Result<Option<Bytes>, ContextError>;

    /// Sets an entry; repeating it changes nothing but its end.
    ///
    /// # Errors
    /// If the cache refuses, is full or cannot be reached.
    async fn set(&self, key: &str, value: Bytes, time_to_live: Duration) -> Result<(), ContextError>;

    /// Deletes an entry; says whether there was one.
    ///
    /// # Errors
    /// If the cache refuses or cannot be reached.
    async fn delete(&self, key: &str) -> Result<bool, ContextError>;

    /// An entry with its version; none where there is none, or where its time is over.
    ///
    /// # Errors
    /// If the cache refuses or cannot be reached.
    async fn versioned(&self, key: &str) -> Result<Option<Remembered>, ContextError>;

    /// Writes an entry in place of the version given, or where there is none. False where somebody else wrote
    /// meanwhile: nothing was written then.
    ///
    /// # Errors
    /// If the cache refuses, is full or cannot be reached.
    async fn replace(
        &self,
        key: &str,
        value: Bytes,
        replaces: Option<&str>,
        time_to_live: Option<Duration>,
    ) -> Result<bool, ContextError>;
}

/// An entry and its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Its value.
    pub value: Bytes,
    /// Its version.
    pub version: String,
}
