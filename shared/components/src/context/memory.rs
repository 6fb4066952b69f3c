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
}
