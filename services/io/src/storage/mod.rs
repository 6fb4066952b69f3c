//! Files: an index of rows in a database, and immutable bytes in backends.
//!
//! Bytes are written first, under a fresh key; then one transaction makes the row name them. Nothing ever
//! changes bytes that a row names, so a reader sees one version from begin to end.
//!
//! Read in this order: `index` (what is true of a file), `connectors` (where its bytes are), this file (how the
//! two are kept together), `service.rs` (who may do what).

mod address;
pub mod connectors;
mod copy;
#[cfg(test)]
mod flow_tests;
pub mod import;
mod index;
mod message;
mod metadata;
mod mimetype;
#[cfg(test)]
mod more_tests;
mod name;
mod service;
#[cfg(test)]
mod service_tests;
mod stream;
mod sweeper;
mod temp;
#[cfg(test)]
mod tests;
mod upload;
pub mod uri;

use std::sync::Arc;
use std::time::Duration;

use sre_service::connectors::Instances;
use sre_service::limits::Limiter;
use sre_store::StoreError;

pub use address::{denied, file_of};
pub use index::{
    At, Commit, Deletion, Expiry, FileIndex, FileRow, PG_SESSION, PostgresIndex, Quotas, SqliteIndex, Stray,
    Update,
};
pub(crate) use index::{Tries, transact, usage_pg};
pub use metadata::{Metadata, message as metadata_message};
pub use mimetype::{is_active, is_valid as is_mimetype};
pub use name::{FileName, FolderName, NameError, Owner, Scope};
pub use service::StorageService;
pub use upload::{Source, Upload};

use crate::basis::{Basis, Recorder};
use crate::clock::{Clock, millis};
use crate::error::IoError;
use crate::usage::{Kind, Quota};
use connectors::{ByteRange, ObjectKey, ObjectReader, ObjectStore};

/// The most bytes of one file.
pub const MAX_FILE_BYTES: u64 = 1 << 30;
/// How long an upload may take; afterwards its bytes are swept.
const UPLOAD_TIME: Duration = Duration::from_secs(3600);
/// How long replaced bytes stay, for readers that have the row and not yet the bytes.
const GRACE: Duration = Duration::from_secs(60);

const UNLIMITED: Quota = Quota { items: i64::MAX, bytes: i64::MAX };

/// The files of all teams.
#[derive(Clone)]
pub struct Files {
    index: Arc<dyn FileIndex>,
    objects: Instances<dyn ObjectStore>,
    clock: Clock,
    limits: Limits,
}

/// Where it is said how much teams may hold.
#[derive(Clone)]
enum Limits {
    /// By the limits of the deployment and of each team.
    Limiter(Limiter),
    /// Nothing is too much: for what counts elsewhere.
    None,
}

impl Files {
    /// Files over an index and backends, without quotas.
    pub fn new(index: Arc<dyn FileIndex>, objects: Instances<dyn ObjectStore>, clock: Clock) -> Self {
        Self { index, objects, clock, limits: Limits::None }
    }

    /// Holds teams and agents to their quotas.
    #[must_use]
    pub fn limited(self, limiter: Limiter) -> Self {
        Self { limits: Limits::Limiter(limiter), ..self }
    }

    /// The row of a file that exists now.
    pub async fn find(&self, name: &FileName) -> Result<Option<FileRow>, IoError> {
        let now = self.clock.now();
        Ok(self.index.find(name).await?.filter(|row| row.is_live(now)))
    }

    /// Some rows below a folder whose path begins with `prefix`, by name, after `after`.
    pub async fn below(
        &self,
        folder: &FolderName,
        prefix: &str,
        after: &str,
        limit: u32,
    ) -> Result<Vec<FileRow>, IoError> {
        self.index.below(folder, prefix, after, self.clock.now(), limit).await
    }

    /// Opens the bytes of a row.
    pub async fn open(&self, row: &FileRow, range: ByteRange) -> Result<Box<dyn ObjectReader>, IoError> {
        let key = ObjectKey::parse(&row.object);
        let key = key.ok_or_else(|| IoError::NotFound(format!("object of {}", row.name)))?;
        Ok(self.objects.get(&row.instance)?.open(&key, range).await?)
    }

    /// Makes a file of uploaded bytes, in one transaction with everything that is true of it.
    pub async fn commit(&self, commit: Commit, record: Recorder) -> Result<FileRow, IoError> {
        let quotas = self.quotas(&commit.name.scope.team).await?;
        self.index.commit(commit, At { quotas, ..self.at() }, record).await
    }

    /// Deletes files, all or none, and gives how many were there.
    pub async fn delete(&self, files: Vec<Deletion>, record: Recorder) -> Result<usize, IoError> {
        self.index.delete(files, self.at(), record).await
    }

    /// Replaces a file's access list.
    pub async fn set_acl(
        &self,
        name: &FileName,
        basis: Basis,
        acl: String,
        record: Recorder,
    ) -> Result<(), IoError> {
        self.index.set_acl(name, basis, acl, self.at(), record).await
    }

    /// Changes what is said of a file.
    pub async fn update(&self, update: Update, record: Recorder) -> Result<FileRow, IoError> {
        self.index.update(update, self.at(), record).await
    }

    /// For changes that take no room.
    fn at(&self) -> At {
        let now = self.clock.now();
        At { now, due: now + millis(GRACE), quotas: Quotas { team: UNLIMITED, agent: UNLIMITED } }
    }

    async fn quotas(&self, team: &str) -> Result<Quotas, IoError> {
        let Limits::Limiter(limiter) = &self.limits else {
            return Ok(Quotas { team: UNLIMITED, agent: UNLIMITED });
        };
        Ok(Quotas {
            team: quota(limiter, team, Kind::Files).await?,
            agent: quota(limiter, team, Kind::AgentFiles).await?,
        })
    }
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Files").finish_non_exhaustive()
    }
}

async fn quota(limiter: &Limiter, team: &str, kind: Kind) -> Result<Quota, IoError> {
    let quota = limiter.quota(team, kind.limits()).await;
    quota.map(Quota::from).map_err(|status| {
        let message = format!("the limits of team {team} cannot be asked for: {}", status.message());
        IoError::Store(StoreError::Unavailable { message })
    })
}
