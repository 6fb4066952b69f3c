//! Opening connections to one file.

use std::fs::File;
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::options::{OpenOptions, Synchronous};
use crate::StoreError;

/// Statements kept prepared per connection. A service has some dozens.
const STATEMENT_CACHE: usize = 256;
/// Pages (4 KiB) in the log before a commit moves them into the file. More than SQLite's 1000, as
/// group commit fills the log faster and each move waits for the disk twice.
const CHECKPOINT_PAGES: u32 = 4000;
/// Kibibytes of pages that the writer keeps in memory. More than SQLite's 2000, so that the pages of a large group
/// stay there until its commit; little enough not to be felt in the process.
const WRITER_CACHE_KIB: i32 = 8 * 1024;
/// Bytes that the log keeps on disk after it was moved.
const LOG_SIZE_LIMIT: u32 = 64 * 1024 * 1024;

/// Creates the folder and an empty file readable by its owner alone, and gives the file's real path,
/// so that the lock is the same under every name of the folder.
pub(super) fn prepare_file(path: &Path) -> Result<PathBuf, StoreError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(folder).map_err(|error| StoreError::io(folder, error))?;
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).and_then(|file| file.sync_all()).map_err(|error| StoreError::io(path, error))?;
    sync_folder(folder)?;
    path.canonicalize().map_err(|error| StoreError::io(path, error))
}

/// Makes a created or renamed entry of `folder` survive a power cut.
pub(super) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    // Other systems do not open folders as files.
    if cfg!(unix) {
        File::open(folder).and_then(|file| file.sync_all()).map_err(|error| StoreError::io(folder, error))?;
    }
    Ok(())
}

/// The one connection that writes.
pub(super) fn open_writer(path: &Path, options: &OpenOptions) -> Result<Connection, StoreError> {
    let conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    settings(&conn, options)?;
    let mode: String = conn.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    if mode != "wal" {
        return Err(StoreError::backend(format!(
            "{}: the file system allows no write-ahead log (journal mode {mode}): put {} on a local disk",
            path.display(),
            options.setting_name,
        )));
    }
    let synchronous = match options.synchronous {
        Synchronous::Full => "full",
        Synchronous::Normal => "normal",
    };
    conn.pragma_update(None, "synchronous", synchronous)?;
    // Negative: in kibibytes, not pages.
    conn.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    conn.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    conn.pragma_update(None, "journal_size_limit", LOG_SIZE_LIMIT)?;
    conn.pragma_update(None, "foreign_keys", "on")?;
    Ok(conn)
}

/// A connection that can only read.
pub(super) fn open_reader(path: &Path, options: &OpenOptions) -> Result<Connection, StoreError> {
    let conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    settings(&conn, options)?;
    Ok(conn)
}

fn settings(conn: &Connection, options: &OpenOptions) -> Result<(), StoreError> {
    conn.busy_timeout(options.busy_timeout)?;
    conn.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
    // A plan does not depend on the values bound. Otherwise SQLite compiles a kept statement anew for each value
    // that might fit a partial index, which costs more than running it.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // Keeps the undo pages of savepoints off the disk.
    conn.pragma_update(None, "temp_store", "memory")?;
    Ok(())
}
