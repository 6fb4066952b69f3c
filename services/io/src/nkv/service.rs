//! The tonic adapter: names and messages to the domain, the access check, errors to statuses.

use std::sync::Arc;

use sre_identity::{Acl, Caller, Candidate, Level};
use sre_proto::error::invalid_argument;
use sre_proto::io::v1 as pb;
use sre_proto::io::v1::nkv_server::Nkv;
use sre_proto::types::v1 as types;
use sre_proto::{AccessLevel, Guarded};
use sre_service::connectors::Instance;
use sre_service::{Granted, Host};
use tonic::{Request, Response, Status};

use super::connectors::NkvStore;
use super::lists::{List, Lists};
use super::model::{Namespace, Range, Set, ValueRow};
use super::{KeyName, MAX_VALUE_BYTES, NamespaceName, Stores};
use crate::basis::{Basis, Recorder};
use crate::clock::timestamp;
use crate::error::IoError;
use crate::request::{self, DECISIONS};
use crate::storage::is_mimetype;
use crate::usage::{Kind, Quota};

const DEFAULT_CONTENT_TYPE: &str = "application/json";

/// Serves `sre.io.v1.Nkv`.
#[derive(Clone)]
pub struct NkvService {
    host: Host,
    stores: Stores,
    lists: Lists,
}

/// An instance of the service and its id.
struct At {
    store: Instance<dyn NkvStore>,
    id: Arc<str>,
}

/// A change that may be made, and what that was decided on.
struct Decided {
    granted: Granted,
    basis: Basis,
    list: Option<Arc<List>>,
}

impl NkvService {
    /// Serves these stores.
    pub fn new(host: Host, stores: Stores) -> Self {
        Self { host, stores, lists: Lists::new() }
    }

    /// The instance that a request names, and its name with `-` replaced.
    async fn at(&self, caller: &Caller, instance: &str, name: &mut String) -> Result<At, Status> {
        *name = self.host.authorizer().resolve_name(caller, name).await?;
        let store = self.stores.get(instance)?;
        let id = Arc::from(store.id());
        Ok(At { store, id })
    }

    /// Decides on the namespace's list, or on the team's rights where there is none.
    async fn decide<R: Guarded>(
        &self,
        caller: &Caller,
        request: &R,
        at: &At,
        name: &NamespaceName,
        found: Option<&Namespace>,
    ) -> Result<Decided, Status> {
        let list = found.map(|found| self.lists.read(&at.id, name, found)).transpose()?;
        let acl = list.as_ref().map(|list| &list.acl);
        let granted = self.host.authorizer().check(caller, request, acl).await?;
        let basis = list.as_ref().map_or_else(Basis::absent, |list| Basis::row(&list.text));
        Ok(Decided { granted, basis, list })
    }

    /// The same by what the store holds now.
    async fn decide_now<R: Guarded>(
        &self,
        caller: &Caller,
        request: &R,
        at: &At,
        name: &NamespaceName,
    ) -> Result<Decided, Status> {
        let found = at.store.find(name).await?;
        self.decide(caller, request, at, name, found.as_ref()).await
    }

    /// The same on a namespace that is there.
    async fn decide_there<R: Guarded>(
        &self,
        caller: &Caller,
        request: &R,
        at: &At,
        name: &NamespaceName,
    ) -> Result<(Decided, Arc<List>), Status> {
        let decided = self.decide_now(caller, request, at, name).await?;
        let list = decided.list.clone().ok_or_else(|| IoError::NotFound(name.to_string()))?;
        Ok((decided, list))
    }

    /// Decides on a write by the list that is remembered, if that allows it; the write itself checks that the list
    /// is still this one.
    async fn decide_quickly(
        &self,
        caller: &Caller,
        request: &pb::SetValueRequest,
        at: &At,
        name: &NamespaceName,
    ) -> Result<Option<Decided>, Status> {
        let Some(list) = self.lists.remembered(&at.id, name) else { return Ok(None) };
        let authorizer = self.host.authorizer();
        if !authorizer.may(caller, &request.resource(), AccessLevel::Write, Some(&list.acl)).await? {
            return Ok(None);
        }
        let granted = authorizer.check(caller, request, Some(&list.acl)).await?;
        Ok(Some(Decided { granted, basis: Basis::row(&list.text), list: Some(list) }))
    }

    async fn set(
        &self,
        caller: &Caller,
        request: &pb::SetValueRequest,
        at: &At,
        set: Set,
    ) -> Result<ValueRow, Status> {
        let namespace = set.name.parent.clone();
        let quota = self.host.limits().quota(&namespace.team, Kind::Values.limits()).await?.into();
        let mut quick = self.decide_quickly(caller, request, at, &namespace).await?;
        for _ in 0..DECISIONS {
            let decided = match quick.take() {
                Some(decided) => decided,
                None => self.decide_now(caller, request, at, &namespace).await?,
            };
            let list_when_new = match decided.list {
                Some(_) => String::new(),
                None => list_when_new(&namespace, decided.granted.candidate()?)?.to_text(),
            };
            let set = Set { basis: decided.basis, list_when_new, quota, ..set.clone() };
            match at.store.set(set, record(decided.granted)).await {
                Err(IoError::AclChanged) => {}
                done => return Ok(done?),
            }
        }
        Err(IoError::AclChanged.into())
    }

    /// A namespace's value, for who may read it.
    async fn read<R: Guarded>(
        &self,
        caller: &Caller,
        request: &R,
        at: &At,
        name: &KeyName,
    ) -> Result<Option<ValueRow>, Status> {
        let (namespace, value) = at.store.get(name).await?;
        drop(self.decide(caller, request, at, &name.parent, namespace.as_ref()).await?);
        Ok(value)
    }
}

#[tonic::async_trait]
impl Nkv for NkvService {
    async fn get_value(
        &self,
        request: Request<pb::GetValueRequest>,
    ) -> Result<Response<pb::KeyValue>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        let at = self.at(&caller, &request.instance, &mut request.name).await?;
        let name = key_name("name", &request.name)?;
        let value = self.read(&caller, &request, &at, &name).await?;
        let value = value.ok_or_else(|| IoError::NotFound(name.to_string()))?;
        Ok(Response::new(message(&name.parent, value)))
    }

    async fn value_exists(
        &self,
        request: Request<pb::ValueExistsRequest>,
    ) -> Result<Response<pb::ValueExistsResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        let at = self.at(&caller, &request.instance, &mut request.name).await?;
        let name = key_name("name", &request.name)?;
        let exists = self.read(&caller, &request, &at, &name).await?.is_some();
        Ok(Response::new(pb::ValueExistsResponse { exists }))
    }

    async fn set_value(
        &self,
        request: Request<pb::SetValueRequest>,
    ) -> Result<Response<pb::KeyValue>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        let Some(value) = &mut request.value else {
            return Err(invalid_argument("value", "is missing: give a name and a value"));
        };
        let at = self.at(&caller, &request.instance, &mut value.name).await?;
        let set = read_set(&request)?;
        let namespace = set.name.parent.clone();
        let row = self.set(&caller, &request, &at, set).await?;
        Ok(Response::new(message(&namespace, row)))
    }

    async fn delete_value(&self, request: Request<pb::DeleteValueRequest>) -> Result<Response<()>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        let at = self.at(&caller, &request.instance, &mut request.name).await?;
        let name = key_name("name", &request.name)?;
        let condition = request::condition("if_match", &request.if_match, false)?;
        for _ in 0..DECISIONS {
            let (decided, _) = self.decide_there(&caller, &request, &at, &name.parent).await?;
            let record = record(decided.granted);
            match at.store.delete(&name, decided.basis, condition.clone(), record).await {
                Err(IoError::AclChanged) => {}
                done => return Ok(Response::new(done?)),
            }
        }
        Err(IoError::AclChanged.into())
    }

    async fn list_values(
        &self,
        request: Request<pb::ListValuesRequest>,
    ) -> Result<Response<pb::ListValuesResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        let at = self.at(&caller, &request.instance, &mut request.parent).await?;
        let name = namespace_name("parent", &request.parent)?;
        let range = Range {
            prefix: request.prefix.clone(),
            after: request.page_token.clone(),
            limit: request::page_size(request.page_size)?,
        };
        let (namespace, page) = at.store.list(&name, &range).await?;
        drop(self.decide(&caller, &request, &at, &name, namespace.as_ref()).await?);
        Ok(Response::new(pb::ListValuesResponse {
            values: page.values.into_iter().map(|row| message(&name, row)).collect(),
            next_page_token: page.next.unwrap_or_default(),
        }))
    }

    async fn list_namespaces(
        &self,
        request: Request<pb::ListNamespacesRequest>,
    ) -> Result<Response<pb::ListNamespacesResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        let at = self.at(&caller, &request.instance, &mut request.parent).await?;
        let team = super::name::team(&request.parent)
            .map_err(|error| invalid_argument("parent", error.to_string()))?;
        drop(self.host.authorizer().check(&caller, &request, None).await?);
        let size = request::page_size(request.page_size)?;
        let page = at.store.namespaces(&team, &request.page_token, size).await?;
        let last = page.namespaces.last().map(|(name, _)| name.clone()).filter(|_| page.has_more);
        let mut namespaces = Vec::with_capacity(page.namespaces.len());
        for (namespace, found) in page.namespaces {
            let name = NamespaceName { team: team.clone(), namespace };
            let list = self.lists.read(&at.id, &name, &found)?;
            let name = name.to_string();
            if self.host.authorizer().may(&caller, &name, AccessLevel::Read, Some(&list.acl)).await? {
                namespaces.push(pb::Namespace { name });
            }
        }
        Ok(Response::new(pb::ListNamespacesResponse {
            namespaces,
            next_page_token: last.unwrap_or_default(),
        }))
    }

    async fn delete_namespace(
        &self,
        request: Request<pb::DeleteNamespaceRequest>,
    ) -> Result<Response<()>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        let at = self.at(&caller, &request.instance, &mut request.name).await?;
        let name = namespace_name("name", &request.name)?;
        for _ in 0..DECISIONS {
            let (decided, _) = self.decide_there(&caller, &request, &at, &name).await?;
            match at.store.delete_namespace(&name, decided.basis, record(decided.granted)).await {
                Err(IoError::AclChanged) => {}
                done => return Ok(Response::new(done?)),
            }
        }
        Err(IoError::AclChanged.into())
    }

    async fn get_namespace_acl(
        &self,
        request: Request<pb::GetNamespaceAclRequest>,
    ) -> Result<Response<types::Acl>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        let at = self.at(&caller, &request.instance, &mut request.name).await?;
        let name = namespace_name("name", &request.name)?;
        let (_decided, list) = self.decide_there(&caller, &request, &at, &name).await?;
        Ok(Response::new(types::Acl::from(&list.acl)))
    }

    async fn set_namespace_acl(
        &self,
        request: Request<pb::SetNamespaceAclRequest>,
    ) -> Result<Response<types::Acl>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        let at = self.at(&caller, &request.instance, &mut request.name).await?;
        let name = namespace_name("name", &request.name)?;
        for _ in 0..DECISIONS {
            let (decided, list) = self.decide_there(&caller, &request, &at, &name).await?;
            let new = request::replacement(request.acl.as_ref(), &list.acl)?;
            let record = record(decided.granted);
            match at.store.set_list(&name, decided.basis, new.to_text(), record).await {
                Err(IoError::AclChanged) => {}
                done => return done.map(|()| Response::new(types::Acl::from(&new))).map_err(Status::from),
            }
        }
        Err(IoError::AclChanged.into())
    }
}

fn read_set(request: &pb::SetValueRequest) -> Result<Set, Status> {
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
        value: value.value,
        content_type,
        condition: request::condition("if_match", &request.if_match, request.if_absent)?,
        basis: Basis::absent(),
        list_when_new: String::new(),
        time_to_live: request::time_to_live("time_to_live", request.time_to_live)?,
        quota: Quota { items: 0, bytes: 0 },
    })
}

/// A new namespace belongs to who sets its first value; its team reads and writes.
fn list_when_new(name: &NamespaceName, creator: &Candidate) -> Result<Acl, Status> {
    let wrong = |error: &dyn std::fmt::Display| invalid_argument("value.name", error.to_string());
    let team = Candidate::team(&name.team).map_err(|error| wrong(&error))?;
    let mut acl = Acl::owned_by(creator);
    acl.grant(&team, &[Level::Read, Level::Write]).map_err(|error| wrong(&error))?;
    Ok(acl)
}

fn record(granted: Granted) -> Recorder {
    Arc::new(granted)
}

fn key_name(field: &str, name: &str) -> Result<KeyName, Status> {
    KeyName::parse(name).map_err(|error| invalid_argument(field, error.to_string()))
}

fn namespace_name(field: &str, name: &str) -> Result<NamespaceName, Status> {
    NamespaceName::parse(name).map_err(|error| invalid_argument(field, error.to_string()))
}

fn message(namespace: &NamespaceName, row: ValueRow) -> pb::KeyValue {
    pb::KeyValue {
        name: format!("{namespace}/keys/{}", row.key),
        value: row.value,
        content_type: row.content_type,
        etag: row.etag,
        update_time: Some(timestamp(row.updated_ms)),
        expire_time: row.expires_ms.map(timestamp),
    }
}
