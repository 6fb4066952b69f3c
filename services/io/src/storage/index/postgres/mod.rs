//! The index in a PostgreSQL database, which several processes may share.
//!
//! Writers of one name take turns by a lock on the name, for a row that is not there cannot be locked. Names are
//! locked in order, then the row of the team's usage, so that no two wait for each other.

mod rows;
mod stray;
#[cfg(test)]
mod tests;
pub(crate) mod usage;

use std::time::Duration;

use async_trait::async_trait;
use sre_store::pg::{GenericClient as _, Pg, PgClient};
use sre_store::{ErrorKind, StoreError};

use super::{At, Commit, Deletion, FileIndex, FileRow, Stray, Update, plan};
use crate::basis::{Basis, Recorder};
use crate::clock::Millis;
use crate::error::IoError;
use crate::storage::name::{FileName, FolderName};
use crate::usage::{Kind, Outcome};

/// What the statements are written for.
pub const PG_SESSION: &[(&str, &str)] = &[("synchronous_commit", "on")];

/// Tries of a transaction that was in another's way. Nothing was written by those before.
const TRIES: u32 = 6;
/// The wait after the first; doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(5);

/// Runs work on a connection of the pool in a transaction, again where another was in its way. No function over a
/// closure, for its future could not be told to be `Send` for every connection.
macro_rules! transact {
    ($pg:expr, $client:ident => $work:expr) => {{
        let mut tries = $crate::storage::Tries::default();
        loop {
            let loan = $pg.lend().await?;
            let outcome: Result<_, $crate::error::IoError> = {
                let $client = loan.client()?;
                loan.run(async {
                    $client.batch_execute("begin").await.map_err(sre_store::StoreError::from)?;
                    let done = $work;
                    $client.batch_execute("commit").await.map_err(sre_store::StoreError::from)?;
                    Ok(done)
                })
                .await
            };
            let outcome = loan.finish(outcome).await;
            if !tries.again(outcome.as_ref().err()).await {
                break outcome;
            }
        }
    }};
}
pub(crate) use transact;

/// Counts tries.
pub(crate) struct Tries {
    left: u32,
    wait: Duration,
}

impl Default for Tries {
    fn default() -> Self {
        Self { left: TRIES, wait: FIRST_WAIT }
    }
}

impl Tries {
    /// Whether to try again, after a wait.
    pub(crate) async fn again(&mut self, error: Option<&IoError>) -> bool {
        let Some(IoError::Store(error)) = error else { return false };
        self.left -= 1;
        if error.kind() != ErrorKind::Busy || self.left == 0 {
            return false;
        }
        tracing::debug!(%error, "a transaction of the index is tried again");
        tokio::time::sleep(self.wait).await;
        self.wait *= 2;
        true
    }
}

/// The index in a database. Clones share it.
#[derive(Debug, Clone)]
pub struct PostgresIndex {
    pg: Pg,
}

impl PostgresIndex {
    /// The index in this database, whose schema has [`crate::schema::PG_MIGRATIONS`].
    pub fn new(pg: Pg) -> Self {
        Self { pg }
    }
}

#[async_trait]
impl FileIndex for PostgresIndex {
    async fn find(&self, name: &FileName) -> Result<Option<FileRow>, IoError> {
        let client = self.pg.get().await?;
        Ok(rows::find(&client, &name.to_string()).await?)
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
        let client = self.pg.get().await?;
        Ok(rows::between(&client, (&from, &to), after, now, limit).await?)
    }

    async fn commit(&self, commit: Commit, at: At, record: Recorder) -> Result<FileRow, IoError> {
        let row = transact!(self.pg, client => committed(client, commit.clone(), at, &record).await?)?;
        record.committed();
        Ok(row)
    }

    async fn delete(&self, mut files: Vec<Deletion>, at: At, record: Recorder) -> Result<usize, IoError> {
        files.sort_by_cached_key(|file| file.name.to_string());
        let deleted = transact!(self.pg, client => {
            // All names first, and then the books, as those do who write one file.
            for file in &files {
                rows::lock(client, &file.name.to_string()).await?;
            }
            let mut deleted = 0;
            for file in &files {
                let name = file.name.to_string();
                if let Some(row) = plan::delete(file, rows::find(client, &name).await?, at)? {
                    drop_row(client, &row, at).await?;
                    deleted += 1;
                }
            }
            record.postgres(client).await?;
            deleted
        })?;
        record.committed();
        Ok(deleted)
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
        transact!(self.pg, client => {
            rows::lock(client, &name).await?;
            let row = plan::live(rows::find(client, &name).await?, &basis, at)?;
            let row = row.ok_or_else(|| IoError::NotFound(name.clone()))?;
            rows::put(client, &FileRow { acl: acl.clone(), ..row }).await?;
            record.postgres(client).await?;
        })?;
        record.committed();
        Ok(())
    }

    async fn update(&self, update: Update, at: At, record: Recorder) -> Result<FileRow, IoError> {
        let name = update.name.to_string();
        let row = transact!(self.pg, client => {
            rows::lock(client, &name).await?;
            let row = plan::update(update.clone(), rows::find(client, &name).await?, at)?;
            rows::put(client, &row).await?;
            record.postgres(client).await?;
            row
        })?;
        record.committed();
        Ok(row)
    }

    async fn note(&self, stray: Stray, due: Millis) -> Result<(), IoError> {
        let client = self.pg.get().await?;
        Ok(stray::note(&client, &stray, due).await?)
    }

    async fn due_at(&self, object: &str, due: Millis) -> Result<(), IoError> {
        let client = self.pg.get().await?;
        Ok(stray::due_at(&client, object, due).await?)
    }

    async fn condemn(&self, now: Millis, limit: u32) -> Result<Vec<Stray>, IoError> {
        let client = self.pg.get().await?;
        Ok(stray::condemn(&client, now, limit).await?)
    }

    async fn forget(&self, objects: Vec<String>) -> Result<(), IoError> {
        let client = self.pg.get().await?;
        Ok(stray::forget(&client, &objects).await?)
    }

    async fn drop_expired(&self, at: At, limit: u32) -> Result<usize, IoError> {
        transact!(self.pg, client => {
            let names = rows::expired(client, at.now, limit).await?;
            for name in &names {
                rows::lock(client, name).await?;
            }
            let mut dropped = 0;
            for name in names {
                // Meanwhile it may have been written again.
                let row = rows::find(client, &name).await?.filter(|row| !row.is_live(at.now));
                if let Some(row) = row {
                    drop_row(client, &row, at).await?;
                    dropped += 1;
                }
            }
            dropped
        })
    }

    async fn used(&self, holder: &str, kind: Kind) -> Result<(i64, i64), IoError> {
        let client = self.pg.get().await?;
        Ok(usage::of(&client, holder, kind).await?)
    }
}

async fn committed(client: &PgClient, commit: Commit, at: At, record: &Recorder) -> Result<FileRow, IoError> {
    let name = commit.name.to_string();
    rows::lock(client, &name).await?;
    let before = rows::find(client, &name).await?;
    let plan::Committed { row, change, replaced } = plan::commit(commit, before, at)?;
    for (holder, kind) in plan::holders(&row) {
        let booked = usage::book(client, &holder, kind, change, plan::quota(kind, at)).await?;
        if booked == Outcome::OverQuota {
            return Err(plan::too_much(&row, kind));
        }
    }
    if !stray::adopt(client, &row.object).await? {
        return Err(IoError::Interrupted("it took longer than an hour".to_owned()));
    }
    if let Some(replaced) = replaced {
        stray::note(client, &bytes_of(&replaced), at.due).await?;
    }
    rows::put(client, &row).await?;
    record.postgres(client).await?;
    Ok(row)
}

async fn drop_row(client: &PgClient, row: &FileRow, at: At) -> Result<(), StoreError> {
    rows::remove(client, &row.name).await?;
    stray::note(client, &bytes_of(row), at.due).await?;
    for (holder, kind) in plan::holders(row) {
        usage::book(client, &holder, kind, plan::less(row), plan::quota(kind, at)).await?;
    }
    Ok(())
}

fn bytes_of(row: &FileRow) -> Stray {
    Stray { object: row.object.clone(), instance: row.instance.clone(), unfinished: None }
}
