//! The gRPC face of links: parse, check, call, map.

use std::sync::Arc;
use std::time::Duration;

use sre_identity::{Acl, Caller};
use sre_proto::error::{Reason, invalid_argument, status};
use sre_proto::io::v1::router_server::Router;
use sre_proto::io::v1::{
    self as proto, CreateUrlRequest, ListUrlsRequest, ListUrlsResponse, RenewUrlRequest, RevokeUrlRequest,
    Url,
};
use sre_proto::{AccessLevel, Guarded};
use sre_service::{Granted, Host};
use tonic::{Code, Request, Response, Status};

use super::{Disposition, LinkRow, Links, NewLink, UrlKind};
use crate::clock::timestamp;
use crate::error::IoError;
use crate::request;
use crate::storage::{FileName, FileRow, Files, file_of};

/// Serves `sre.io.v1.Router`.
#[derive(Clone)]
pub struct RouterService {
    host: Host,
    files: Files,
    links: Links,
    /// What addresses begin with; none where no door serves them.
    base: Option<Arc<str>>,
}

/// The file of a request, decided on.
struct Decided {
    granted: Granted,
    name: FileName,
    row: Option<FileRow>,
    acl: Option<Acl>,
}

impl RouterService {
    /// Links to these files, whose addresses begin with `base`.
    pub fn new(host: Host, files: Files, links: Links, base: Option<Arc<str>>) -> Self {
        Self { host, files, links, base }
    }

    fn base(&self) -> Result<&Arc<str>, Status> {
        self.base.as_ref().ok_or_else(|| {
            let message =
                "no door serves links here: set files.enabled, or files.base_url where another does";
            status(Code::FailedPrecondition, Reason::BackendUnavailable, message)
        })
    }

    async fn decide<R: Guarded>(&self, caller: &Caller, request: &R, file: &str) -> Result<Decided, Status> {
        let name = FileName::parse(file).map_err(|error| invalid_argument("file", error.to_string()))?;
        let row = self.files.find(&name).await?;
        let acl = row.as_ref().map(|row| request::stored_acl(&row.acl)).transpose()?;
        let granted = self.host.authorizer().check(caller, request, acl.as_ref()).await?;
        Ok(Decided { granted, name, row, acl })
    }

    async fn own(&self, caller: &Caller, file: &mut String) -> Result<(), Status> {
        *file = file_of(&self.host, caller, "file", file).await?;
        Ok(())
    }

    /// Whether the caller steers all links of the file, and not its own alone.
    async fn steers(&self, caller: &Caller, decided: &Decided) -> Result<bool, Status> {
        let resource = decided.name.to_string();
        self.host.authorizer().may(caller, &resource, AccessLevel::Owner, decided.acl.as_ref()).await
    }

    /// A link that the caller may steer. Others' links are as if they were not there (H21).
    async fn link(&self, caller: &Caller, decided: &Decided, id: &str) -> Result<LinkRow, Status> {
        let missing = || IoError::NotFound(format!("link {id:?} of {}", decided.name));
        let link = self.links.find(&decided.name, id).await?.ok_or_else(missing)?;
        let own = link.subject == decided.granted.candidate()?.to_string();
        if own || self.steers(caller, decided).await? { Ok(link) } else { Err(missing().into()) }
    }
}

#[tonic::async_trait]
impl Router for RouterService {
    async fn create_url(&self, request: Request<CreateUrlRequest>) -> Result<Response<Url>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        self.own(&caller, &mut request.file).await?;
        let decided = self.decide(&caller, &request, &request.file).await?;
        let row = decided.row.ok_or_else(|| IoError::NotFound(decided.name.to_string()))?;
        let kind = match request.kind() {
            proto::UrlKind::Unspecified | proto::UrlKind::Temporary => UrlKind::Temporary,
            proto::UrlKind::Resource => UrlKind::Resource,
        };
        let new = NewLink {
            file: decided.name,
            subject: decided.granted.candidate()?.clone(),
            kind,
            disposition: match request.disposition() {
                proto::UrlDisposition::Attachment => Disposition::Attachment,
                _ => Disposition::Inline,
            },
            etag: if request.this_version { row.etag } else { String::new() },
            time_to_live: life(kind, request.time_to_live)?,
        };
        let base = self.base()?;
        let (link, path) = self.links.create(new, Arc::new(decided.granted)).await?;
        Ok(Response::new(Url { url: format!("{base}{path}"), ..Url::from(&link) }))
    }

    async fn renew_url(&self, request: Request<RenewUrlRequest>) -> Result<Response<Url>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        self.own(&caller, &mut request.file).await?;
        let decided = self.decide(&caller, &request, &request.file).await?;
        let link = self.link(&caller, &decided, &request.id).await?;
        if link.kind != UrlKind::Resource {
            return Err(invalid_argument("id", "temporary links are not renewed: make another"));
        }
        if link.revoked_ms.is_some() {
            let message = "the link was revoked: make another";
            return Err(status(Code::FailedPrecondition, Reason::CredentialsRevoked, message));
        }
        let time_to_live = life(link.kind, request.time_to_live)?;
        let base = self.base()?;
        let (link, path) = self.links.renew(&link, time_to_live, Arc::new(decided.granted)).await?;
        Ok(Response::new(Url { url: format!("{base}{path}"), ..Url::from(&link) }))
    }

    async fn list_urls(
        &self,
        request: Request<ListUrlsRequest>,
    ) -> Result<Response<ListUrlsResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        self.own(&caller, &mut request.file).await?;
        let decided = self.decide(&caller, &request, &request.file).await?;
        let size = request::page_size(request.page_size)?;
        let all = self.steers(&caller, &decided).await?;
        let subject = decided.granted.candidate()?;
        let limit = u32::try_from(size + 1).unwrap_or(u32::MAX);
        let subject = (!all).then_some(subject);
        let mut rows = self.links.list(&decided.name, subject, &request.page_token, limit).await?;
        let has_more = rows.len() > size;
        rows.truncate(size);
        let next_page_token = match rows.last() {
            Some(last) if has_more => last.id.clone(),
            _ => String::new(),
        };
        let urls = rows.iter().map(Url::from).collect();
        Ok(Response::new(ListUrlsResponse { urls, next_page_token }))
    }

    async fn revoke_url(&self, request: Request<RevokeUrlRequest>) -> Result<Response<Url>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        self.own(&caller, &mut request.file).await?;
        let decided = self.decide(&caller, &request, &request.file).await?;
        let link = self.link(&caller, &decided, &request.id).await?;
        let link = self.links.revoke(&link, Arc::new(decided.granted)).await?;
        Ok(Response::new(Url::from(&link)))
    }
}

impl From<&LinkRow> for Url {
    fn from(row: &LinkRow) -> Self {
        let kind = match row.kind {
            UrlKind::Temporary => proto::UrlKind::Temporary,
            UrlKind::Resource => proto::UrlKind::Resource,
        };
        Self {
            id: row.id.clone(),
            file: row.file.clone(),
            url: String::new(),
            kind: kind.into(),
            subject: row.subject.clone(),
            create_time: Some(timestamp(row.created_ms)),
            expire_time: Some(timestamp(row.expires_ms)),
            etag: row.etag.clone(),
            revoke_time: row.revoked_ms.map(timestamp),
        }
    }
}

/// How long a link is valid.
fn life(kind: UrlKind, asked: Option<prost_types::Duration>) -> Result<Duration, Status> {
    let (usual, most) = kind.life();
    let life = request::time_to_live("time_to_live", asked)?.unwrap_or(usual);
    if life > most {
        let message = format!("links of this kind are valid for {} s at most", most.as_secs());
        return Err(invalid_argument("time_to_live", message));
    }
    Ok(life)
}
