//! Copies: the bytes of a file, streamed into a file of its own.

use async_trait::async_trait;
use bytes::Bytes;
use sre_identity::Caller;
use sre_proto::AccessLevel;
use sre_proto::error::{Reason, status};
use sre_proto::io::v1::{CopyFileRequest, File};
use tonic::{Code, Status};

use super::connectors::{ByteRange, ObjectReader};
use super::message::{acl_when_new, file_name};
use super::service::{Found, StorageService, recorder};
use super::upload::{Claims, Source};
use super::{Commit, IoError};
use crate::request::{self, DECISIONS};

const SERVICE: &str = "sre.io.v1.Storage";

impl StorageService {
    pub(super) async fn copy(&self, caller: &Caller, mut request: CopyFileRequest) -> Result<File, Status> {
        self.own(caller, &mut request.source).await?;
        self.own(caller, &mut request.destination).await?;
        let source = file_name("source", &request.source)?;
        let name = file_name("destination", &request.destination)?;
        let condition = request::condition("if_match", &request.if_match, request.if_absent)?;
        let time_to_live = request::time_to_live("time_to_live", request.time_to_live)?;
        let (_, there) = self.decide(caller, &request, &name).await?;
        condition.check(there.map(|found| found.row.etag).as_deref()).map_err(IoError::from)?;
        let from = self.readable(caller, &request.source, self.find(&source).await?).await?;
        let bytes = ByteRange {
            offset_bytes: 0,
            length_bytes: u64::try_from(from.row.size_bytes).unwrap_or_default(),
        };
        let reader = self.files.open(&from.row, bytes).await?;
        let instance = if request.instance.is_empty() { &from.row.instance } else { &request.instance };
        let claims = Claims {
            path: &name.path,
            mimetype: &from.row.mimetype,
            digest: &from.row.digest,
            instance,
            limit_bytes: 0,
        };
        let upload = self.files.receive(claims, &mut Object(reader)).await?;
        let object = upload.object.clone();
        let committed = async {
            for _ in 0..DECISIONS {
                let (granted, found) = self.decide(caller, &request, &name).await?;
                let commit = Commit {
                    name: name.clone(),
                    upload: upload.clone(),
                    condition: condition.clone(),
                    basis: Found::basis(found.as_ref()),
                    acl_when_new: acl_when_new(&name.scope, None, granted.candidate()?)?.to_text(),
                    acl_when_there: None,
                    metadata: from.row.metadata.clone(),
                    time_to_live,
                };
                match self.files.commit(commit, recorder(granted)).await {
                    Err(IoError::AclChanged) => {}
                    done => return Ok(File::from(&done?)),
                }
            }
            Err(Status::from(IoError::AclChanged))
        };
        let committed = committed.await;
        if committed.is_err() {
            self.files.abandon(&object).await;
        }
        committed
    }

    /// The source, if the caller may read it, and a token it came with covers reading.
    async fn readable(&self, caller: &Caller, resource: &str, found: Option<Found>) -> Result<Found, Status> {
        if caller.token().is_some_and(|token| !token.covers(SERVICE, "read")) {
            let message = "copying reads too: ask for the scope sre.io.v1.Storage:read";
            return Err(status(Code::PermissionDenied, Reason::ScopeExceeded, message));
        }
        let acl = found.as_ref().map(|found| &found.acl);
        let authorizer = self.host.authorizer();
        authorizer.check_level(caller, resource, AccessLevel::Read, acl).await?.record_now();
        Ok(found.ok_or_else(|| IoError::NotFound(resource.to_owned()))?)
    }
}

/// A stored object as a source of bytes.
struct Object(Box<dyn ObjectReader>);

#[async_trait]
impl Source for Object {
    async fn next(&mut self) -> Result<Option<Bytes>, IoError> {
        Ok(self.0.next().await?)
    }
}
