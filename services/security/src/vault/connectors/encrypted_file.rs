//! One file for all secrets: `vault.enc`, replaced atomically.
//!
//! Layers: each version of a secret is sealed by an envelope of its own; the index that holds them is sealed
//! as a whole, so that a file whose entries were removed or swapped with older ones does not open, and names
//! of keys are not readable at rest. In memory only the envelopes are kept, never a value.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::ops::Bound;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{SecretInfo, SecretStore, SecretStoreError};
use crate::moment::Moment;
use crate::vault::envelope::{self, Kek, Sealed};
use crate::vault::secret::SecretValue;

/// The first line of the file; the id of the key follows on it.
const MAGIC: &str = "sre-vault 1 ";
const FILE_KEY: &str = "sre vault file key 1";
/// Earlier versions of a secret that are kept.
const KEPT_VERSIONS: usize = 10;
/// The file is rewritten at each change, so it must stay small.
const MAX_FILE_BYTES: usize = 64 << 20;

/// Secrets of all teams, in one sealed file.
pub struct EncryptedFile {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    kek: Kek,
    index: Mutex<Arc<Index>>,
    /// Held over read, change, write, publish: two writers must not lose each other's change.
    writing: Mutex<()>,
}

type Keys = BTreeMap<String, Arc<VecDeque<Version>>>;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Index {
    teams: BTreeMap<String, Keys>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Version {
    version: u64,
    created_us: i64,
    created_by: String,
    #[serde(flatten)]
    sealed: Sealed,
}

impl EncryptedFile {
    /// Opens the file, or starts an empty vault where there is none. Blocks; meant for the start.
    pub fn open(path: &Path, kek: Kek) -> Result<Self, SecretStoreError> {
        let index = match std::fs::read(path) {
            Ok(bytes) => unseal(path, &kek, &bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Index::default(),
            Err(error) => return Err(unavailable(path, &error)),
        };
        let shared = Shared {
            path: path.to_owned(),
            kek,
            index: Mutex::new(Arc::new(index)),
            writing: Mutex::new(()),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Changes the index: written first, visible then. It runs to its end on a thread of its own even when
    /// the caller goes away, so that file and memory never differ.
    async fn change<T, F>(&self, change: F) -> Result<T, SecretStoreError>
    where
        F: FnOnce(&Kek, &mut Index) -> Result<Change<T>, SecretStoreError> + Send + 'static,
        T: Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        let work = tokio::task::spawn_blocking(move || {
            let _writing = shared.writing.lock();
            let mut index = Index::clone(&shared.snapshot());
            let answer = match change(&shared.kek, &mut index)? {
                Change::Nothing(answer) => return Ok(answer),
                Change::Write(answer) => answer,
            };
            let bytes = seal(&shared.kek, &index)?;
            replace(&shared.path, &bytes).map_err(|error| unavailable(&shared.path, &error))?;
            *shared.index.lock() = Arc::new(index);
            Ok(answer)
        });
        work.await
            .unwrap_or_else(|_| Err(SecretStoreError::Unavailable("the vault is closing: try again".into())))
    }
}

enum Change<T> {
    Nothing(T),
    Write(T),
}

impl Shared {
    fn snapshot(&self) -> Arc<Index> {
        Arc::clone(&self.index.lock())
    }
}

#[async_trait]
impl SecretStore for EncryptedFile {
    async fn get(
        &self,
        team: &str,
        key: &str,
    ) -> Result<Option<(SecretInfo, SecretValue)>, SecretStoreError> {
        let index = self.shared.snapshot();
        let Some(current) = index.teams.get(team).and_then(|keys| keys.get(key)).and_then(|all| all.back())
        else {
            return Ok(None);
        };
        let value =
            self.shared.kek.open(&place(team, key, current.version), &current.sealed).map_err(|error| {
                SecretStoreError::Damaged(format!("{}: {error}", self.shared.path.display()))
            })?;
        Ok(Some((info(key, current), SecretValue::new(value.to_vec()))))
    }

    async fn put(
        &self,
        team: &str,
        key: &str,
        value: SecretValue,
        updater: &str,
        now: Moment,
    ) -> Result<SecretInfo, SecretStoreError> {
        let (team, key, created_by) = (team.to_owned(), key.to_owned(), updater.to_owned());
        self.change(move |kek, index| {
            let versions = index.teams.entry(team.clone()).or_default().entry(key.clone()).or_default();
            let version = versions.back().map_or(1, |last| last.version + 1);
            let sealed = kek
                .seal(&place(&team, &key, version), value.expose())
                .map_err(|error| SecretStoreError::Unavailable(error.to_string()))?;
            let entry = Version { version, created_us: now.0, created_by, sealed };
            let answer = info(&key, &entry);
            let versions = Arc::make_mut(versions);
            versions.push_back(entry);
            while versions.len() > KEPT_VERSIONS {
                versions.pop_front();
            }
            Ok(Change::Write(answer))
        })
        .await
    }

    async fn delete(&self, team: &str, key: &str) -> Result<bool, SecretStoreError> {
        let (team, key) = (team.to_owned(), key.to_owned());
        self.change(move |_, index| {
            let Some(keys) = index.teams.get_mut(&team) else { return Ok(Change::Nothing(false)) };
            if keys.remove(&key).is_none() {
                return Ok(Change::Nothing(false));
            }
            if keys.is_empty() {
                index.teams.remove(&team);
            }
            Ok(Change::Write(true))
        })
        .await
    }

    async fn list(
        &self,
        team: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<SecretInfo>, SecretStoreError> {
        let index = self.shared.snapshot();
        let Some(keys) = index.teams.get(team) else { return Ok(Vec::new()) };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rows = keys.range::<str, _>((from, Bound::Unbounded)).take(limit);
        Ok(rows.filter_map(|(key, versions)| Some(info(key, versions.back()?))).collect())
    }
}

fn info(key: &str, version: &Version) -> SecretInfo {
    SecretInfo {
        key: key.to_owned(),
        version: version.version,
        updated: Moment(version.created_us),
        updater: version.created_by.clone(),
    }
}

/// What binds a sealed version to its place. A team id has no `|`, and the version is the last part.
fn place(team: &str, key: &str, version: u64) -> String {
    format!("sre-vault|1|{team}|{key}|{version}")
}

fn seal(kek: &Kek, index: &Index) -> Result<Vec<u8>, SecretStoreError> {
    let json = serde_json::to_vec(index).map_err(|error| SecretStoreError::Damaged(error.to_string()))?;
    if json.len() > MAX_FILE_BYTES {
        return Err(SecretStoreError::Full(format!(
            "the vault file would grow over {MAX_FILE_BYTES} bytes: delete secrets that nobody uses, or configure another backend"
        )));
    }
    let head = format!("{MAGIC}{}\n", kek.id());
    let (nonce, ciphertext) = envelope::encrypt(&kek.derive(FILE_KEY), head.as_bytes(), &json)
        .map_err(|error| SecretStoreError::Unavailable(error.to_string()))?;
    Ok([head.into_bytes(), nonce, ciphertext].concat())
}

fn unseal(path: &Path, kek: &Kek, bytes: &[u8]) -> Result<Index, SecretStoreError> {
    let damaged = |what: &str| SecretStoreError::Damaged(format!("{}: {what}", path.display()));
    let end = bytes.iter().take(256).position(|byte| *byte == b'\n');
    let (head, rest) = bytes.split_at(end.map_or(0, |end| end + 1));
    let head_text = std::str::from_utf8(head).unwrap_or_default();
    let Some(key_id) = head_text.strip_prefix(MAGIC) else {
        return Err(damaged("is not a vault of this version: restore it from a backup"));
    };
    if key_id.trim_end() != kek.id() {
        let (theirs, ours) = (key_id.trim_end(), kek.id());
        return Err(damaged(&format!(
            "is sealed with key {theirs}, keys/vault.key holds {ours}: restore that key"
        )));
    }
    let (nonce, ciphertext) =
        rest.split_at_checked(24).ok_or_else(|| damaged("is cut off: restore it from a backup"))?;
    let json: Zeroizing<Vec<u8>> = envelope::decrypt(&kek.derive(FILE_KEY), head, nonce, ciphertext)
        .map_err(|_| damaged("was changed or cut off: restore it from a backup"))?;
    serde_json::from_slice(&json)
        .map_err(|error| damaged(&format!("holds something else than a vault: {error}")))
}

/// Writes beside the file, then takes its place; durable when it returns.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let fresh = path.with_extension("enc.new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    File::open(folder)?.sync_all()
}

fn unavailable(path: &Path, error: &io::Error) -> SecretStoreError {
    SecretStoreError::Unavailable(format!("{}: {error}", path.display()))
}

#[cfg(test)]
#[path = "encrypted_file_tests.rs"]
mod tests;
