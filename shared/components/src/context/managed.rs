//! The agent's managed vault: what it obtains while it runs, tokens above all.

use std::time::Duration;

use async_trait::async_trait;
use zeroize::Zeroizing;

use super::ContextError;

/// A secret as it is kept.
pub struct Kept {
    /// Its value; wiped when dropped.
    pub value: Zeroizing<Vec<u8>>,
    /// Grows with each change.
    pub version: i64,
}

/// The secrets of the running agent, by key.
#[async_trait]
pub trait ManagedSecrets: Send + Sync {
    /// A secret, if it is there.
    ///
    /// # Errors
    /// If the vault refuses or cannot be reached.
    async fn get(&self, key: &str) -> Result<Option<Kept>, ContextError>;

    /// Sets a secret if its version is still this one (0: it is not there), for ever or for a time. False if
    /// somebody else changed it first.
    ///
    /// # Errors
    /// If the vault refuses or cannot be reached.
    async fn replace(
        &self,
        key: &str,
        version: i64,
        value: Zeroizing<Vec<u8>>,
        lives: Option<Duration>,
    ) -> Result<bool, ContextError>;

    /// Forgets a secret; one that is not there is no error.
    ///
    /// # Errors
    /// If the vault refuses or cannot be reached.
    async fn forget(&self, key: &str) -> Result<(), ContextError>;
}
