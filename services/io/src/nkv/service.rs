//! The gRPC face of values: parse, check, call, map.

use sre_identity::{Acl, Caller, Candidate, Level};
use sre_proto::Guarded;
use sre_proto::error::invalid_argument;
use sre_proto::io::v1::nkv_server::Nkv;
use sre_proto::io::v1::{
    DeleteNamespaceRequest, DeleteValueRequest, GetNamespaceAclRequest, GetValueRequest, KeyValue,
    ListValuesRequest, ListValuesResponse, SetNamespaceAclRequest, SetValueRequest,
};
use sre_proto::types::v1 as types;
use sre_service::{Granted, Host};
use tonic::{Request, Response, Status};

use super::{KeyName, MAX_VALUE_BYTES, NamespaceName, NamespaceRow, Namespaces, Set, ValueRow};
use crate::basis::{Basis, Record};
use crate::clock::timestamp;
use crate::error::IoError;
use crate::request::{self, DECISIONS};
use crate::storage::is_mimetype;

const DEFAULT_CONTENT_TYPE: &str = "application/json";

/// Serves `sre.io.v1.Nkv`.
#[derive(Clone)]
pub struct NkvService {
    host: Host,
    namespaces: Namespaces,
}

impl NkvService {
    /// Serves these namespaces.
    pub fn new(host: Host, namespaces: Namespaces) -> Self {
        Self { host, namespaces }
    }

    async fn own(&self, caller: &Caller, name: &mut String) -> Result<(), Status> {
        *name = self.host.authorizer().resolve_name(caller, name).await?;
        Ok(())
    }

    /// Decides on the namespace's list, or on the team's rights where there is none.
    async fn decide<R: Guarded>(
        &self,
        caller: &Caller,
        request: &R,
        found: Option<&NamespaceRow>,
    ) -> Result<(Granted, Option<Acl>), Status> {
        let acl = found.map(|row| request::stored_acl(&row.acl)).transpose()?;
        let granted = self.host.authorizer().check(caller, request, acl.as_ref()).await?;
        Ok((granted, acl))
    }

    /// Decides on a namespace that is there.
    async fn decide_there<R: Guarded>(
        &self,
        caller: &Caller,
        request: &R,
        name: &NamespaceName,
    ) -> Result<(Granted, Basis, Acl), Status> {
        let found = self.namespaces.find(name).await?;
        let (granted, acl) = self.decide(caller, request, found.as_ref()).await?;
        match (found, acl) {
            (Some(row), Some(acl)) => Ok((granted, Basis::row(&row.acl), acl)),
            _ => Err(IoError::NotFound(name.to_string()).into()),
        }
    }

    async fn set(&self, caller: &Caller, request: &SetValueRequest, set: Set) -> Result<ValueRow, Status> {
        for _ in 0..DECISIONS {
            let found = self.namespaces.find(&set.name.parent).await?;
            let (granted, _) = self.decide(caller, request, found.as_ref()).await?;
            let decided = Set {
                basis: found.map_or_else(Basis::absent, |row| Basis::row(&row.acl)),
                acl_when_new: acl_when_new(&set.name.parent, granted.candidate()?)?.to_text(),
                ..set.clone()
            };
            match self.namespaces.set(decided, record(granted)).await {
                Err(IoError::AclChanged) => {}
                done => return Ok(done?),
            }
        }
        Err(IoError::AclChanged.into())
    }
}

#[tonic::async_trait]
impl Nkv for NkvService {
    async fn get_value(&self, request: Request<GetValueRequest>) -> Result<Response<KeyValue>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        self.own(&caller, &mut request.name).await?;
        let name = key_name("name", &request.name)?;
        let (namespace, value) = self.namespaces.get(&name).await?;
        let _granted = self.decide(&caller, &request, namespace.as_ref()).await?;
        let value = value.ok_or_else(|| IoError::NotFound(name.to_string()))?;
        Ok(Response::new(message(&name.parent, value)))
    }

    async fn set_value(&self, request: Request<SetValueRequest>) -> Result<Response<KeyValue>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        let Some(value) = &mut request.value else {
            return Err(invalid_argument("value", "is missing: give a name and a value"));
        };
        self.own(&caller, &mut value.name).await?;
        let set = read_set(&request)?;
        let namespace = set.name.parent.clone();
        let row = self.set(&caller, &request, set).await?;
        Ok(Response::new(message(&namespace, row)))
    }

    async fn delete_value(&self, request: Request<DeleteValueRequest>) -> Result<Response<()>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        self.own(&caller, &mut request.name).await?;
        let name = key_name("name", &request.name)?;
        let condition = request::condition("if_match", &request.if_match, false)?;
        for _ in 0..DECISIONS {
            let (granted, basis, _) = self.decide_there(&caller, &request, &name.parent).await?;
            match self.namespaces.delete(&name, basis, condition.clone(), record(granted)).await {
                Err(IoError::AclChanged) => {}
                done => return Ok(Response::new(done?)),
            }
        }
        Err(IoError::AclChanged.into())
    }

    async fn list_values(
        &self,
        request: Request<ListValuesRequest>,
    ) -> Result<Response<ListValuesResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        self.own(&caller, &mut request.parent).await?;
        let name = namespace_name("parent", &request.parent)?;
        let size = request::page_size(request.page_size)?;
        let (namespace, page) =
            self.namespaces.list(&name, &request.prefix, &request.page_token, size).await?;
        let _granted = self.decide(&caller, &request, namespace.as_ref()).await?;
        let last = page.values.last().map(|row| row.key.clone()).filter(|_| page.has_more);
        Ok(Response::new(ListValuesResponse {
            values: page.values.into_iter().map(|row| message(&name, row)).collect(),
            next_page_token: last.unwrap_or_default(),
        }))
    }

    async fn delete_namespace(
        &self,
        request: Request<DeleteNamespaceRequest>,
    ) -> Result<Response<()>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        self.own(&caller, &mut request.name).await?;
        let name = namespace_name("name", &request.name)?;
        for _ in 0..DECISIONS {
            let (granted, basis, _) = self.decide_there(&caller, &request, &name).await?;
            match self.namespaces.delete_namespace(&name, basis, record(granted)).await {
                Err(IoError::AclChanged) => {}
                done => return Ok(Response::new(done?)),
            }
        }
        Err(IoError::AclChanged.into())
    }

    async fn get_namespace_acl(
        &self,
        request: Request<GetNamespaceAclRequest>,
    ) -> Result<Response<types::Acl>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        self.own(&caller, &mut request.name).await?;
        let name = namespace_name("name", &request.name)?;
        let (_granted, _, acl) = self.decide_there(&caller, &request, &name).await?;
        Ok(Response::new(types::Acl::from(&acl)))
    }

    async fn set_namespace_acl(
        &self,
        request: Request<SetNamespaceAclRequest>,
    ) -> Result<Response<types::Acl>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        self.own(&caller, &mut request.name).await?;
        let name = namespace_name("name", &request.name)?;
        for _ in 0..DECISIONS {
            let (granted, basis, acl) = self.decide_there(&caller, &request, &name).await?;
            let new = request::replacement(request.acl.as_ref(), &acl)?;
            match self.namespaces.set_acl(&name, basis, new.to_text(), record(granted)).await {
                Err(IoError::AclChanged) => {}
                done => return done.map(|()| Response::new(types::Acl::from(&new))).map_err(Status::from),
            }
        }
        Err(IoError::AclChanged.into())
    }
}

fn read_set(request: &SetValueRequest) -> Result<Set, Status> {
    let value = request.value.clone().unwrap_or_default();
    let name = key_name("value.name", &value.name)?;
    if value.value.len() > MAX_VALUE_BYTES {
        return Err(IoError::TooLarge { what: "a value", limit_bytes: MAX_VALUE_BYTES as u64 }.into());
    }
    let content_type = match value.content_type.as_str() {
        "" => DEFAULT_CONTENT_TYPE.to_owned(),
        told if is_mimetype(told) => told.to_owned(),
        _ => return Err(invalid_argument("value.content_type", "expected type/subtype")),
    };
    Ok(Set {
        name,
        value: value.value.to_vec(),
        content_type,
        condition: request::condition("if_match", &request.if_match, request.if_absent)?,
        basis: Basis::absent(),
        acl_when_new: String::new(),
        time_to_live: request::time_to_live("time_to_live", request.time_to_live)?,
    })
}

/// A new namespace belongs to who sets its first value; its team reads and writes.
fn acl_when_new(name: &NamespaceName, creator: &Candidate) -> Result<Acl, Status> {
    let wrong = |error: &dyn std::fmt::Display| invalid_argument("value.name", error.to_string());
    let team = Candidate::team(&name.team).map_err(|error| wrong(&error))?;
    let mut acl = Acl::owned_by(creator);
    acl.grant(&team, &[Level::Read, Level::Write]).map_err(|error| wrong(&error))?;
    Ok(acl)
}

fn record(granted: Granted) -> Record {
    Box::new(move |tx| granted.record(tx))
}

fn key_name(field: &str, name: &str) -> Result<KeyName, Status> {
    KeyName::parse(name).map_err(|error| invalid_argument(field, error.to_string()))
}

fn namespace_name(field: &str, name: &str) -> Result<NamespaceName, Status> {
    NamespaceName::parse(name).map_err(|error| invalid_argument(field, error.to_string()))
}

fn message(namespace: &NamespaceName, row: ValueRow) -> KeyValue {
    KeyValue {
        name: format!("{namespace}/keys/{}", row.key),
        value: row.value.into(),
        content_type: row.content_type,
        etag: row.etag,
        update_time: Some(timestamp(row.updated_ms)),
        expire_time: row.expires_ms.map(timestamp),
    }
}
