//! Links to files: signed addresses that are served over HTTP, on behalf of whoever made them.
//!
//! A link's address carries what it gives, signed: the file, on whose behalf, until when. What is stored is enough
//! to list and revoke it. Read in this order: this file, `token.rs` (what is signed), `keys.rs` (with what),
//! `serve.rs` (when a link is honoured), `door.rs` (HTTP).

mod door;
#[cfg(test)]
mod door_tests;
mod keys;
#[cfg(test)]
mod link_tests;
mod range;
mod serve;
mod service;
mod store;
mod token;

use std::sync::Arc;
use std::time::Duration;

use sre_identity::Candidate;

pub use door::routes;
pub use serve::Serving;
pub use service::RouterService;
pub use store::{LinkRow, LinkStore, PostgresLinks, SqliteLinks};

use crate::basis::Recorder;
use crate::clock::{Clock, millis};
use crate::error::IoError;
use crate::storage::FileName;
use keys::Keys;
use token::Claims;

/// How long a temporary link is valid unless asked otherwise, and at most.
const TEMPORARY: (Duration, Duration) = (Duration::from_secs(15 * 60), Duration::from_secs(24 * 60 * 60));
/// How long a resource link is valid unless asked otherwise, and at most.
const RESOURCE: (Duration, Duration) = (MOST, MOST);
/// No address is valid for longer.
const MOST: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// So many rows in one transaction.
const BATCH: u32 = 500;

/// What a link is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UrlKind {
    /// For a moment.
    Temporary,
    /// To be kept; can be renewed.
    Resource,
}

/// How a browser takes what it fetches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// Shown, where the media type is harmless.
    Inline,
    /// Downloaded.
    Attachment,
}

/// A link that somebody asks for.
#[derive(Debug, Clone)]
pub struct NewLink {
    /// The file.
    pub file: FileName,
    /// On whose behalf.
    pub subject: Candidate,
    /// What it is for.
    pub kind: UrlKind,
    /// How a browser takes it.
    pub disposition: Disposition,
    /// The version that it is for; any where empty.
    pub etag: String,
    /// How long it is valid.
    pub time_to_live: Duration,
}

/// The links of all teams. Clones share everything.
#[derive(Clone)]
pub struct Links {
    store: Arc<dyn LinkStore>,
    keys: Keys,
    clock: Clock,
}

impl UrlKind {
    /// How long a link of this kind is valid unless asked otherwise, and at most.
    pub fn life(self) -> (Duration, Duration) {
        match self {
            Self::Temporary => TEMPORARY,
            Self::Resource => RESOURCE,
        }
    }

    /// The first segment of its addresses.
    fn segment(self) -> &'static str {
        match self {
            Self::Temporary => "t",
            Self::Resource => "r",
        }
    }
}

impl Links {
    /// Links in this store, whose keys sign for `key_time` each.
    pub fn new(store: Arc<dyn LinkStore>, clock: Clock, key_time: Duration) -> Self {
        let keys = Keys::new(Arc::clone(&store), clock.clone(), key_time);
        Self { store, keys, clock }
    }

    /// Makes a link: its row, and the path of its address.
    pub async fn create(&self, new: NewLink, record: Recorder) -> Result<(LinkRow, String), IoError> {
        let now = self.clock.now();
        let row = LinkRow {
            id: sre_proto::ids::new_uuid().simple().to_string(),
            file: new.file.to_string(),
            subject: new.subject.to_string(),
            kind: new.kind,
            disposition: new.disposition,
            etag: new.etag,
            created_ms: now,
            expires_ms: now.saturating_add(millis(new.time_to_live)),
            revoked_ms: None,
        };
        let path = self.path(&row).await?;
        self.store.create(row.clone(), record).await?;
        Ok((row, path))
    }

    /// Makes a further address of a link, which ends later.
    pub async fn renew(
        &self,
        row: &LinkRow,
        time_to_live: Duration,
        record: Recorder,
    ) -> Result<(LinkRow, String), IoError> {
        let expires_ms = self.clock.now().saturating_add(millis(time_to_live)).max(row.expires_ms);
        let renewed = LinkRow { expires_ms, ..row.clone() };
        let path = self.path(&renewed).await?;
        self.store.renew(&row.id, expires_ms, record).await?;
        Ok((renewed, path))
    }

    /// Revokes a link.
    pub async fn revoke(&self, row: &LinkRow, record: Recorder) -> Result<LinkRow, IoError> {
        let now = self.clock.now();
        self.store.revoke(&row.id, now, record).await?;
        Ok(LinkRow { revoked_ms: row.revoked_ms.or(Some(now)), ..row.clone() })
    }

    /// A link of a file that has not ended.
    pub async fn find(&self, file: &FileName, id: &str) -> Result<Option<LinkRow>, IoError> {
        let now = self.clock.now();
        let row = self.store.find(id).await?;
        Ok(row.filter(|row| row.file == file.to_string() && now < row.expires_ms))
    }

    /// Links of a file that have not ended, oldest first, after `after`; those of one subject alone, where given.
    pub async fn list(
        &self,
        file: &FileName,
        subject: Option<&Candidate>,
        after: &str,
        limit: u32,
    ) -> Result<Vec<LinkRow>, IoError> {
        let subject = subject.map(ToString::to_string);
        self.store.list(&file.to_string(), subject.as_deref(), after, self.clock.now(), limit).await
    }

    /// The link of an address, if its signature holds and it has neither ended nor been revoked.
    pub async fn of_token(&self, token: &str) -> Result<Option<LinkRow>, IoError> {
        let now = self.clock.now();
        let Some(claims) = self.keys.verify(token).await? else { return Ok(None) };
        if now >= claims.expires_ms {
            return Ok(None);
        }
        let row = self.store.find(&claims.id).await?;
        Ok(row.filter(|row| row.revoked_ms.is_none() && claims.are_of(row)))
    }

    /// Removes what nobody can use any more: links that have ended, and keys whose links all have.
    pub async fn sweep(&self) -> Result<u64, IoError> {
        let mut swept = 0;
        loop {
            let gone = self.store.drop_expired(self.clock.now(), BATCH).await?;
            swept += gone as u64;
            if gone < BATCH as usize {
                break;
            }
        }
        self.keys.sweep().await?;
        Ok(swept)
    }

    async fn path(&self, row: &LinkRow) -> Result<String, IoError> {
        let token = self.keys.sign(&Claims::of(row)).await?;
        let name = row.file.rsplit('/').next().unwrap_or_default();
        // The name is for people and for what a browser calls a download; nothing is decided on it.
        let name = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
        Ok(format!("/{}/{token}/{name}", row.kind.segment()))
    }
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Links").finish_non_exhaustive()
    }
}
