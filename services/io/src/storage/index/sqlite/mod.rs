//! The index in the service's embedded store.

mod rows;
mod stray;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use rusqlite::Connection;
use sre_store::{Store, StoreError};

use super::{At, Commit, Deletion, FileIndex, FileRow, Stray, Update, plan};
use crate::basis::{Basis, Recorder};
use crate::clock::Millis;
use crate::error::IoError;
use crate::storage::name::{FileName, FolderName};
use crate::usage::{self, Kind, Outcome};

/// The index in a store. Clones share it.
#[derive(Debug, Clone)]
pub struct SqliteIndex {
    store: Store,
}

impl SqliteIndex {
    /// The index in this store, whose schema has [`crate::schema::MIGRATIONS`].
    pub fn new(store: Store) -> Self {
        Self { store }
    }
}

#[async_trait]
impl FileIndex for SqliteIndex {
    async fn find(&self, name: &FileName) -> Result<Option<FileRow>, IoError> {
        let name = name.to_string();
        Ok(self.store.read(move |conn| rows::find(conn, &name)).await?)
    }

    async fn below(
        &self,
        folder: &FolderName,
        prefix: &str,
        after: &str,
        now: Millis,
        limit: u32,
    ) -> Result<Vec<FileRow>, IoError> {
        let (from, to) = plan::range(folder, prefix);
        let after = after.to_owned();
        Ok(self.store.read(move |conn| rows::between(conn, (&from, &to), &after, now, limit)).await?)
    }

    async fn commit(&self, commit: Commit, at: At, record: Recorder) -> Result<FileRow, IoError> {
        self.store.try_write(move |tx| committed(tx, commit, at, &record)).await
    }

    async fn delete(&self, files: Vec<Deletion>, at: At, record: Recorder) -> Result<usize, IoError> {
        self.store
            .try_write(move |tx| {
                let mut deleted = 0;
                for file in files {
                    let row = rows::find(tx, &file.name.to_string())?;
                    if let Some(row) = plan::delete(&file, row, at)? {
                        drop_row(tx, &row, at)?;
                        deleted += 1;
                    }
                }
                record.sqlite(tx)?;
                Ok(deleted)
            })
            .await
    }

    async fn set_acl(
        &self,
        name: &FileName,
        basis: Basis,
        acl: String,
        at: At,
        record: Recorder,
    ) -> Result<(), IoError> {
        let name = name.to_string();
        self.store
            .try_write(move |tx| {
                let row = plan::live(rows::find(tx, &name)?, &basis, at)?;
                let row = row.ok_or_else(|| IoError::NotFound(name.clone()))?;
                rows::put(tx, &FileRow { acl, ..row })?;
                Ok(record.sqlite(tx)?)
            })
            .await
    }

    async fn update(&self, update: Update, at: At, record: Recorder) -> Result<FileRow, IoError> {
        self.store
            .try_write(move |tx| {
                let row = plan::update(update.clone(), rows::find(tx, &update.name.to_string())?, at)?;
                rows::put(tx, &row)?;
                record.sqlite(tx)?;
                Ok(row)
            })
            .await
    }

    async fn note(&self, stray: Stray, due: Millis) -> Result<(), IoError> {
        Ok(self.store.write(move |tx| stray::note(tx, &stray, due)).await?)
    }

    async fn due_at(&self, object: &str, due: Millis) -> Result<(), IoError> {
        let object = object.to_owned();
        Ok(self.store.write(move |tx| stray::due_at(tx, &object, due)).await?)
    }

    async fn condemn(&self, now: Millis, limit: u32) -> Result<Vec<Stray>, IoError> {
        Ok(self.store.write(move |tx| stray::condemn(tx, now, limit)).await?)
    }

    async fn forget(&self, objects: Vec<String>) -> Result<(), IoError> {
        let forget = move |tx: &Connection| objects.iter().try_for_each(|object| stray::forget(tx, object));
        Ok(self.store.write(forget).await?)
    }

    async fn drop_expired(&self, at: At, limit: u32) -> Result<usize, IoError> {
        let dropped = self.store.write(move |tx| {
            let expired = rows::expired(tx, at.now, limit)?;
            expired.iter().try_for_each(|row| drop_row(tx, row, at))?;
            Ok(expired.len())
        });
        Ok(dropped.await?)
    }

    async fn used(&self, holder: &str, kind: Kind) -> Result<(i64, i64), IoError> {
        let holder = holder.to_owned();
        Ok(self.store.read(move |conn| usage::of(conn, &holder, kind)).await?)
    }
}

fn committed(tx: &Connection, commit: Commit, at: At, record: &Recorder) -> Result<FileRow, IoError> {
    let before = rows::find(tx, &commit.name.to_string())?;
    let plan::Committed { row, change, replaced } = plan::commit(commit, before, at)?;
    for (holder, kind) in plan::holders(&row) {
        if usage::book(tx, &holder, kind, change, plan::quota(kind, at))? == Outcome::OverQuota {
            return Err(plan::too_much(&row, kind));
        }
    }
    if !stray::adopt(tx, &row.object)? {
        return Err(IoError::Interrupted("it took longer than an hour".to_owned()));
    }
    if let Some(replaced) = replaced {
        stray::note(tx, &bytes_of(&replaced), at.due)?;
    }
    rows::put(tx, &row)?;
    record.sqlite(tx)?;
    Ok(row)
}

fn drop_row(tx: &Connection, row: &FileRow, at: At) -> Result<(), StoreError> {
    rows::remove(tx, &row.name)?;
    stray::note(tx, &bytes_of(row), at.due)?;
    for (holder, kind) in plan::holders(row) {
        usage::book(tx, &holder, kind, plan::less(row), plan::quota(kind, at))?;
    }
    Ok(())
}

fn bytes_of(row: &FileRow) -> Stray {
    Stray { object: row.object.clone(), instance: row.instance.clone(), unfinished: None }
}
