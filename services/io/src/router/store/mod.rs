//! Where links and the keys that sign them are kept: beside the index of files, in either database.

mod postgres;
mod sqlite;

use async_trait::async_trait;

pub use postgres::PostgresLinks;
pub use sqlite::SqliteLinks;

use super::keys::KeyRow;
use super::{Disposition, UrlKind};
use crate::basis::Recorder;
use crate::clock::Millis;
use crate::error::IoError;

/// A link's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkRow {
    /// Its id; they sort by time.
    pub id: String,
    /// The file's name.
    pub file: String,
    /// On whose behalf.
    pub subject: String,
    /// What it is for.
    pub kind: UrlKind,
    /// How a browser takes it.
    pub disposition: Disposition,
    /// The version that it is for; any where empty.
    pub etag: String,
    /// When it was made.
    pub created_ms: Millis,
    /// When the last of its addresses ends.
    pub expires_ms: Millis,
    /// When it was revoked.
    pub revoked_ms: Option<Millis>,
}

/// The store. Every write is one transaction, durable when its future is ready, with the audit record of the
/// change in it. Repeating any of them does no harm.
#[async_trait]
pub trait LinkStore: Send + Sync + 'static {
    /// Writes a new link.
    async fn create(&self, link: LinkRow, record: Recorder) -> Result<(), IoError>;

    /// A link, ended and revoked ones too.
    async fn find(&self, id: &str) -> Result<Option<LinkRow>, IoError>;

    /// Lets a link end later.
    async fn renew(&self, id: &str, expires: Millis, record: Recorder) -> Result<(), IoError>;

    /// Revokes a link; one that is revoked stays as it is.
    async fn revoke(&self, id: &str, now: Millis, record: Recorder) -> Result<(), IoError>;

    /// Links of a file that have not ended, by id, after `after`; of one subject alone where given.
    async fn list(
        &self,
        file: &str,
        subject: Option<&str>,
        after: &str,
        now: Millis,
        limit: u32,
    ) -> Result<Vec<LinkRow>, IoError>;

    /// Drops a batch of links that have ended, and gives how many.
    async fn drop_expired(&self, now: Millis, limit: u32) -> Result<usize, IoError>;

    /// All keys.
    async fn keys(&self) -> Result<Vec<KeyRow>, IoError>;

    /// Adds a key.
    async fn add_key(&self, key: KeyRow) -> Result<(), IoError>;

    /// Drops keys that were made before this time.
    async fn drop_keys(&self, before: Millis) -> Result<(), IoError>;
}

fn kind_number(kind: UrlKind) -> i32 {
    match kind {
        UrlKind::Temporary => 1,
        UrlKind::Resource => 2,
    }
}

fn kind_of(number: i32) -> UrlKind {
    if number == 2 { UrlKind::Resource } else { UrlKind::Temporary }
}

fn disposition_number(disposition: Disposition) -> i32 {
    match disposition {
        Disposition::Inline => 1,
        Disposition::Attachment => 2,
    }
}

/// What is not known is downloaded: that does the least.
fn disposition_of(number: i32) -> Disposition {
    if number == 1 { Disposition::Inline } else { Disposition::Attachment }
}
