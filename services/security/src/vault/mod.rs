//! Secrets of teams. The domain: names, limits, and what is answered; the backend is behind a trait.
//!
//! Nothing is shared between teams, and what was written over the API is never expanded: a value that reads
//! `$env(HOME)` is that text.

pub mod connectors;
pub mod envelope;
pub mod key_file;
pub mod secret;
pub mod service;

use std::sync::Arc;

use connectors::{SecretInfo, SecretStore, SecretStoreError};
use secret::SecretValue;
use sre_proto::error::Reason;

use crate::error::Error;
use crate::moment::Moment;
use crate::page::{self, Page};

/// The largest value.
const MAX_VALUE_BYTES: usize = 64 << 10;
/// The longest key.
const MAX_KEY_CHARS: usize = 256;
/// The most keys of one batch.
const MAX_BATCH: usize = 100;

/// The vault. Callers have been checked.
#[derive(Clone)]
pub struct Vault {
    store: Arc<dyn SecretStore>,
}

/// A batch: what exists, and the keys of what does not.
pub struct Batch {
    /// Those that exist, in the order asked for.
    pub found: Vec<(SecretInfo, SecretValue)>,
    /// Keys that do not.
    pub missing: Vec<String>,
}

impl Vault {
    /// Over a backend.
    pub fn new(store: Arc<dyn SecretStore>) -> Self {
        Self { store }
    }

    /// A secret with its value.
    pub async fn access(&self, team: &str, key: &str) -> Result<(SecretInfo, SecretValue), Error> {
        check_key(key)?;
        self.store.get(team, key).await?.ok_or_else(|| Error::SecretNotFound(key.to_owned()))
    }

    /// Several secrets of a team; a missing one is told beside the others.
    pub async fn access_batch(&self, team: &str, keys: &[String]) -> Result<Batch, Error> {
        if keys.len() > MAX_BATCH {
            return Err(Error::invalid("keys", format!("are {}: ask for {MAX_BATCH} at most", keys.len())));
        }
        let mut batch = Batch { found: Vec::with_capacity(keys.len()), missing: Vec::new() };
        for key in keys {
            check_key(key)?;
            match self.store.get(team, key).await? {
                Some(secret) => batch.found.push(secret),
                None => batch.missing.push(key.clone()),
            }
        }
        Ok(batch)
    }

    /// A page of a team's keys, without values.
    pub async fn list(&self, team: &str, page: Page<String>) -> Result<(Vec<SecretInfo>, String), Error> {
        let rows = self.store.list(team, page.after.as_deref(), page.size + 1).await?;
        Ok(page::cut(rows, page.size, |row| row.key.clone()))
    }

    /// Sets a secret.
    pub async fn put(
        &self,
        team: &str,
        key: &str,
        value: SecretValue,
        updater: &str,
        now: Moment,
    ) -> Result<SecretInfo, Error> {
        check_key(key)?;
        let size = value.expose().len();
        if size > MAX_VALUE_BYTES {
            return Err(Error::invalid("value", format!("has {size} bytes: {MAX_VALUE_BYTES} at most")));
        }
        Ok(self.store.put(team, key, value, updater, now).await?)
    }

    /// Deletes a secret with all its versions.
    pub async fn delete(&self, team: &str, key: &str) -> Result<(), Error> {
        check_key(key)?;
        if self.store.delete(team, key).await? { Ok(()) } else { Err(Error::SecretNotFound(key.to_owned())) }
    }
}

fn check_key(key: &str) -> Result<(), Error> {
    let chars = key.chars().count();
    if chars == 0 || chars > MAX_KEY_CHARS || key.chars().any(char::is_control) {
        return Err(Error::invalid(
            "key",
            format!("must have 1 to {MAX_KEY_CHARS} characters, none of them control"),
        ));
    }
    Ok(())
}

impl From<SecretStoreError> for Error {
    fn from(error: SecretStoreError) -> Self {
        match error {
            SecretStoreError::Unavailable(cause) => {
                tracing::warn!(cause, "the vault's backend is unavailable");
                let message = "the vault's backend is unavailable: try again".to_owned();
                Self::Unavailable { reason: Reason::BackendUnavailable, message }
            }
            SecretStoreError::Damaged(cause) => Self::Internal(cause),
            SecretStoreError::Full(message) => Self::Exhausted(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::connectors::encrypted_file::EncryptedFile;
    use super::envelope::Kek;
    use super::*;

    const NOW: Moment = Moment(1_700_000_000_000_000);

    fn vault(dir: &tempfile::TempDir) -> Vault {
        let file = EncryptedFile::open(&dir.path().join("vault.enc"), Kek::generate().unwrap()).unwrap();
        Vault::new(Arc::new(file))
    }

    fn value(text: &str) -> SecretValue {
        SecretValue::new(text.as_bytes().to_vec())
    }

    /// services.md H14 and §1.10: no team reads another's secrets, `default` included.
    #[tokio::test]
    async fn h14_nothing_falls_back_to_another_team() {
        let dir = tempfile::tempdir().unwrap();
        let vault = vault(&dir);
        vault.put("default", "openai", value("sk-shared"), "user/dev", NOW).await.unwrap();
        assert!(matches!(vault.access("t", "openai").await, Err(Error::SecretNotFound(_))));
        // Nor does an empty value of one's own.
        vault.put("t", "openai", value(""), "user/eve", NOW).await.unwrap();
        assert_eq!(vault.access("t", "openai").await.unwrap().1.expose(), b"");
    }

    /// services.md H38: an absent key is an error that says so, never a made-up value.
    #[tokio::test]
    async fn h38_absent_keys_are_absent() {
        let dir = tempfile::tempdir().unwrap();
        let vault = vault(&dir);
        vault.put("t", "a", value("1"), "user/dev", NOW).await.unwrap();
        assert!(matches!(vault.access("t", "b").await, Err(Error::SecretNotFound(key)) if key == "b"));
        assert!(matches!(vault.delete("t", "b").await, Err(Error::SecretNotFound(_))));
        let batch = vault.access_batch("t", &["b".into(), "a".into()]).await.unwrap();
        assert_eq!(batch.missing, ["b"]);
        assert_eq!(batch.found[0].1.expose(), b"1");
    }

    #[tokio::test]
    async fn values_are_never_expanded() {
        let dir = tempfile::tempdir().unwrap();
        let vault = vault(&dir);
        vault.put("t", "k", value("$env(HOME)"), "user/dev", NOW).await.unwrap();
        assert_eq!(vault.access("t", "k").await.unwrap().1.expose(), b"$env(HOME)");
    }

    #[tokio::test]
    async fn limits_hold() {
        let dir = tempfile::tempdir().unwrap();
        let vault = vault(&dir);
        let large = SecretValue::new(vec![b'x'; MAX_VALUE_BYTES + 1]);
        assert!(matches!(
            vault.put("t", "k", large, "user/dev", NOW).await,
            Err(Error::Invalid { field: "value", .. })
        ));
        let long = "k".repeat(MAX_KEY_CHARS + 1);
        for key in ["", "a\nb", long.as_str()] {
            assert!(
                matches!(vault.access("t", key).await, Err(Error::Invalid { field: "key", .. })),
                "{key:?}"
            );
        }
        let many = vec!["k".to_owned(); MAX_BATCH + 1];
        assert!(matches!(vault.access_batch("t", &many).await, Err(Error::Invalid { field: "keys", .. })));
    }
}
