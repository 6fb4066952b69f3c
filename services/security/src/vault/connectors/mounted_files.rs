//! Files that somebody else mounts and changes, one for each secret: `<folder>/<team>/<key>`, as a Kubernetes
//! secret volume makes them. Read only; what is read is always what the file holds now, nothing is cached.
//!
//! Files are opened beneath the folder: links may lead about in it (Kubernetes swaps `..data`), never out of it.
//! A version is the time of the file's change in microseconds.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use async_trait::async_trait;
use cap_std::ambient_authority;
use cap_std::fs::{Dir, Metadata};
use schemars::JsonSchema;
use serde::Deserialize;
use sre_service::connectors::{Connector, Opening, Unhealthy};
use zeroize::Zeroizing;

use super::{SecretInfo, SecretStore, SecretStoreError};
use crate::moment::Moment;
use crate::vault::MAX_VALUE_BYTES;
use crate::vault::secret::SecretValue;

/// Files of one team that a list reads.
const MAX_FILES: usize = 10_000;

/// Settings of the kind `mounted-files`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// The folder with a folder for each team, under the data folder unless absolute.
    folder: PathBuf,
}

/// Secrets in files.
pub struct MountedFiles {
    folder: PathBuf,
}

/// Opens an instance.
pub async fn open(opening: Opening) -> anyhow::Result<Arc<dyn SecretStore>> {
    let settings: Settings = opening.settings()?;
    let files = MountedFiles::new(&opening.path(settings.folder));
    files.check().await?;
    Ok(Arc::new(files))
}

impl MountedFiles {
    /// Over a folder.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// The team's folder is opened for each call: the mount may be replaced as a whole.
    async fn in_team<T, F>(&self, team: &str, work: F) -> Result<Option<T>, SecretStoreError>
    where
        F: FnOnce(&Dir) -> io::Result<Option<T>> + Send + 'static,
        T: Send + 'static,
    {
        let (folder, team) = (self.folder.clone(), team.to_owned());
        let failed = |error: &dyn std::fmt::Display| {
            SecretStoreError::Unavailable(format!("{}: {error}", self.folder.display()))
        };
        let read = tokio::task::spawn_blocking(move || {
            let root = Dir::open_ambient_dir(folder, ambient_authority())?;
            match root.open_dir(&team) {
                Ok(dir) => work(&dir),
                Err(error) => absent(error).map(|()| None),
            }
        });
        read.await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))
    }
}

/// A name that cannot be a file's, or leads out of the folder, is no secret.
fn absent(error: io::Error) -> io::Result<()> {
    use io::ErrorKind::{
        InvalidFilename, InvalidInput, IsADirectory, NotADirectory, NotFound, PermissionDenied,
    };
    match error.kind() {
        NotFound | NotADirectory | IsADirectory | InvalidInput | InvalidFilename => Ok(()),
        // What leads out of the folder is refused so; a file that we may not read has an error of the system.
        PermissionDenied if error.raw_os_error().is_none() => Ok(()),
        _ => Err(error),
    }
}

/// Whether a key can name a file here: one segment, and none of the names that begin the volume's own files.
fn is_name(key: &str) -> bool {
    !key.contains('/') && !key.starts_with("..") && key != "."
}

fn info(key: &str, metadata: &Metadata) -> io::Result<SecretInfo> {
    let since = metadata.modified()?.into_std().duration_since(UNIX_EPOCH).unwrap_or_default();
    let micros = since.as_micros();
    Ok(SecretInfo {
        key: key.to_owned(),
        version: u64::try_from(micros).unwrap_or(u64::MAX),
        updated: Moment(i64::try_from(micros).unwrap_or(i64::MAX)),
        updater: String::new(),
    })
}

fn stat(dir: &Dir, key: &str) -> io::Result<Option<SecretInfo>> {
    match dir.metadata(key) {
        Ok(metadata) if metadata.is_file() => info(key, &metadata).map(Some),
        Ok(_) => Ok(None),
        Err(error) => absent(error).map(|()| None),
    }
}

fn read(dir: &Dir, key: &str) -> io::Result<Option<(SecretInfo, SecretValue)>> {
    let mut file = match dir.open(key) {
        Ok(file) => file,
        Err(error) => return absent(error).map(|()| None),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(None);
    }
    let limit = MAX_VALUE_BYTES as u64;
    let mut value = Zeroizing::new(Vec::with_capacity(metadata.len().min(limit) as usize + 1));
    Read::by_ref(&mut file).take(limit + 1).read_to_end(&mut value)?;
    if value.len() > MAX_VALUE_BYTES {
        return Err(io::Error::other(format!("a file is larger than {MAX_VALUE_BYTES} bytes")));
    }
    Ok(Some((info(key, &metadata)?, SecretValue::from(value))))
}

fn list(dir: &Dir, after: Option<&str>, limit: usize) -> io::Result<Vec<SecretInfo>> {
    let mut names = Vec::new();
    for entry in dir.entries()?.take(MAX_FILES) {
        // A name that is no text cannot be asked for.
        let Ok(name) = entry?.file_name().into_string() else { continue };
        if is_name(&name) && after.is_none_or(|after| name.as_str() > after) {
            names.push(name);
        }
    }
    names.sort_unstable();
    let found = names.iter().filter_map(|name| stat(dir, name).transpose());
    found.take(limit).collect()
}

#[async_trait]
impl Connector for MountedFiles {
    async fn check(&self) -> Result<(), Unhealthy> {
        let read = tokio::fs::read_dir(&self.folder).await;
        read.map(drop).map_err(|error| Unhealthy(format!("{}: {error}", self.folder.display())))
    }
}

fn read_only<T>() -> Result<T, SecretStoreError> {
    Err(SecretStoreError::ReadOnly(
        "these secrets are mounted files: change them where they are mounted from".to_owned(),
    ))
}

#[async_trait]
impl SecretStore for MountedFiles {
    async fn get(
        &self,
        team: &str,
        key: &str,
        version: Option<u64>,
    ) -> Result<Option<(SecretInfo, SecretValue)>, SecretStoreError> {
        if !is_name(key) {
            return Ok(None);
        }
        let key = key.to_owned();
        let found = self.in_team(team, move |dir| read(dir, &key)).await?;
        Ok(found.filter(|(info, _)| version.is_none_or(|version| version == info.version)))
    }

    async fn stat(&self, team: &str, key: &str) -> Result<Option<SecretInfo>, SecretStoreError> {
        if !is_name(key) {
            return Ok(None);
        }
        let key = key.to_owned();
        self.in_team(team, move |dir| stat(dir, &key)).await
    }

    async fn put(
        &self,
        _: &str,
        _: &str,
        _: SecretValue,
        _: &str,
        _: Moment,
    ) -> Result<SecretInfo, SecretStoreError> {
        read_only()
    }

    async fn delete(&self, _: &str, _: &str) -> Result<bool, SecretStoreError> {
        read_only()
    }

    async fn list(
        &self,
        team: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<SecretInfo>, SecretStoreError> {
        let after = after.map(str::to_owned);
        let found = self.in_team(team, move |dir| list(dir, after.as_deref(), limit).map(Some)).await?;
        Ok(found.unwrap_or_default())
    }

    async fn versions(
        &self,
        team: &str,
        key: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<SecretInfo>, SecretStoreError> {
        let current = self.stat(team, key).await?;
        let older = current.filter(|info| before.is_none_or(|before| info.version < before));
        Ok(older.into_iter().take(limit).collect())
    }
}

#[cfg(test)]
#[path = "mounted_files_tests.rs"]
mod tests;
