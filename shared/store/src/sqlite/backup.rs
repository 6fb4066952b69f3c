//! A copy of a running store.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::connection::sync_folder;
use super::error::FileScope;
use crate::StoreError;

/// How long a snapshot waits for a process that recovers the store after a crash.
const BUSY: Duration = Duration::from_secs(10);

/// Copies a store that another process may be working on, as committed now, to a new file that appears when it is
/// whole. It takes no lock of the store's, writes nothing into it, and its process goes on meanwhile. Blocks for as
/// long as copying takes.
pub fn snapshot(from: &Path, to: &Path) -> Result<(), StoreError> {
    let _scope = FileScope::enter(&from.into());
    // Reading the log of a store needs its index beside it, which SQLite makes for those who could write.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let source = Connection::open_with_flags(from, flags)?;
    source.busy_timeout(BUSY)?;
    source.pragma_update(None, "query_only", "on")?;
    copy(&source, to)
}

/// Copies what `from` sees to the new file `to`, which appears only when it is whole and on disk.
pub(super) fn copy(from: &Connection, to: &Path) -> Result<(), StoreError> {
    let at = |path: &Path, error: std::io::Error| StoreError::io(path, error);
    let folder = match to.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(folder).map_err(|error| at(folder, error))?;
    if to.exists() {
        return Err(at(to, std::io::ErrorKind::AlreadyExists.into()));
    }
    let partial = Partial::create(to)?;
    let _scope = FileScope::enter(&partial.0.as_path().into());
    let mut target = Connection::open(&partial.0)?;
    // One step: it reads one snapshot and the writer goes on meanwhile. Several steps would start
    // again at each commit.
    let step = Backup::new(from, &mut target)?.step(-1)?;
    if !matches!(step, StepResult::Done) {
        return Err(StoreError::Busy { message: "the store could not be read for its backup".to_owned() });
    }
    // A file of its own, without a log beside it.
    target.pragma_update_and_check(None, "journal_mode", "delete", |_| Ok(()))?;
    target.close().map_err(|(_, error)| error)?;
    File::open(&partial.0).and_then(|file| file.sync_all()).map_err(|error| at(&partial.0, error))?;
    std::fs::rename(&partial.0, to).map_err(|error| at(to, error))?;
    sync_folder(folder)
}

/// The file while it grows; removed unless it was renamed.
struct Partial(PathBuf);

impl Partial {
    fn create(to: &Path) -> Result<Self, StoreError> {
        let mut name = to.as_os_str().to_owned();
        name.push(".partial");
        let path = PathBuf::from(name);
        let mut options = File::options();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&path).map_err(|error| StoreError::io(&path, error))?;
        Ok(Self(path))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Gone already after success.
        drop(std::fs::remove_file(&self.0));
    }
}
