//! Objects in a local folder: `objects/<first two digits>/<key>`.
//!
//! Every path is opened beneath the root by `cap-std`, so that even a symbolic link put there by somebody else
//! cannot lead out of it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt, SeekFrom};

use super::{ByteRange, CHUNK_BYTES, ObjectError, ObjectKey, ObjectReader, ObjectStore, ObjectWriter};

/// The local backend.
#[derive(Debug, Clone)]
pub struct LocalObjects {
    root: Arc<Dir>,
}

impl LocalObjects {
    /// Opens the folder, creating it when missing. Blocks for the time that takes; meant for the start.
    pub fn open(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let root = Dir::open_ambient_dir(folder, ambient_authority())?;
        Ok(Self { root: Arc::new(root) })
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
impl ObjectStore for LocalObjects {
    async fn create(&self, key: &ObjectKey) -> Result<Box<dyn ObjectWriter>, ObjectError> {
        let file = self
            .blocking(key, |root, key| {
                match root.create_dir(fan(key)) {
                    // A new folder's own name must survive a power cut too.
                    Ok(()) => sync_dir(root, ".")?,
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    Err(error) => return Err(error),
                }
                root.open_with(partial(key), OpenOptions::new().write(true).create_new(true))
            })
            .await?;
        let mut file = File::from_std(file.into_std());
        file.set_max_buf_size(CHUNK_BYTES);
        Ok(Box::new(LocalWriter { store: self.clone(), key: key.clone(), file }))
    }

    async fn open(&self, key: &ObjectKey, range: ByteRange) -> Result<Box<dyn ObjectReader>, ObjectError> {
        let file = self.blocking(key, |root, key| root.open(whole(key))).await?;
        let mut file = File::from_std(file.into_std());
        file.set_max_buf_size(CHUNK_BYTES);
        if range.offset_bytes > 0 {
            file.seek(SeekFrom::Start(range.offset_bytes)).await.map_err(|error| failed(key, error))?;
        }
        Ok(Box::new(LocalReader { key: key.clone(), file, left_bytes: range.length_bytes }))
    }

    async fn remove(&self, key: &ObjectKey) -> Result<(), ObjectError> {
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
    file: File,
}

#[async_trait]
impl ObjectWriter for LocalWriter {
    async fn write(&mut self, data: Bytes) -> Result<(), ObjectError> {
        self.file.write_all(&data).await.map_err(|error| failed(&self.key, error))
    }

    async fn finish(mut self: Box<Self>) -> Result<(), ObjectError> {
        let flushed = async {
            self.file.flush().await?;
            self.file.sync_all().await
        };
        flushed.await.map_err(|error| failed(&self.key, error))?;
        self.store
            .blocking(&self.key, |root, key| {
                root.rename(partial(key), root, whole(key))?;
                sync_dir(root, fan(key))
            })
            .await
    }
}

struct LocalReader {
    key: ObjectKey,
    file: File,
    left_bytes: u64,
}

#[async_trait]
impl ObjectReader for LocalReader {
    async fn next(&mut self) -> Result<Option<Bytes>, ObjectError> {
        let wanted = usize::try_from(self.left_bytes).unwrap_or(usize::MAX).min(CHUNK_BYTES);
        if wanted == 0 {
            return Ok(None);
        }
        let mut chunk = BytesMut::with_capacity(wanted);
        while chunk.len() < wanted {
            let mut rest = (&mut self.file).take((wanted - chunk.len()) as u64);
            if rest.read_buf(&mut chunk).await.map_err(|error| failed(&self.key, error))? == 0 {
                break;
            }
        }
        self.left_bytes -= chunk.len() as u64;
        Ok((!chunk.is_empty()).then(|| chunk.freeze()))
    }
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
