//! When a link is honoured: signed, not ended, not revoked, and whoever it acts for may read the file now.

use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use sre_identity::{Candidate, Level, Role, decide};
use sre_service::Host;
use tokio::time::Instant;
use tonic::Status;

use super::{LinkRow, Links};
use crate::error::IoError;
use crate::request;
use crate::storage::connectors::{ByteRange, ObjectReader};
use crate::storage::{FileName, FileRow, Files};

/// Gives what links name.
#[derive(Clone)]
pub struct Serving {
    host: Host,
    files: Files,
    links: Links,
    revalidate: Duration,
}

/// What a link gives now.
pub(super) struct Served {
    pub link: LinkRow,
    pub file: FileRow,
    token: String,
}

impl Serving {
    /// Serves these files by these links.
    pub fn new(host: Host, files: Files, links: Links) -> Self {
        let revalidate = host.config().deadlines.revalidate();
        Self { host, files, links, revalidate }
    }

    /// What the address of a link gives; none where it gives nothing, whatever the cause (H21, H37).
    pub(super) async fn look_up(&self, token: &str) -> Result<Option<Served>, Status> {
        let Some(link) = self.links.of_token(token).await? else { return Ok(None) };
        let Ok(name) = FileName::parse(&link.file) else { return Ok(None) };
        let Some(file) = self.files.find(&name).await? else { return Ok(None) };
        if !link.etag.is_empty() && link.etag != file.etag {
            return Ok(None);
        }
        let Ok(subject) = link.subject.parse::<Candidate>() else { return Ok(None) };
        let memberships = self.host.accounts().resolve(&subject).await?;
        // A subject that Account does not know any more has no rights left, whatever the list says.
        let unknown = memberships.home.is_none() && memberships.teams.is_empty();
        if unknown && subject.role() != Role::Team {
            return Ok(None);
        }
        let acl = request::stored_acl(&file.acl)?;
        let allowed = decide(&subject, &memberships.team_ids(), &[Level::Read], &acl).is_allowed();
        Ok(allowed.then(|| Served { link, file, token: token.to_owned() }))
    }

    /// The bytes of what was looked up. A link that is not honoured any more is cut off.
    pub(super) async fn bytes(
        &self,
        served: &Served,
        range: ByteRange,
    ) -> Result<impl Stream<Item = Result<Bytes, IoError>> + Send + use<>, IoError> {
        let reading = Reading {
            reader: self.files.open(&served.file, range).await?,
            serving: self.clone(),
            token: served.token.clone(),
            etag: served.file.etag.clone(),
            due: Instant::now() + self.revalidate,
        };
        Ok(futures::stream::try_unfold(reading, |mut reading| async move {
            Ok(reading.next().await?.map(|data| (data, reading)))
        }))
    }
}

struct Reading {
    serving: Serving,
    reader: Box<dyn ObjectReader>,
    token: String,
    etag: String,
    due: Instant,
}

impl Reading {
    async fn next(&mut self) -> Result<Option<Bytes>, IoError> {
        if Instant::now() >= self.due {
            let gone = || IoError::Interrupted("the link is not valid any more".to_owned());
            let looked = self.serving.look_up(&self.token).await.map_err(|_| gone())?;
            // A file that was written again meanwhile is read to its end: its bytes are kept for a while.
            let same =
                looked.is_some_and(|served| served.link.etag.is_empty() || served.file.etag == self.etag);
            if !same {
                return Err(gone());
            }
            self.due = Instant::now() + self.serving.revalidate;
        }
        Ok(self.reader.next().await?)
    }
}

impl std::fmt::Debug for Serving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Serving").finish_non_exhaustive()
    }
}
