//! The closed list of what can go wrong in a store, whatever the backend.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// An error of a store. Cheap to clone, because one failed commit answers every caller of its group.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The queue stayed full, or no connection came free in time. Nothing was done.
    #[error("{store} is overloaded: no room within {} ms, try again later", waited.as_millis())]
    Overloaded {
        /// The file or database.
        store: String,
        /// How long the caller waited.
        waited: Duration,
    },
    /// Another transaction was in the way, or a statement took too long; the same call may succeed.
    #[error("store is busy: {message}, try again")]
    Busy {
        /// What the backend said.
        message: String,
    },
    /// The database cannot be reached, stopped, or gave no answer in time. Whether a write that was under way
    /// took place is not known: read before repeating it.
    #[error("the database is not available: {message}, try again")]
    Unavailable {
        /// What happened.
        message: String,
    },
    /// Another process, or this one, holds the file.
    #[error(
        "store file {} is in use by {}: stop it, or set {setting_name} to a folder of its own",
        file.display(),
        Holder(*pid)
    )]
    Locked {
        /// The store file.
        file: PathBuf,
        /// The process that holds it, when it wrote its id.
        pid: Option<u32>,
        /// The setting that moves the file elsewhere.
        setting_name: String,
    },
    /// The file is not a database, or damaged.
    #[error("store file {} is damaged ({message}): restore it from a backup", file.display())]
    Corrupt {
        /// The store file.
        file: PathBuf,
        /// What SQLite said.
        message: String,
    },
    /// A declared constraint refused the change.
    #[error("{kind} constraint {name} refuses the change")]
    Constraint {
        /// Which kind of constraint.
        kind: ConstraintKind,
        /// PostgreSQL: the constraint's name. SQLite: `table.column, ..`, the check's name, or empty.
        name: String,
    },
    /// A query that must give one row gave none.
    #[error("no such row")]
    NotFound,
    /// The schema cannot be brought to what this binary needs, or is newer than it can use.
    #[error("migration of {store}: {message}")]
    Migration {
        /// The file or database.
        store: String,
        /// What is wrong and what to do.
        message: String,
    },
    /// The operating system refused. After a failed commit the outcome is uncertain.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder concerned.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// The store is closed, or closing.
    #[error("store is closed")]
    Closed,
    /// Anything else: a wrong statement, a panic in the caller's closure.
    #[error("store: {message}")]
    Backend {
        /// What happened.
        message: String,
    },
}

/// [`StoreError`] without its data, for tables that map errors to codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// See [`StoreError::Overloaded`].
    Overloaded,
    /// See [`StoreError::Busy`].
    Busy,
    /// See [`StoreError::Unavailable`].
    Unavailable,
    /// See [`StoreError::Locked`].
    Locked,
    /// See [`StoreError::Corrupt`].
    Corrupt,
    /// See [`StoreError::Constraint`].
    Constraint,
    /// See [`StoreError::NotFound`].
    NotFound,
    /// See [`StoreError::Migration`].
    Migration,
    /// See [`StoreError::Io`].
    Io,
    /// See [`StoreError::Closed`].
    Closed,
    /// See [`StoreError::Backend`].
    Backend,
}

/// Which kind of constraint refused a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConstraintKind {
    /// Unique or primary key: the row is already there.
    Unique,
    /// A row refers to one that is not there.
    ForeignKey,
    /// A check, an exclusion, a trigger or a strict column type.
    Check,
    /// A column that must have a value has none.
    NotNull,
}

impl std::fmt::Display for ConstraintKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unique => "unique",
            Self::ForeignKey => "foreign key",
            Self::Check => "check",
            Self::NotNull => "not null",
        })
    }
}

impl StoreError {
    /// An error of the file system at `path`.
    pub fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io { path: path.into(), source: Arc::new(source) }
    }

    /// Any other error, told in words.
    pub fn backend(message: impl Into<String>) -> Self {
        Self::Backend { message: message.into() }
    }

    pub(crate) fn migration(store: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Migration { store: store.into(), message: message.into() }
    }

    /// The kind alone.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Overloaded { .. } => ErrorKind::Overloaded,
            Self::Busy { .. } => ErrorKind::Busy,
            Self::Unavailable { .. } => ErrorKind::Unavailable,
            Self::Locked { .. } => ErrorKind::Locked,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::Constraint { .. } => ErrorKind::Constraint,
            Self::NotFound => ErrorKind::NotFound,
            Self::Migration { .. } => ErrorKind::Migration,
            Self::Io { .. } => ErrorKind::Io,
            Self::Closed => ErrorKind::Closed,
            Self::Backend { .. } => ErrorKind::Backend,
        }
    }

    /// True when nothing was done and the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind(), ErrorKind::Overloaded | ErrorKind::Busy)
    }

    /// True when a unique or primary key refused the change: the row is already there.
    pub fn is_duplicate(&self) -> bool {
        matches!(self, Self::Constraint { kind: ConstraintKind::Unique, .. })
    }
}

/// Words for the holder of a lock.
struct Holder(Option<u32>);

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(pid) if pid == std::process::id() => write!(f, "this process ({pid})"),
            Some(pid) => write!(f, "process {pid}"),
            None => f.write_str("another process"),
        }
    }
}
