//! What a component remembers from run to run: small documents of the running agent, each under a key.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::ContextError;

/// Documents of the running agent that may end.
#[async_trait]
pub trait Histories: Send + Sync {
    /// A document; none where there is none, or where its time is over.
    ///
    /// # Errors
    /// If the store cannot be reached.
    async fn read(&self, key: &str) -> Result<Option<Remembered>, ContextError>;

    /// Writes a document in place of the version given, or where there is none. False where somebody else wrote
    /// meanwhile: nothing was written then.
    ///
    /// # Errors
    /// If the store cannot be reached, or refuses.
    async fn write(
        &self,
        key: &str,
        document: Bytes,
        replaces: Option<&str>,
        time_to_live: Option<Duration>,
    ) -> Result<bool, ContextError>;
}

/// A document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Its bytes.
    pub document: Bytes,
    /// Its version.
    pub version: String,
}
