//! Payloads of runs: files, so that large contents neither pass through the store's one writer nor swell
//! its log. `<root>/<pp>/<uuid>/<digest>`; a folder goes with its run.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use sre_store::StoreError;
use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt as _;

use super::error::JournalError;
use super::ids::{Digest, RunId};
use super::model::Blob;

const INCOMING: &str = "incoming";

/// The payloads of all runs.
#[derive(Debug, Clone)]
pub struct Blobs {
    root: Arc<Path>,
    limit_bytes: u64,
}

impl Blobs {
    /// Opens the folder, creating it, and removes uploads that a crash left unfinished.
    pub async fn open(root: &Path, limit_bytes: u64) -> Result<Self, JournalError> {
        let incoming = root.join(INCOMING);
        match fs::remove_dir_all(&incoming).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&incoming, error)),
            _ => {}
        }
        fs::create_dir_all(&incoming).await.map_err(|error| failed(&incoming, error))?;
        Ok(Self { root: root.into(), limit_bytes })
    }

    /// Starts an upload.
    pub async fn upload(&self, run: RunId, digest: Digest) -> Result<Upload, JournalError> {
        let path = self.root.join(INCOMING).join(sre_proto::ids::new_uuid().to_string());
        let file = File::create_new(&path).await.map_err(|error| failed(&path, error))?;
        let hasher = Box::new(blake3::Hasher::new());
        Ok(Upload { blobs: self.clone(), run, digest, file, incoming: Incoming(path), hasher, size_bytes: 0 })
    }

    /// Whether the run has this payload.
    pub async fn contains(&self, run: RunId, blob: Blob) -> Result<bool, JournalError> {
        let path = self.path(run, blob.digest);
        match fs::metadata(&path).await {
            Ok(found) => Ok(i64::try_from(found.len()).is_ok_and(|size| size == blob.size_bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(failed(&path, error)),
        }
    }

    /// Opens a payload for reading.
    pub async fn read(&self, run: RunId, digest: Digest) -> Result<File, JournalError> {
        let path = self.path(run, digest);
        match File::open(&path).await {
            Ok(file) => Ok(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(JournalError::BlobNotFound),
            Err(error) => Err(failed(&path, error)),
        }
    }

    /// Removes a run's payloads. Repeating it does nothing.
    pub async fn remove(&self, run: RunId) -> Result<(), JournalError> {
        let folder = self.folder(run);
        match fs::remove_dir_all(&folder).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&folder, error)),
            _ => Ok(()),
        }
    }

    /// Runs with payloads that were not written to for `age`, `limit` of them.
    pub async fn untouched(&self, age: Duration, limit: usize) -> Result<Vec<RunId>, JournalError> {
        let root = Arc::clone(&self.root);
        let listing = tokio::task::spawn_blocking(move || list_untouched(&root, age, limit)).await;
        match listing {
            Ok(result) => result.map_err(|error| failed(&self.root, error)),
            Err(error) => Err(StoreError::backend(error.to_string()).into()),
        }
    }

    fn folder(&self, run: RunId) -> PathBuf {
        self.root.join(format!("{:02x}", run.partition)).join(run.uuid.to_string())
    }

    fn path(&self, run: RunId, digest: Digest) -> PathBuf {
        self.folder(run).join(digest.hex())
    }
}

/// A payload on its way in. Dropped unfinished, it leaves nothing.
#[derive(Debug)]
pub struct Upload {
    blobs: Blobs,
    run: RunId,
    digest: Digest,
    file: File,
    incoming: Incoming,
    hasher: Box<blake3::Hasher>,
    size_bytes: u64,
}

impl Upload {
    /// Takes the next bytes.
    pub async fn write(&mut self, data: Bytes) -> Result<(), JournalError> {
        self.size_bytes += data.len() as u64;
        if self.size_bytes > self.blobs.limit_bytes {
            return Err(JournalError::TooLarge {
                field: "data",
                limit_bytes: self.blobs.limit_bytes,
                advice: "store it as a file and name it by reference",
            });
        }
        self.hasher.update(&data);
        self.file.write_all(&data).await.map_err(|error| failed(&self.incoming.0, error))
    }

    /// Checks the digest and makes the payload durable.
    pub async fn finish(mut self) -> Result<Blob, JournalError> {
        let digest = Digest(*self.hasher.finalize().as_bytes());
        if digest != self.digest {
            return Err(JournalError::invalid("digest", format!("the content's digest is {digest}")));
        }
        let incoming = &self.incoming.0;
        self.file.flush().await.map_err(|error| failed(incoming, error))?;
        self.file.sync_all().await.map_err(|error| failed(incoming, error))?;
        let folder = self.blobs.folder(self.run);
        fs::create_dir_all(&folder).await.map_err(|error| failed(&folder, error))?;
        let path = self.blobs.path(self.run, self.digest);
        fs::rename(incoming, &path).await.map_err(|error| failed(&path, error))?;
        // The entry, and those of folders that may be new, must survive a power cut too.
        for folder in path.ancestors().skip(1).take(3) {
            sync_folder(folder).await.map_err(|error| failed(folder, error))?;
        }
        Ok(Blob { digest, size_bytes: i64::try_from(self.size_bytes).unwrap_or(i64::MAX) })
    }
}

/// The file of an unfinished upload.
#[derive(Debug)]
struct Incoming(PathBuf);

impl Drop for Incoming {
    fn drop(&mut self) {
        // Moved away where the upload finished; what a crash leaves is removed at the next start.
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder).await?.sync_all().await } else { Ok(()) }
}

fn list_untouched(root: &Path, age: Duration, limit: usize) -> io::Result<Vec<RunId>> {
    let mut found = Vec::new();
    let oldest = SystemTime::now().checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
    for partition in std::fs::read_dir(root)? {
        let partition = partition?;
        if partition.file_name() == INCOMING {
            continue;
        }
        for folder in std::fs::read_dir(partition.path())? {
            let folder = folder?;
            let id = format!("{}-{}", partition.file_name().display(), folder.file_name().display());
            let Ok(id) = id.parse::<RunId>() else { continue };
            if folder.metadata()?.modified()? <= oldest {
                found.push(id);
            }
            if found.len() >= limit {
                return Ok(found);
            }
        }
    }
    Ok(found)
}

fn failed(path: &Path, error: io::Error) -> JournalError {
    StoreError::io(path, error).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> RunId {
        sre_proto::ids::new_id().parse().unwrap()
    }

    async fn put(blobs: &Blobs, run: RunId, content: &'static [u8]) -> Result<Blob, JournalError> {
        let mut upload = blobs.upload(run, Digest::of(content)).await?;
        for piece in content.chunks(3) {
            upload.write(Bytes::from_static(piece)).await?;
        }
        upload.finish().await
    }

    #[tokio::test]
    async fn a_payload_is_there_until_its_run_goes() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path(), 1000).await.unwrap();
        let run = run();
        let blob = put(&blobs, run, b"hello world").await.unwrap();
        assert_eq!(blob.size_bytes, 11);
        // Once more is the same.
        assert_eq!(put(&blobs, run, b"hello world").await.unwrap(), blob);
        assert!(blobs.contains(run, blob).await.unwrap());
        assert!(!blobs.contains(run, Blob { size_bytes: 12, ..blob }).await.unwrap());
        assert_eq!(blobs.untouched(Duration::ZERO, 10).await.unwrap(), [run]);
        assert!(blobs.untouched(Duration::from_secs(60), 10).await.unwrap().is_empty());
        blobs.remove(run).await.unwrap();
        blobs.remove(run).await.unwrap();
        assert!(matches!(blobs.read(run, blob.digest).await, Err(JournalError::BlobNotFound)));
    }

    #[tokio::test]
    async fn wrong_and_large_contents_leave_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path(), 10).await.unwrap();
        let mut upload = blobs.upload(run(), Digest::of(b"a")).await.unwrap();
        upload.write(Bytes::from_static(b"b")).await.unwrap();
        assert!(matches!(upload.finish().await, Err(JournalError::Invalid { field: "digest", .. })));
        assert!(matches!(put(&blobs, run(), b"hello world").await, Err(JournalError::TooLarge { .. })));
        assert_eq!(std::fs::read_dir(dir.path().join(INCOMING)).unwrap().count(), 0);
        assert!(blobs.untouched(Duration::ZERO, 10).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_start_removes_what_a_crash_left() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path(), 10).await.unwrap();
        let upload = blobs.upload(run(), Digest::of(b"a")).await.unwrap();
        std::mem::forget(upload);
        Blobs::open(dir.path(), 10).await.unwrap();
        assert_eq!(std::fs::read_dir(dir.path().join(INCOMING)).unwrap().count(), 0);
    }
}
