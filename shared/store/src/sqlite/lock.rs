//! One process per file.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::StoreError;

/// The lock on a store file: `<file>.lock`, locked by the kernel, so that it goes with its process,
/// however that ends. The file holds the owner's process id for the error of the next one. It is never
/// removed: a lock on a removed file would let two processes in.
///
/// A lock file beside the store, because closing any descriptor of the store itself would drop the
/// locks that SQLite holds on it.
#[derive(Debug)]
pub(super) struct FileLock(File);

impl FileLock {
    pub(super) fn acquire(store: &Path, setting_name: &str) -> Result<Self, StoreError> {
        let path = lock_path(store);
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&path).map_err(|error| StoreError::io(&path, error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // Only for the message: an unreadable id is an unknown one.
                let pid = file
                    .read_to_string(&mut text)
                    .ok()
                    .and_then(|_| text.lines().next()?.trim().parse().ok());
                let setting_name = setting_name.to_owned();
                return Err(StoreError::Locked { file: store.to_path_buf(), pid, setting_name });
            }
            Err(TryLockError::Error(error)) => return Err(StoreError::io(&path, error)),
        }
        write_pid(&mut file).map_err(|error| StoreError::io(&path, error))?;
        Ok(Self(file))
    }
}

fn write_pid(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn lock_path(store: &Path) -> PathBuf {
    let mut name = store.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // A stale id would accuse the wrong process; the kernel releases the lock with the descriptor.
        if let Err(error) = self.0.set_len(0) {
            tracing::debug!(%error, "could not clear the lock file");
        }
    }
}
