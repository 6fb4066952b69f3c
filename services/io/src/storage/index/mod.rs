//! Where it is written what files there are: one row a file, with everything that is true of it. One folder per
//! database behind one trait.

mod plan;
mod postgres;
mod sqlite;

#[cfg(test)]
pub(crate) mod contract;

use std::time::Duration;

use async_trait::async_trait;

pub use postgres::{PG_SESSION, PostgresIndex};
pub(crate) use postgres::{Tries, transact, usage as usage_pg};
pub use sqlite::SqliteIndex;

use super::metadata::Metadata;
use super::name::{FileName, FolderName};
use super::upload::Upload;
use crate::basis::{Basis, Condition, Recorder};
use crate::clock::Millis;
use crate::error::IoError;
use crate::usage::{Kind, Quota};

/// A file's row.
#[derive(Debug, Clone, PartialEq)]
pub struct FileRow {
    /// Its full name.
    pub name: String,
    /// Its team.
    pub team: String,
    /// Version; fresh with every change, never used again.
    pub etag: String,
    /// Media type.
    pub mimetype: String,
    /// Size.
    pub size_bytes: i64,
    /// `b3:` and 64 hex digits.
    pub digest: String,
    /// Key of its bytes.
    pub object: String,
    /// The instance of the backend that has them.
    pub instance: String,
    /// Its access list.
    pub acl: String,
    /// What its writers say of it.
    pub metadata: Metadata,
    /// When it was created.
    pub created_ms: Millis,
    /// When it was last changed.
    pub updated_ms: Millis,
    /// When it ends to exist.
    pub expires_ms: Option<Millis>,
}

impl FileRow {
    /// Whether it still exists at this time. An expired row is as good as none, swept or not.
    pub fn is_live(&self, now: Millis) -> bool {
        self.expires_ms.is_none_or(|expires| now < expires)
    }
}

/// A write that waits to be committed.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The file.
    pub name: FileName,
    /// Its bytes.
    pub upload: Upload,
    /// Over which version.
    pub condition: Condition,
    /// What the right to write was decided on.
    pub basis: Basis,
    /// The access list of a new file.
    pub acl_when_new: String,
    /// The access list to replace an existing file's with.
    pub acl_when_there: Option<String>,
    /// What is said of the file.
    pub metadata: Metadata,
    /// How long it lives; for ever where absent.
    pub time_to_live: Option<Duration>,
}

/// A file to be deleted.
#[derive(Debug, Clone)]
pub struct Deletion {
    /// The file.
    pub name: FileName,
    /// What the right to delete was decided on.
    pub basis: Basis,
    /// Which version.
    pub condition: Condition,
}

/// A change of what is said of a file.
#[derive(Debug, Clone)]
pub struct Update {
    /// The file.
    pub name: FileName,
    /// What the right to write was decided on.
    pub basis: Basis,
    /// Over which version.
    pub condition: Condition,
    /// Entries to be set.
    pub set: Metadata,
    /// Keys to be removed.
    pub remove: Vec<String>,
    /// The new media type.
    pub mimetype: Option<String>,
    /// The new expiry.
    pub expiry: Expiry,
}

/// What becomes of an expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// It stays.
    Keep,
    /// None any more.
    Never,
    /// So long from now.
    After(Duration),
}

/// Bytes that no row names: those of writes in progress, and those of files that were replaced or deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stray {
    /// Their key.
    pub object: String,
    /// The instance that has them.
    pub instance: String,
    /// What the backend calls the unfinished write, where it does.
    pub unfinished: Option<String>,
}

/// The index. Every write is one transaction, durable when its future is ready, and brings the audit record of
/// the change with it. Times are the caller's: `now` decides what has expired.
///
/// **Decisions** are made outside of transactions; each write checks that the access list is still the one that
/// was decided on, and is [`IoError::AclChanged`] where it is not (H33).
///
/// **Strays**: bytes are noted before the first of them is written, and a commit adopts them. What was condemned
/// cannot be adopted any more, so a row never names bytes that the sweeper takes. Replaced and deleted bytes
/// become strays in the transaction that lets go of them.
///
/// An index is right when it passes `contract::every_case`.
#[async_trait]
pub trait FileIndex: Send + Sync + 'static {
    /// The row of a name, expired or not.
    async fn find(&self, name: &FileName) -> Result<Option<FileRow>, IoError>;

    /// Live rows below a folder whose path begins with `prefix`, by name, after `after`.
    async fn below(
        &self,
        folder: &FolderName,
        prefix: &str,
        after: &str,
        now: Millis,
        limit: u32,
    ) -> Result<Vec<FileRow>, IoError>;

    /// Makes a file of noted bytes. The bytes it replaces are due after `grace`.
    async fn commit(&self, commit: Commit, at: At, record: Recorder) -> Result<FileRow, IoError>;

    /// Deletes files, all or none, and gives how many were there. A missing one is [`IoError::NotFound`] where
    /// its basis is a row.
    async fn delete(&self, files: Vec<Deletion>, at: At, record: Recorder) -> Result<usize, IoError>;

    /// Replaces a file's access list.
    async fn set_acl(
        &self,
        name: &FileName,
        basis: Basis,
        acl: String,
        at: At,
        record: Recorder,
    ) -> Result<(), IoError>;

    /// Changes what is said of a file; its version changes with it.
    async fn update(&self, update: Update, at: At, record: Recorder) -> Result<FileRow, IoError>;

    /// Notes bytes that are to be removed when due, unless a row adopts them before. Noted again, only what the
    /// backend calls the write changes.
    async fn note(&self, stray: Stray, due: Millis) -> Result<(), IoError>;

    /// Sets when bytes are due, if they are still stray: after a commit whose outcome is uncertain a row may name
    /// them.
    async fn due_at(&self, object: &str, due: Millis) -> Result<(), IoError>;

    /// Condemns strays that are due, longest first, and gives them; those condemned before, too.
    async fn condemn(&self, now: Millis, limit: u32) -> Result<Vec<Stray>, IoError>;

    /// Forgets strays that are gone.
    async fn forget(&self, objects: Vec<String>) -> Result<(), IoError>;

    /// Drops a batch of rows that have expired, and gives how many.
    async fn drop_expired(&self, at: At, limit: u32) -> Result<usize, IoError>;

    /// What the files of a holder amount to: how many, and their bytes. Holders are a team, [`Kind::Files`], and an
    /// agent, [`Kind::AgentFiles`].
    async fn used(&self, holder: &str, kind: Kind) -> Result<(i64, i64), IoError>;
}

/// The circumstances of a write.
#[derive(Debug, Clone, Copy)]
pub struct At {
    /// The time.
    pub now: Millis,
    /// When bytes that are let go of are due.
    pub due: Millis,
    /// How much the team may hold, and one agent of it.
    pub quotas: Quotas,
}

/// How much holders of files may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// A team.
    pub team: Quota,
    /// One agent.
    pub agent: Quota,
}
