//! Where secrets are kept. One file per backend; `encrypted_file` is the embedded default.

pub mod encrypted_file;

use async_trait::async_trait;

use super::secret::SecretValue;
use crate::moment::Moment;

/// A secret without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretInfo {
    /// Its key, free text.
    pub key: String,
    /// The current version, from 1 on.
    pub version: u64,
    /// When that was set.
    pub updated: Moment,
    /// Who set it.
    pub updater: String,
}

/// Why a backend failed.
#[derive(Debug, thiserror::Error)]
pub enum SecretStoreError {
    /// The backend cannot be reached, or refused; nothing is known to be changed.
    #[error("{0}")]
    Unavailable(String),
    /// What is stored is damaged or sealed with another key.
    #[error("{0}")]
    Damaged(String),
    /// There is no room.
    #[error("{0}")]
    Full(String),
}

/// A backend for secrets. It knows no Candidates and no rights: whoever holds it has been checked.
#[async_trait]
pub trait SecretStore: Send + Sync {
    /// The current value. Reads see every write that was answered.
    async fn get(&self, team: &str, key: &str)
    -> Result<Option<(SecretInfo, SecretValue)>, SecretStoreError>;

    /// Adds a version, durably; earlier ones are kept as far as the backend has room. Not idempotent: a
    /// repeated call adds another version of the same value.
    async fn put(
        &self,
        team: &str,
        key: &str,
        value: SecretValue,
        updater: &str,
        now: Moment,
    ) -> Result<SecretInfo, SecretStoreError>;

    /// Deletes all versions, durably; false where there was none.
    async fn delete(&self, team: &str, key: &str) -> Result<bool, SecretStoreError>;

    /// At most `limit` secrets with a key greater than `after`, by key.
    async fn list(
        &self,
        team: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<SecretInfo>, SecretStoreError>;
}
