//! Files: an index of rows in the store, and immutable bytes in a backend.
//!
//! Bytes are written first, under a fresh key; then one transaction makes the row name them. Nothing ever
//! changes bytes that a row names, so a reader sees one version from begin to end.

pub mod connectors;
mod index;
mod message;
mod mimetype;
mod name;
mod service;
#[cfg(test)]
mod service_tests;
mod stray;
mod stream;
mod sweeper;
#[cfg(test)]
mod tests;
mod upload;
pub mod uri;

use std::sync::Arc;
use std::time::Duration;

use sre_store::Store;

pub use index::FileRow;
pub use mimetype::is_valid as is_mimetype;
pub use name::{FileName, FolderName, NameError, Owner, Scope};
pub use service::StorageService;
pub use upload::{Source, Upload};

use crate::basis::{Basis, Condition, Record};
use crate::clock::{Clock, Millis, millis};
use crate::error::IoError;
use crate::usage::{self, Change, Kind, Outcome, Quota};
use connectors::{ByteRange, ObjectKey, ObjectReader, ObjectStore};

/// The most bytes of one file.
pub const MAX_FILE_BYTES: u64 = 1 << 30;
/// What a team's files may amount to.
pub const TEAM_QUOTA: Quota = Quota { items: 1_000_000, bytes: 20 << 30 };
/// How long an upload may take; afterwards its bytes are swept.
const UPLOAD_TIME: Duration = Duration::from_secs(3600);
/// How long replaced bytes stay, for readers that have the row and not yet the bytes.
const GRACE: Duration = Duration::from_secs(60);

/// The files of all teams.
#[derive(Clone)]
pub struct Files {
    store: Store,
    objects: Arc<dyn ObjectStore>,
    clock: Clock,
    quota: Quota,
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
    /// How long it lives; for ever where absent.
    pub time_to_live: Option<Duration>,
}

impl Files {
    /// Files over a store and a backend.
    pub fn new(store: Store, objects: Arc<dyn ObjectStore>, clock: Clock) -> Self {
        Self { store, objects, clock, quota: TEAM_QUOTA }
    }

    /// The row of a file that exists now.
    pub async fn find(&self, name: &FileName) -> Result<Option<FileRow>, IoError> {
        let (name, now) = (name.clone(), self.clock.now());
        Ok(self.store.read(move |conn| index::find(conn, &name)).await?.filter(|row| row.is_live(now)))
    }

    /// Some rows below a folder, by name, after `after`.
    pub async fn below(
        &self,
        folder: &FolderName,
        after: String,
        limit: u32,
    ) -> Result<Vec<FileRow>, IoError> {
        let (folder, now) = (folder.clone(), self.clock.now());
        Ok(self.store.read(move |conn| index::below(conn, &folder, &after, now, limit)).await?)
    }

    /// Opens the bytes of a row.
    pub async fn open(&self, row: &FileRow, range: ByteRange) -> Result<Box<dyn ObjectReader>, IoError> {
        Ok(self.objects.open(&object_key(row)?, range).await?)
    }

    /// Makes a file of uploaded bytes, in one transaction with everything that is true of it.
    pub async fn commit(&self, commit: Commit, record: Record) -> Result<FileRow, IoError> {
        let (now, quota) = (self.clock.now(), self.quota);
        self.store.try_write(move |tx| commit_upload(tx, commit, record, now, quota)).await
    }

    /// Deletes a file.
    pub async fn delete(
        &self,
        name: &FileName,
        basis: Basis,
        condition: Condition,
        record: Record,
    ) -> Result<(), IoError> {
        let (name, now) = (name.clone(), self.clock.now());
        self.store
            .try_write(move |tx| {
                let row = live_row(tx, &name, &basis, now)?;
                let row = row.ok_or_else(|| IoError::NotFound(name.to_string()))?;
                condition.check(Some(&row.etag))?;
                drop_row(tx, &row, now)?;
                Ok(record(tx)?)
            })
            .await
    }

    /// Replaces a file's access list.
    pub async fn set_acl(
        &self,
        name: &FileName,
        basis: Basis,
        acl: String,
        record: Record,
    ) -> Result<(), IoError> {
        let (name, now) = (name.clone(), self.clock.now());
        self.store
            .try_write(move |tx| {
                let row = live_row(tx, &name, &basis, now)?;
                let row = row.ok_or_else(|| IoError::NotFound(name.to_string()))?;
                index::set_acl(tx, &row.name, &acl)?;
                Ok(record(tx)?)
            })
            .await
    }
}

fn commit_upload(
    tx: &rusqlite::Connection,
    commit: Commit,
    record: Record,
    now: Millis,
    quota: Quota,
) -> Result<FileRow, IoError> {
    let live = live_row(tx, &commit.name, &commit.basis, now)?;
    commit.condition.check(live.as_ref().map(|row| row.etag.as_str()))?;
    // An expired row that was not swept yet still counts; replacing it takes its place.
    let before = index::find(tx, &commit.name)?;
    let size_bytes = commit.upload.size_bytes;
    let change = Change {
        items: i64::from(before.is_none()),
        bytes: size_bytes - before.as_ref().map_or(0, |row| row.size_bytes),
    };
    let team = commit.name.scope.team.clone();
    if usage::book(tx, &team, Kind::Files, change, quota)? == Outcome::OverQuota {
        return Err(IoError::Quota { team, what: "files" });
    }
    if !stray::adopt(tx, commit.upload.object.as_str())? {
        return Err(IoError::Interrupted("it took longer than an hour".to_owned()));
    }
    if let Some(before) = before {
        stray::note(tx, &before.object, now + millis(GRACE))?;
    }
    let acl = match &live {
        Some(row) => commit.acl_when_there.unwrap_or_else(|| row.acl.clone()),
        None => commit.acl_when_new,
    };
    let row = FileRow {
        name: commit.name.to_string(),
        team,
        etag: sre_proto::ids::new_uuid().simple().to_string(),
        mimetype: commit.upload.mimetype,
        size_bytes,
        digest: commit.upload.digest,
        object: commit.upload.object.as_str().to_owned(),
        acl,
        created_ms: live.map_or(now, |row| row.created_ms),
        updated_ms: now,
        expires_ms: commit.time_to_live.map(|life| now.saturating_add(millis(life))),
    };
    index::put(tx, &row)?;
    record(tx)?;
    Ok(row)
}

/// The row that exists now, if the decision still stands on its list.
fn live_row(
    tx: &rusqlite::Connection,
    name: &FileName,
    basis: &Basis,
    now: Millis,
) -> Result<Option<FileRow>, IoError> {
    let row = index::find(tx, name)?.filter(|row| row.is_live(now));
    if basis.holds(row.as_ref().map(|row| row.acl.as_str())) { Ok(row) } else { Err(IoError::AclChanged) }
}

fn drop_row(tx: &rusqlite::Connection, row: &FileRow, now: Millis) -> Result<(), sre_store::StoreError> {
    index::remove(tx, &row.name)?;
    stray::note(tx, &row.object, now + millis(GRACE))?;
    usage::release(tx, &row.team, Kind::Files, 1, row.size_bytes)
}

fn object_key(row: &FileRow) -> Result<ObjectKey, IoError> {
    ObjectKey::parse(&row.object).ok_or_else(|| IoError::NotFound(format!("object of {}", row.name)))
}
