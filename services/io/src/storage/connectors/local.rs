//! Objects in a local folder: `objects/<first two digits>/<key>`.
//!
//! Every path is opened beneath the root by `cap-std`, so that even a symbolic link put there by somebody else
//! cannot lead out of it.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, OpenOptions};
use schemars::JsonSchema;
use serde::Deserialize;
use sre_service::connectors::{Connector, Kind, Opening, Unhealthy};
use tokio::task::JoinHandle;

use super::{ByteRange, CHUNK_BYTES, ObjectError, ObjectKey, ObjectReader, ObjectStore, ObjectWriter};

/// What is read or written at once, and held in memory: two of them for each reader and each writer.
const PIECE_BYTES: usize = 1 << 20;

/// A folder of this machine.
pub(super) const KIND: Kind<dyn ObjectStore> =
    Kind { name: "local", open: |opening| Box::pin(open(opening)), check: Opening::check::<Settings> };

/// The settings of a local folder.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Settings {
    /// The folder; `objects` of the data folder where absent. It is made where it is missing (D19).
    folder: Option<PathBuf>,
}

async fn open(opening: Opening) -> anyhow::Result<Arc<dyn ObjectStore>> {
    let settings: Settings = opening.settings()?;
    let folder = opening.path(settings.folder.unwrap_or_else(|| PathBuf::from("objects")));
    let opened = tokio::task::spawn_blocking(move || {
        LocalObjects::open(&folder)
            .map_err(|error| anyhow::anyhow!("storage folder {}: {error}", folder.display()))
    });
    Ok(Arc::new(opened.await??))
}

/// The local backend.
#[derive(Debug, Clone)]
pub struct LocalObjects {
    root: Arc<Dir>,
    folder: PathBuf,
}

impl LocalObjects {
    /// Opens the folder, creating it when missing. Blocks for the time that takes; meant for the start.
    pub fn open(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let root = Dir::open_ambient_dir(folder, ambient_authority())?;
        Ok(Self { root: Arc::new(root), folder: folder.to_owned() })
    }

    /// Runs file system work where it may block.
    async fn blocking<T: Send + 'static>(
        &self,
        key: &ObjectKey,
        work: impl FnOnce(&Dir, &ObjectKey) -> io::Result<T> + Send + 'static,
    ) -> Result<T, ObjectError> {
        let (root, owned) = (Arc::clone(&self.root), key.clone());
        let joined = tokio::task::spawn_blocking(move || work(&root, &owned)).await;
        joined.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(|error| failed(key, error))
    }
}

#[async_trait]
impl Connector for LocalObjects {
    /// The folder that was opened must still be the one of that name: one that was moved or removed meanwhile can
    /// be written to, and nobody would find it at the next start.
    async fn check(&self) -> Result<(), Unhealthy> {
        let (root, folder) = (Arc::clone(&self.root), self.folder.clone());
        let looked = tokio::task::spawn_blocking(move || {
            let (open, named) = (root.dir_metadata()?, std::fs::metadata(&folder)?);
            Ok::<_, io::Error>(is_same(&open, &named))
        });
        match looked.await.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Unhealthy::new(format!("{} is another folder now", self.folder.display()))),
            Err(error) => Err(Unhealthy::new(format!("{}: {error}", self.folder.display()))),
        }
    }
}

#[cfg(unix)]
fn is_same(open: &cap_std::fs::Metadata, named: &std::fs::Metadata) -> bool {
    use cap_std::fs::MetadataExt as _;
    use std::os::unix::fs::MetadataExt as _;
    (open.dev(), open.ino()) == (named.dev(), named.ino())
}

#[cfg(not(unix))]
fn is_same(_open: &cap_std::fs::Metadata, named: &std::fs::Metadata) -> bool {
    named.is_dir()
}

#[async_trait]
impl ObjectStore for LocalObjects {
    async fn create(&self, key: &ObjectKey) -> Result<Box<dyn ObjectWriter>, ObjectError> {
        // While the first bytes are on their way.
        let file = self.blocking(key, begin).await?;
        Ok(Box::new(LocalWriter {
            store: self.clone(),
            key: key.clone(),
            gathered: Vec::new(),
            gathered_bytes: 0,
            file: Writing::Idle(file),
        }))
    }

    async fn open(&self, key: &ObjectKey, range: ByteRange) -> Result<Box<dyn ObjectReader>, ObjectError> {
        let (file, first) = self
            .blocking(key, move |root, key| {
                let mut file = root.open(whole(key))?;
                if range.offset_bytes > 0 {
                    file.seek(SeekFrom::Start(range.offset_bytes))?;
                }
                let first = read_piece(&mut file, range.length_bytes)?;
                Ok((file, first))
            })
            .await?;
        let left_bytes = range.length_bytes - first.len() as u64;
        let mut reader = LocalReader { key: key.clone(), left_bytes, piece: first, coming: None };
        reader.fetch(file);
        Ok(Box::new(reader))
    }

    async fn remove(&self, key: &ObjectKey, _unfinished: Option<&str>) -> Result<(), ObjectError> {
        self.blocking(key, |root, key| {
            for path in [partial(key), whole(key)] {
                match root.remove_file(path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            Ok(())
        })
        .await
    }
}

struct LocalWriter {
    store: LocalObjects,
    key: ObjectKey,
    gathered: Vec<Bytes>,
    gathered_bytes: usize,
    file: Writing,
}

/// One piece is written while the next one is gathered.
enum Writing {
    Idle(File),
    Busy(JoinHandle<io::Result<File>>),
    Failed,
}

impl LocalWriter {
    /// Has what was gathered written.
    async fn flush(&mut self) -> Result<(), ObjectError> {
        let gathered = std::mem::take(&mut self.gathered);
        self.gathered_bytes = 0;
        let mut file = self.file().await?;
        self.file = Writing::Busy(tokio::task::spawn_blocking(move || {
            for data in gathered {
                file.write_all(&data)?;
            }
            Ok(file)
        }));
        Ok(())
    }

    /// The file, when everything so far is written.
    async fn file(&mut self) -> Result<File, ObjectError> {
        let file = match std::mem::replace(&mut self.file, Writing::Failed) {
            Writing::Idle(file) => Ok(file),
            Writing::Busy(writing) => writing.await.unwrap_or_else(|error| Err(io::Error::other(error))),
            Writing::Failed => Err(io::Error::other("writing it failed before")),
        };
        file.map_err(|error| failed(&self.key, error))
    }
}

#[async_trait]
impl ObjectWriter for LocalWriter {
    async fn write(&mut self, data: Bytes) -> Result<(), ObjectError> {
        self.gathered_bytes += data.len();
        self.gathered.push(data);
        if self.gathered_bytes < PIECE_BYTES {
            return Ok(());
        }
        self.flush().await
    }

    async fn finish(mut self: Box<Self>) -> Result<(), ObjectError> {
        let (mut file, gathered) = (self.file().await?, std::mem::take(&mut self.gathered));
        let file = self.store.blocking(&self.key, move |root, key| {
            for data in gathered {
                file.write_all(&data)?;
            }
            root.rename(partial(key), root, whole(key))?;
            Ok(file)
        });
        let file = file.await?;
        // Content and name become durable together: no row names the object before both are, so it does not matter
        // which of them a power cut would lose.
        let content = self.store.blocking(&self.key, move |_, _| file.sync_all());
        let name = self.store.blocking(&self.key, |root, key| sync_dir(root, fan(key)));
        futures::try_join!(content, name).map(drop)
    }
}

/// Makes the file that an object is written to.
fn begin(root: &Dir, key: &ObjectKey) -> io::Result<File> {
    match root.create_dir(fan(key)) {
        // A new folder's own name must survive a power cut too.
        Ok(()) => sync_dir(root, ".")?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    root.open_with(partial(key), OpenOptions::new().write(true).create_new(true))
}

struct LocalReader {
    key: ObjectKey,
    left_bytes: u64,
    piece: Bytes,
    /// The next piece, read while this one is sent.
    coming: Option<JoinHandle<io::Result<(File, Bytes)>>>,
}

impl LocalReader {
    fn fetch(&mut self, mut file: File) {
        if self.left_bytes == 0 || self.piece.is_empty() {
            return;
        }
        let left_bytes = self.left_bytes;
        self.coming = Some(tokio::task::spawn_blocking(move || {
            let piece = read_piece(&mut file, left_bytes)?;
            Ok((file, piece))
        }));
    }
}

#[async_trait]
impl ObjectReader for LocalReader {
    async fn next(&mut self) -> Result<Option<Bytes>, ObjectError> {
        if self.piece.is_empty() {
            let Some(coming) = self.coming.take() else { return Ok(None) };
            let read = coming.await.unwrap_or_else(|error| Err(io::Error::other(error)));
            let (file, piece) = read.map_err(|error| failed(&self.key, error))?;
            self.left_bytes -= piece.len() as u64;
            self.piece = piece;
            self.fetch(file);
        }
        let chunk = self.piece.split_to(self.piece.len().min(CHUNK_BYTES));
        Ok((!chunk.is_empty()).then_some(chunk))
    }
}

/// Reads on, a piece at most; empty at the end.
fn read_piece(file: &mut File, left_bytes: u64) -> io::Result<Bytes> {
    let wanted = left_bytes.min(PIECE_BYTES as u64);
    let mut piece = Vec::with_capacity(usize::try_from(wanted).unwrap_or(PIECE_BYTES));
    file.take(wanted).read_to_end(&mut piece)?;
    Ok(piece.into())
}

fn fan(key: &ObjectKey) -> &str {
    &key.as_str()[..2]
}

fn whole(key: &ObjectKey) -> String {
    format!("{}/{}", fan(key), key.as_str())
}

fn partial(key: &ObjectKey) -> String {
    format!("{}/{}.part", fan(key), key.as_str())
}

fn sync_dir(root: &Dir, path: &str) -> io::Result<()> {
    root.open(path)?.sync_all()
}

fn failed(key: &ObjectKey, error: io::Error) -> ObjectError {
    let key = key.as_str().to_owned();
    if error.kind() == io::ErrorKind::NotFound {
        return ObjectError::NotFound(key);
    }
    ObjectError::Io { key, source: Arc::new(error) }
}
