//! Payloads as files: `<root>/<pp>/<uuid>/<digest>`; a folder goes with its run.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use sre_store::StoreError;
use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt as _;
use tokio_util::io::ReaderStream;

use super::{BlobStore, Incoming, PIECE_BYTES, Pieces, Result};
use crate::runtime_context::error::JournalError;
use crate::runtime_context::ids::{Digest, RunId};

const INCOMING: &str = "incoming";

/// The payloads of all runs, in a folder that this process alone writes to.
#[derive(Debug, Clone)]
pub struct BlobFiles {
    root: Arc<Path>,
}

impl BlobFiles {
    /// Opens the folder, creating it, and removes uploads that a crash left unfinished.
    pub async fn open(root: &Path) -> Result<Self> {
        let incoming = root.join(INCOMING);
        match fs::remove_dir_all(&incoming).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&incoming, error)),
            _ => {}
        }
        fs::create_dir_all(&incoming).await.map_err(|error| failed(&incoming, error))?;
        Ok(Self { root: root.into() })
    }

    fn folder(&self, run: RunId) -> PathBuf {
        self.root.join(format!("{:02x}", run.partition)).join(run.uuid.to_string())
    }

    fn path(&self, run: RunId, digest: Digest) -> PathBuf {
        self.folder(run).join(digest.hex())
    }

    /// Lists on a thread where waiting for the disk holds nobody up.
    async fn listing<T: Send + 'static>(
        &self,
        list: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let root = Arc::clone(&self.root);
        match tokio::task::spawn_blocking(move || list(&root)).await {
            Ok(result) => result.map_err(|error| failed(&self.root, error)),
            Err(error) => Err(StoreError::backend(error.to_string()).into()),
        }
    }
}

#[async_trait]
impl BlobStore for BlobFiles {
    async fn receive(&self, run: RunId, digest: Digest) -> Result<Box<dyn Incoming>> {
        let path = self.root.join(INCOMING).join(sre_proto::ids::new_uuid().to_string());
        let file = File::create_new(&path).await.map_err(|error| failed(&path, error))?;
        let (folder, target) = (self.folder(run), self.path(run, digest));
        Ok(Box::new(IncomingFile { file, path: Unfinished(path), folder, target }))
    }

    async fn size_bytes(&self, run: RunId, digest: Digest) -> Result<Option<i64>> {
        let path = self.path(run, digest);
        match fs::metadata(&path).await {
            Ok(found) => Ok(i64::try_from(found.len()).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&path, error)),
        }
    }

    async fn read(&self, run: RunId, digest: Digest) -> Result<Pieces> {
        let path = self.path(run, digest);
        let file = match File::open(&path).await {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(JournalError::BlobNotFound),
            Err(error) => return Err(failed(&path, error)),
        };
        let pieces = ReaderStream::with_capacity(file, PIECE_BYTES);
        Ok(pieces.map(move |piece| piece.map_err(|error| failed(&path, error))).boxed())
    }

    async fn remove(&self, run: RunId) -> Result<()> {
        let folder = self.folder(run);
        match fs::remove_dir_all(&folder).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&folder, error)),
            _ => Ok(()),
        }
    }

    async fn untouched(&self, age: Duration, after: Option<RunId>, limit: usize) -> Result<Vec<RunId>> {
        self.listing(move |root| list_untouched(root, age, after, limit)).await
    }

    async fn remove_unfinished(&self, age: Duration) -> Result<()> {
        self.listing(move |root| {
            for file in std::fs::read_dir(root.join(INCOMING))? {
                let file = file?;
                // One that was finished or dropped since is gone.
                if file.metadata().and_then(|found| found.modified()).is_ok_and(|at| at <= before(age)) {
                    let _ = std::fs::remove_file(file.path());
                }
            }
            Ok(())
        })
        .await
    }
}

/// A payload on its way into its file.
struct IncomingFile {
    file: File,
    path: Unfinished,
    folder: PathBuf,
    target: PathBuf,
}

#[async_trait]
impl Incoming for IncomingFile {
    async fn write(&mut self, data: Bytes) -> Result<()> {
        self.file.write_all(&data).await.map_err(|error| failed(&self.path.0, error))
    }

    async fn keep(mut self: Box<Self>, _size_bytes: i64) -> Result<()> {
        let incoming = &self.path.0;
        self.file.flush().await.map_err(|error| failed(incoming, error))?;
        self.file.sync_all().await.map_err(|error| failed(incoming, error))?;
        fs::create_dir_all(&self.folder).await.map_err(|error| failed(&self.folder, error))?;
        fs::rename(incoming, &self.target).await.map_err(|error| failed(&self.target, error))?;
        // The entry, and those of folders that may be new, must survive a power cut too.
        for folder in self.target.ancestors().skip(1).take(3) {
            sync_folder(folder).await.map_err(|error| failed(folder, error))?;
        }
        Ok(())
    }
}

/// The file of an unfinished upload.
#[derive(Debug)]
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Moved away where the upload finished; what a crash leaves is removed at the next start.
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder).await?.sync_all().await } else { Ok(()) }
}

fn before(age: Duration) -> SystemTime {
    SystemTime::now().checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The `limit` lowest ids behind `after`, without holding more of them than that.
fn list_untouched(root: &Path, age: Duration, after: Option<RunId>, limit: usize) -> io::Result<Vec<RunId>> {
    let mut found = BTreeSet::new();
    let oldest = before(age);
    for partition in std::fs::read_dir(root)? {
        let partition = partition?;
        if partition.file_name() == INCOMING {
            continue;
        }
        for folder in std::fs::read_dir(partition.path())? {
            let folder = folder?;
            let id = format!("{}-{}", partition.file_name().display(), folder.file_name().display());
            let Ok(id) = id.parse::<RunId>() else { continue };
            let beyond = found.len() >= limit && found.last().is_some_and(|last| id > *last);
            if beyond || after.is_some_and(|after| id <= after) {
                continue;
            }
            // A folder that went meanwhile is nobody's orphan.
            if folder.metadata().and_then(|found| found.modified()).is_ok_and(|at| at <= oldest) {
                found.insert(id);
            }
            if found.len() > limit {
                found.pop_last();
            }
        }
    }
    Ok(found.into_iter().collect())
}

fn failed(path: &Path, error: io::Error) -> JournalError {
    StoreError::io(path, error).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime_context::blobs::contract;

    async fn fresh() -> Option<(Arc<dyn BlobStore>, tempfile::TempDir)> {
        let dir = tempfile::tempdir().unwrap();
        Some((Arc::new(BlobFiles::open(dir.path()).await.unwrap()), dir))
    }

    contract::every_case!(fresh);

    #[tokio::test]
    async fn a_start_removes_what_a_crash_left() {
        let dir = tempfile::tempdir().unwrap();
        let files = BlobFiles::open(dir.path()).await.unwrap();
        let incoming = files.receive(contract::run(), Digest::of(b"a")).await.unwrap();
        std::mem::forget(incoming);
        BlobFiles::open(dir.path()).await.unwrap();
        assert_eq!(std::fs::read_dir(dir.path().join(INCOMING)).unwrap().count(), 0);
    }
}
