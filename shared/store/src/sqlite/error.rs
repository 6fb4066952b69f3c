//! SQLite's errors as store errors.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{ErrorCode, ffi};

use crate::{ConstraintKind, StoreError};

thread_local! {
    /// The file whose closure runs on this thread: SQLite's errors do not name it, ours do, and the
    /// `?` inside a closure has nothing else to learn it from.
    static CURRENT_FILE: RefCell<Option<Arc<Path>>> = const { RefCell::new(None) };
}

/// Names the file for errors converted on this thread while the guard lives.
pub(super) struct FileScope(Option<Arc<Path>>);

impl FileScope {
    pub(super) fn enter(file: &Arc<Path>) -> Self {
        Self(CURRENT_FILE.with(|current| current.replace(Some(Arc::clone(file)))))
    }
}

impl Drop for FileScope {
    fn drop(&mut self) {
        CURRENT_FILE.with(|current| *current.borrow_mut() = self.0.take());
    }
}

fn current_file() -> PathBuf {
    CURRENT_FILE.with(|current| match current.borrow().as_deref() {
        Some(file) => file.to_path_buf(),
        None => PathBuf::from("(database)"),
    })
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error {
            rusqlite::Error::QueryReturnedNoRows => Self::NotFound,
            rusqlite::Error::SqliteFailure(code, message) => {
                from_code(code, message.unwrap_or_else(|| code.to_string()))
            }
            rusqlite::Error::SqlInputError { error, msg, .. } => from_code(error, msg),
            other => Self::backend(other.to_string()),
        }
    }
}

fn from_code(error: ffi::Error, message: String) -> StoreError {
    let io_error = |kind| StoreError::io(current_file(), io::Error::new(kind, message.clone()));
    match error.code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::OperationInterrupted => {
            StoreError::Busy { message }
        }
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
            StoreError::Corrupt { file: current_file(), message }
        }
        ErrorCode::ConstraintViolation => constraint(error.extended_code, &message),
        ErrorCode::DiskFull => io_error(io::ErrorKind::StorageFull),
        ErrorCode::PermissionDenied => io_error(io::ErrorKind::PermissionDenied),
        ErrorCode::ReadOnly => io_error(io::ErrorKind::ReadOnlyFilesystem),
        ErrorCode::SystemIoFailure
        | ErrorCode::CannotOpen
        | ErrorCode::FileLockingProtocolFailed
        | ErrorCode::NoLargeFileSupport => io_error(io::ErrorKind::Other),
        _ => StoreError::Backend { message },
    }
}

fn constraint(extended_code: i32, message: &str) -> StoreError {
    let kind = match extended_code {
        ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID => {
            ConstraintKind::Unique
        }
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => ConstraintKind::ForeignKey,
        ffi::SQLITE_CONSTRAINT_NOTNULL => ConstraintKind::NotNull,
        _ => ConstraintKind::Check,
    };
    // "UNIQUE constraint failed: t.a, t.b"; a foreign key gives no name, a trigger its own words.
    let name = match message.split_once(" constraint failed") {
        Some((_, rest)) => rest.trim_start_matches(':').trim(),
        None => message,
    };
    StoreError::Constraint { kind, name: name.to_owned() }
}
