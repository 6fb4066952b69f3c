//! One file for all secrets: `vault.enc`, replaced atomically.
//!
//! Layers: each version of a secret is sealed by an envelope of its own; the index that holds them is sealed
//! as a whole, so that a file whose entries were removed or swapped with older ones does not open, and names
//! of keys are not readable at rest. In memory only the envelopes are kept, never a value.

mod format;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Weak};

use async_trait::async_trait;
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sre_service::connectors::{Connector, Opening, Unhealthy};

use super::{SecretInfo, SecretStore, SecretStoreError};
use crate::moment::Moment;
use crate::vault::envelope::{EnvelopeError, Sealed};
use crate::vault::keks::Keks;
use crate::vault::secret::SecretValue;

/// The file where the settings name none.
pub const FILE: &str = "vault.enc";
/// Versions of a secret that are kept.
const KEPT_VERSIONS: usize = 10;

/// Settings of the kind `file`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Settings {
    /// The file, under the data folder unless absolute [default: `vault.enc`].
    file: Option<PathBuf>,
    /// Its key file [default: `vault.key` of the configuration].
    key_file: Option<PathBuf>,
    /// Refused: the reference shared all secrets of a team.
    shared: Option<String>,
}

/// Files that are open, by path: two instances on one file are one, or they would overwrite each other.
static OPEN: LazyLock<tokio::sync::Mutex<HashMap<PathBuf, Weak<Shared>>>> = LazyLock::new(Default::default);

/// Checks settings.
pub fn check(opening: &Opening) -> anyhow::Result<()> {
    let settings: Settings = opening.settings()?;
    anyhow::ensure!(
        settings.shared.is_none(),
        "shared is set, and no team's secrets are shared as a whole: remove it and grant those that others may use \
         with `sre vault grant`"
    );
    Ok(())
}

/// Opens an instance.
pub async fn open(opening: Opening) -> anyhow::Result<Arc<dyn SecretStore>> {
    check(&opening)?;
    let settings: Settings = opening.settings()?;
    let path = opening.path(settings.file.as_deref().unwrap_or(Path::new(FILE)));
    let key = settings.key_file.unwrap_or_else(|| opening.config().vault.key.clone());
    let keks = crate::vault::keys::open(opening.config(), &key, Some(&path)).await?;
    let absolute = std::path::absolute(&path)?;
    let mut open = OPEN.lock().await;
    if let Some(shared) = open.get(&absolute).and_then(Weak::upgrade) {
        anyhow::ensure!(shared.keks.is(&keks), "{} is open with another key file", path.display());
        return Ok(Arc::new(EncryptedFile { shared }));
    }
    let opened = tokio::task::spawn_blocking(move || EncryptedFile::open(&path, keks)).await??;
    open.retain(|_, shared| shared.strong_count() > 0);
    open.insert(absolute, Arc::downgrade(&opened.shared));
    Ok(Arc::new(opened))
}

/// Secrets of all teams, in one sealed file.
pub struct EncryptedFile {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    keks: Keks,
    index: Mutex<Arc<Index>>,
    /// The id of the key that the file as a whole is sealed with; none where there is no file.
    sealed_with: Mutex<Option<String>>,
    /// Held over read, change, write, publish: two writers must not lose each other's change.
    writing: Mutex<()>,
}

type Keys = BTreeMap<String, Arc<VecDeque<Version>>>;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Index {
    teams: BTreeMap<String, Keys>,
}

impl Index {
    fn versions(&self, team: &str, key: &str) -> Option<&VecDeque<Version>> {
        self.teams.get(team)?.get(key).map(Arc::as_ref)
    }
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
    pub fn open(path: &Path, keks: Keks) -> Result<Self, SecretStoreError> {
        let (index, sealed_with) = match std::fs::read(path) {
            Ok(bytes) => format::unseal(path, &keks, &bytes).map(|(index, id)| (index, Some(id)))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => (Index::default(), None),
            Err(error) => return Err(unavailable(path, &error)),
        };
        let shared = Shared {
            path: path.to_owned(),
            keks,
            index: Mutex::new(Arc::new(index)),
            sealed_with: Mutex::new(sealed_with),
            writing: Mutex::new(()),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Changes the index: written first, visible then. It runs to its end on a thread of its own even when
    /// the caller goes away, so that file and memory never differ.
    async fn change<T, F>(&self, change: F) -> Result<T, SecretStoreError>
    where
        F: FnOnce(&Shared, &mut Index) -> Result<Change<T>, SecretStoreError> + Send + 'static,
        T: Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        let work = tokio::task::spawn_blocking(move || {
            let _writing = shared.writing.lock();
            let mut index = Index::clone(&shared.snapshot());
            let answer = match change(&shared, &mut index)? {
                Change::Nothing(answer) => return Ok(answer),
                Change::Write(answer) => answer,
            };
            let kek = shared.keks.primary();
            let bytes = format::seal(&kek, &index)?;
            format::replace(&shared.path, &bytes).map_err(|error| unavailable(&shared.path, &error))?;
            *shared.index.lock() = Arc::new(index);
            *shared.sealed_with.lock() = Some(kek.id().to_owned());
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

    fn damaged(&self, error: &EnvelopeError) -> SecretStoreError {
        SecretStoreError::Damaged(format!("{}: {error}", self.path.display()))
    }
}

#[async_trait]
impl Connector for EncryptedFile {
    async fn check(&self) -> Result<(), Unhealthy> {
        let shared = Arc::clone(&self.shared);
        let there = tokio::task::spawn_blocking(move || {
            let is_written = shared.sealed_with.lock().is_some();
            if is_written { std::fs::metadata(&shared.path).map(drop) } else { Ok(()) }
        });
        there.await.map_err(Unhealthy::new)?.map_err(Unhealthy::new)
    }
}

#[async_trait]
impl SecretStore for EncryptedFile {
    async fn get(
        &self,
        team: &str,
        key: &str,
        version: Option<u64>,
    ) -> Result<Option<(SecretInfo, SecretValue)>, SecretStoreError> {
        let index = self.shared.snapshot();
        let Some(versions) = index.versions(team, key) else { return Ok(None) };
        let found = match version {
            None => versions.back(),
            Some(number) => versions.iter().find(|one| one.version == number),
        };
        let Some(found) = found else { return Ok(None) };
        let value = self
            .shared
            .keks
            .unseal(&place(team, key, found.version), &found.sealed)
            .map_err(|error| self.shared.damaged(&error))?;
        Ok(Some((info(key, found), SecretValue::from(value))))
    }

    async fn stat(&self, team: &str, key: &str) -> Result<Option<SecretInfo>, SecretStoreError> {
        let index = self.shared.snapshot();
        Ok(index.versions(team, key).and_then(VecDeque::back).map(|current| info(key, current)))
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
        self.change(move |shared, index| {
            let versions = index.teams.entry(team.clone()).or_default().entry(key.clone()).or_default();
            let version = versions.back().map_or(1, |last| last.version + 1);
            let sealed = shared
                .keks
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
    async fn versions(
        &self,
        team: &str,
        key: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<SecretInfo>, SecretStoreError> {
        let index = self.shared.snapshot();
        let versions = index.versions(team, key).into_iter().flat_map(|all| all.iter().rev());
        let older = versions.filter(|one| before.is_none_or(|before| one.version < before));
        Ok(older.take(limit).map(|one| info(key, one)).collect())
    }

    fn keks(&self) -> Option<&Keks> {
        Some(&self.shared.keks)
    }

    /// One rewrite of the file. Readers go on with the index before until it is done.
    async fn reseal(&self) -> Result<u64, SecretStoreError> {
        self.change(|shared, index| {
            let mut count = 0;
            for (team, keys) in &mut index.teams {
                for (key, versions) in keys {
                    for one in Arc::make_mut(versions) {
                        let place = place(team, key, one.version);
                        let again = shared.keks.reseal(&place, &one.sealed);
                        if let Some(sealed) = again.map_err(|error| shared.damaged(&error))? {
                            one.sealed = sealed;
                            count += 1;
                        }
                    }
                }
            }
            let sealed_with = shared.sealed_with.lock().clone();
            let is_whole = sealed_with.is_none_or(|id| id == shared.keks.primary().id());
            Ok(if count == 0 && is_whole { Change::Nothing(0) } else { Change::Write(count) })
        })
        .await
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

fn unavailable(path: &Path, error: &io::Error) -> SecretStoreError {
    SecretStoreError::Unavailable(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
