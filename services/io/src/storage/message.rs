//! Files as contracts carry them.

use sre_identity::{Acl, Candidate, Level};
use sre_proto::error::invalid_argument;
use sre_proto::io::v1::{File, UpdateFileRequest, WriteFileHeader, update_file_request};
use tonic::Status;

use super::name::{FileName, Owner, Scope};
use super::upload::{Claims, check_claims};
use super::{Expiry, FileRow, Metadata, Update, metadata, mimetype, uri};
use crate::basis::{Basis, Condition};
use crate::clock::timestamp;
use crate::request;

impl From<&FileRow> for File {
    fn from(row: &FileRow) -> Self {
        Self {
            name: row.name.clone(),
            size_bytes: row.size_bytes,
            mimetype: row.mimetype.clone(),
            digest: row.digest.clone(),
            etag: row.etag.clone(),
            create_time: Some(timestamp(row.created_ms)),
            update_time: Some(timestamp(row.updated_ms)),
            expire_time: row.expires_ms.map(timestamp),
            uri: FileName::parse(&row.name).map(|name| uri::address(&name)).unwrap_or_default(),
            metadata: metadata::message(&row.metadata),
            instance: row.instance.clone(),
        }
    }
}

/// What a write asks for.
pub(super) struct Write {
    pub name: FileName,
    pub condition: Condition,
    pub time_to_live: Option<std::time::Duration>,
    pub acl: Option<Acl>,
    pub metadata: Metadata,
    header: WriteFileHeader,
}

impl TryFrom<&WriteFileHeader> for Write {
    type Error = Status;

    fn try_from(header: &WriteFileHeader) -> Result<Self, Status> {
        let name = file_name("header.name", &header.name)?;
        let condition = request::condition("header.if_match", &header.if_match, header.if_absent)?;
        let time_to_live = request::time_to_live("header.time_to_live", header.time_to_live)?;
        let acl = header.acl.as_ref().map(|acl| request::acl("header.acl", acl)).transpose()?;
        let metadata = metadata::read("header.metadata", &header.metadata)?;
        let write = Self { name, condition, time_to_live, acl, metadata, header: header.clone() };
        check_claims(&write.claims())?;
        Ok(write)
    }
}

impl Write {
    /// What the caller says about the bytes.
    pub fn claims(&self) -> Claims<'_> {
        Claims {
            path: &self.name.path,
            mimetype: &self.header.mimetype,
            digest: &self.header.digest,
            instance: &self.header.instance,
            limit_bytes: 0,
        }
    }

    /// The list of a new file.
    pub fn acl_when_new(&self, creator: &Candidate) -> Result<Acl, Status> {
        acl_when_new(&self.name.scope, self.acl.as_ref(), creator)
    }

    /// The list that replaces an existing file's, where one was sent.
    pub fn acl_when_there(&self) -> Result<Option<&Acl>, Status> {
        // Where nothing may be there, that is what the caller shall hear, not what its list lacks as a replacement.
        if let Some(acl) = self.acl.as_ref().filter(|_| !self.header.if_absent) {
            acl.require_owner().map_err(wrong)?;
        }
        Ok(self.acl.as_ref())
    }
}

/// The list of a new file: who creates it owns it, and so does whose files it lies among (ruling 32). A team's own
/// files are read by the team, unless the creator says otherwise.
pub(super) fn acl_when_new(scope: &Scope, given: Option<&Acl>, creator: &Candidate) -> Result<Acl, Status> {
    let mut acl = given.cloned().unwrap_or_default();
    let owner = match &scope.owner {
        Owner::Agent(id) => Some(Candidate::agent(id)),
        Owner::User(id) => Some(Candidate::user(id)),
        Owner::Team => None,
    };
    let mut grants = vec![(creator.clone(), Level::Owner)];
    match owner.transpose().map_err(wrong)? {
        Some(owner) => grants.push((owner, Level::Owner)),
        None if given.is_none() => {
            grants.push((Candidate::team(&scope.team).map_err(wrong)?, Level::Read));
        }
        None => {}
    }
    for (candidate, level) in grants {
        acl.grant(&candidate, &[level]).map_err(wrong)?;
    }
    Ok(acl)
}

/// What an update asks for, decided on this list.
pub(super) fn update(request: &UpdateFileRequest, name: FileName, basis: Basis) -> Result<Update, Status> {
    let mimetype = match request.mimetype.as_str() {
        "" => None,
        told if mimetype::is_valid(told) => Some(told.to_owned()),
        _ => return Err(invalid_argument("mimetype", "expected type/subtype, for example text/plain")),
    };
    let expiry = match &request.expiry {
        None => Expiry::Keep,
        Some(update_file_request::Expiry::NoExpiry(())) => Expiry::Never,
        Some(update_file_request::Expiry::TimeToLive(life)) => {
            request::time_to_live("time_to_live", Some(*life))?.map_or(Expiry::Keep, Expiry::After)
        }
    };
    Ok(Update {
        name,
        basis,
        condition: request::condition("if_match", &request.if_match, false)?,
        set: metadata::read("set_metadata", &request.set_metadata)?,
        remove: request.remove_metadata.clone(),
        mimetype,
        expiry,
    })
}

/// Reads a file's name.
pub(super) fn file_name(field: &str, name: &str) -> Result<FileName, Status> {
    FileName::parse(name).map_err(|error| invalid_argument(field, error.to_string()))
}

fn wrong(error: impl std::fmt::Display) -> Status {
    invalid_argument("header.acl", error.to_string())
}
