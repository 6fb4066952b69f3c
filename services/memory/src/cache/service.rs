//! The tonic adapter of the cache: name, decide, act, map.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use sre_identity::{Acl, Caller, Candidate};
use sre_proto::error::{Reason, status};
use sre_proto::memory::v1 as pb;
use sre_proto::memory::v1::cache_server::Cache as Rpc;
use sre_proto::types::v1 as types;
use sre_proto::{AccessLevel, Guarded};
use sre_service::connectors::Instance;
use sre_service::limits::HolderQuota;
use sre_service::{Authorizer, Granted, Host};
use tonic::{Code, Request, Response, Status, Streaming};

use super::connectors::{CacheStore, counts};
use super::error::CacheError;
use super::message::{Life, condition, edited, etag, info, new_list, notes, sent, wrong_list};
use super::name::EntryName;
use super::record::{Change, Etag, Guard, Head, Outcome, Record, Seen};
use super::stream::{self, Parts, Reading};
use super::{Limits, Stores};
use crate::usage::Usage;

/// How often a decision is made again because the entry changed meanwhile.
const DECISIONS: usize = 8;
/// The most that a message holds; larger values are streamed.
const MESSAGE_BYTES: u64 = 4 << 20;

type Answer<T> = Result<Response<T>, Status>;

/// `sre.memory.v1.Cache`.
#[derive(Clone)]
pub struct CacheService {
    host: Host,
    stores: Stores,
    limits: Limits,
    authorizer: Authorizer,
    revalidate: Duration,
}

/// An entry as a request names it.
#[derive(Clone, Copy)]
struct Named<'r> {
    name: &'r str,
    instance: &'r str,
}

/// An entry that the caller may act on.
struct Allowed {
    head: Option<Head>,
    now: i64,
    granted: Granted,
}

impl CacheService {
    /// The service over its backends.
    pub fn new(host: Host, stores: Stores, limits: Limits) -> Self {
        let revalidate = Duration::from_millis(host.config().deadlines.revalidate_ms);
        let authorizer = host.authorizer().clone();
        Self { host, stores, limits, authorizer, revalidate }
    }

    /// What each team has in the default backend, where that can tell.
    pub fn usage(&self) -> Usage {
        self.stores.default().usage().cloned().unwrap_or_default()
    }

    /// Refuses what takes a team beyond its quota, where the backend counts.
    async fn check_quota(
        &self,
        store: &dyn CacheStore,
        name: &EntryName,
        allowed: &Allowed,
        change: &Change,
    ) -> Result<(), Status> {
        let (Some(usage), Change::Set { value, .. }) = (store.usage(), change) else { return Ok(()) };
        let quota = self.host.limits().quota(name.team(), HolderQuota::CACHE).await?;
        let before = allowed.head.as_ref().map(|head| counts(name.as_str(), head.size_bytes));
        usage.check(name.as_str(), quota, before, counts(name.as_str(), value.len() as u64))
    }

    async fn find(
        &self,
        caller: &Caller,
        named: Named<'_>,
    ) -> Result<(Instance<dyn CacheStore>, EntryName), Status> {
        let name = EntryName::parse(self.authorizer.resolve_name(caller, named.name).await?)?;
        Ok((self.stores.get(named.instance)?, name))
    }

    /// Decides by the entry's list, or by the name where there is no entry.
    async fn decide<R: Guarded>(
        &self,
        caller: &Caller,
        request: &R,
        head: Option<&Head>,
    ) -> Result<Granted, Status> {
        let Some(head) = head else { return self.authorizer.check(caller, request, None).await };
        let acl = self.list_of(caller, head).await?;
        self.authorizer.check(caller, request, Some(&acl)).await
    }

    /// The list of an entry. One that cannot be read denies everything.
    async fn list_of<'h>(&self, caller: &Caller, head: &'h Head) -> Result<Cow<'h, Acl>, Status> {
        // Only who asks matters: a list of the reference tells nobody else by name.
        let known = if head.guard.is_legacy() { self.known(caller).await? } else { Vec::new() };
        let broken =
            |error| CacheError::Broken(format!("the access list of an entry cannot be read: {error}"));
        Ok(head.guard.acl(&known).map_err(broken)?)
    }

    /// The caller and its teams.
    async fn known(&self, caller: &Caller) -> Result<Vec<Candidate>, Status> {
        let teams = self.authorizer.memberships(caller).await?.team_ids();
        let teams = teams.iter().filter_map(|team| Candidate::team(team.as_str()).ok());
        Ok(std::iter::once(caller.require_candidate()?.clone()).chain(teams).collect())
    }

    /// The record, for who may read it.
    async fn read<R: Guarded>(
        &self,
        caller: &Caller,
        request: &R,
        named: Named<'_>,
    ) -> Result<(Option<Arc<Record>>, i64), Status> {
        let (store, name) = self.find(caller, named).await?;
        let record = store.look(&name).await?;
        let _granted = self.decide(caller, request, record.as_ref().map(|record| &record.head)).await?;
        let result = if record.is_some() { "hit" } else { "miss" };
        metrics::counter!("sre_cache_reads_total", "result" => result).increment(1);
        Ok((record, store.now()))
    }

    /// Decides and acts, and again where the entry changed in between.
    async fn act<R: Guarded>(
        &self,
        caller: &Caller,
        request: &R,
        named: Named<'_>,
        change: impl Fn(&Allowed) -> Result<Change, Status>,
    ) -> Result<Outcome, Status> {
        let (store, name) = self.find(caller, named).await?;
        for _ in 0..DECISIONS {
            let head = store.head(&name).await?;
            let granted = self.decide(caller, request, head.as_ref()).await?;
            let seen = Seen(head.as_ref().map(|head| Arc::clone(&head.guard)));
            let allowed = Allowed { head, now: store.now(), granted };
            let change = change(&allowed)?;
            self.check_besides(caller, &name, &allowed, &change).await?;
            self.check_quota(&**store, &name, &allowed, &change).await?;
            match store.update(&name, &seen, change).await? {
                Outcome::Moved => {}
                outcome => return Ok(outcome),
            }
        }
        Err(CacheError::Contended.into())
    }

    /// What some changes need beyond the method's level.
    async fn check_besides(
        &self,
        caller: &Caller,
        name: &EntryName,
        allowed: &Allowed,
        change: &Change,
    ) -> Result<(), Status> {
        let level = match (&allowed.head, change) {
            (_, Change::Take) => AccessLevel::Read,
            // What replaces it has a new list, which is not a writer's to make (H7).
            (Some(head), _) if head.guard.is_legacy() => AccessLevel::Owner,
            _ => return Ok(()),
        };
        let acl = match &allowed.head {
            Some(head) => Some(self.list_of(caller, head).await?),
            None => None,
        };
        drop(self.authorizer.check_level(caller, name.as_str(), level, acl.as_deref()).await?);
        Ok(())
    }

    async fn set<R: Guarded>(
        &self,
        caller: &Caller,
        guarded: &R,
        request: &pb::SetEntryRequest,
        value: bytes::Bytes,
    ) -> Result<(bool, String), Status> {
        let life = Life::of(request.ttl_ms, &self.limits)?;
        let (condition, notes) = (condition(request)?, Arc::new(notes(&request.metadata)?));
        let version = new_etag();
        let named = Named { name: &request.name, instance: &request.instance };
        let outcome = self.act(caller, guarded, named, |allowed| {
            Ok(Change::Set {
                value: value.clone(),
                etag: version,
                expires_ms: life.from(allowed.now),
                notes: Arc::clone(&notes),
                guard: Guard::of(new_list(&allowed.granted, request.acl.as_ref())?),
                condition,
            })
        });
        match outcome.await? {
            Outcome::Unheld => Ok((false, String::new())),
            _ => Ok((true, etag(version))),
        }
    }
}

#[tonic::async_trait]
impl Rpc for CacheService {
    type ReadEntryStream = Parts;

    async fn get_entry(&self, request: Request<pb::GetEntryRequest>) -> Answer<pb::GetEntryResponse> {
        let caller = Caller::of(request.extensions())?;
        let request = request.get_ref();
        let named = Named { name: &request.name, instance: &request.instance };
        let (record, now) = self.read(caller, request, named).await?;
        let Some(record) = record else { return Ok(Response::new(pb::GetEntryResponse::default())) };
        if record.head.size_bytes > MESSAGE_BYTES {
            let words = format!("the value has {} bytes: read it with ReadEntry", record.head.size_bytes);
            return Err(status(Code::FailedPrecondition, Reason::TooLarge, words));
        }
        Ok(Response::new(pb::GetEntryResponse {
            found: true,
            value: record.value.clone(),
            ttl_ms: Some(record.head.ttl_ms(now)),
            etag: etag(record.head.etag),
            metadata: sent(&record.head.notes),
        }))
    }

    async fn get_entry_info(
        &self,
        request: Request<pb::GetEntryInfoRequest>,
    ) -> Answer<pb::GetEntryInfoResponse> {
        let caller = Caller::of(request.extensions())?;
        let request = request.get_ref();
        let named = Named { name: &request.name, instance: &request.instance };
        let (store, name) = self.find(caller, named).await?;
        let head = store.head(&name).await?;
        let _granted = self.decide(caller, request, head.as_ref()).await?;
        Ok(Response::new(info(head.as_ref(), store.now())))
    }

    async fn read_entry(&self, request: Request<pb::ReadEntryRequest>) -> Answer<Parts> {
        let caller = Caller::of(request.extensions())?;
        let request = request.get_ref();
        let named = Named { name: &request.name, instance: &request.instance };
        let (record, now) = self.read(caller, request, named).await?;
        let reading = Reading::new(record.as_ref(), now, caller, &self.authorizer, self.revalidate);
        Ok(Response::new(reading.parts()))
    }

    async fn take_entry(&self, request: Request<pb::TakeEntryRequest>) -> Answer<pb::TakeEntryResponse> {
        let caller = Caller::of(request.extensions())?;
        let request = request.get_ref();
        let named = Named { name: &request.name, instance: &request.instance };
        let taken = self.act(caller, request, named, |allowed| {
            // Refused before it is gone: it could not be answered.
            match &allowed.head {
                Some(head) if head.size_bytes > MESSAGE_BYTES => Err(status(
                    Code::FailedPrecondition,
                    Reason::TooLarge,
                    "the value is larger than a message: read it with ReadEntry and delete it",
                )),
                _ => Ok(Change::Take),
            }
        });
        let answer = match taken.await? {
            Outcome::Taken(record) => {
                pb::TakeEntryResponse { found: true, value: record.value, metadata: sent(&record.head.notes) }
            }
            _ => pb::TakeEntryResponse::default(),
        };
        Ok(Response::new(answer))
    }

    async fn set_entry(&self, request: Request<pb::SetEntryRequest>) -> Answer<pb::SetEntryResponse> {
        let caller = Caller::of(request.extensions())?;
        let request = request.get_ref();
        let limit = self.limits.max_value_bytes.min(MESSAGE_BYTES);
        if request.value.len() as u64 > limit {
            return Err(stream::too_large(limit));
        }
        let (stored, etag) = self.set(caller, request, request, request.value.clone()).await?;
        Ok(Response::new(pb::SetEntryResponse { stored, etag }))
    }

    async fn write_entry(
        &self,
        request: Request<Streaming<pb::WriteEntryRequest>>,
    ) -> Answer<pb::WriteEntryResponse> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut parts = request.into_inner();
        let first = stream::first(&mut parts).await?;
        let Some(pb::write_entry_request::Part::Header(header)) = &first.part else {
            return Err(status(Code::InvalidArgument, Reason::InvalidArgument, "header must come first"));
        };
        // What fails anyway fails before the bytes are sent.
        let (store, name) =
            self.find(&caller, Named { name: &header.name, instance: &header.instance }).await?;
        drop(self.decide(&caller, &first, store.head(&name).await?.as_ref()).await?);
        let value = stream::rest(&mut parts, header.value.clone(), self.limits.max_value_bytes).await?;
        let (stored, etag) = self.set(&caller, &first, header, value).await?;
        Ok(Response::new(pb::WriteEntryResponse { stored, etag }))
    }

    async fn update_entry_metadata(
        &self,
        request: Request<pb::UpdateEntryMetadataRequest>,
    ) -> Answer<pb::UpdateEntryMetadataResponse> {
        let caller = Caller::of(request.extensions())?;
        let request = request.get_ref();
        let named = Named { name: &request.name, instance: &request.instance };
        let set = notes(&request.set)?;
        let made = parking_lot::Mutex::new(Arc::default());
        let outcome = self.act(caller, request, named, |allowed| {
            let from = allowed.head.as_ref().map(|head| Arc::clone(&head.notes)).unwrap_or_default();
            let to = Arc::new(edited(&from, set.clone(), &request.remove)?);
            *made.lock() = Arc::clone(&to);
            Ok(Change::SetNotes { from, to })
        });
        let found = outcome.await? == Outcome::Done;
        let metadata = if found { sent(&made.into_inner()) } else { Default::default() };
        Ok(Response::new(pb::UpdateEntryMetadataResponse { found, metadata }))
    }

    async fn delete_entry(
        &self,
        request: Request<pb::DeleteEntryRequest>,
    ) -> Answer<pb::DeleteEntryResponse> {
        let caller = Caller::of(request.extensions())?;
        let request = request.get_ref();
        let named = Named { name: &request.name, instance: &request.instance };
        let outcome = self.act(caller, request, named, |_| Ok(Change::Delete)).await?;
        Ok(Response::new(pb::DeleteEntryResponse { deleted: outcome == Outcome::Done }))
    }

    async fn touch_entry(&self, request: Request<pb::TouchEntryRequest>) -> Answer<pb::TouchEntryResponse> {
        let caller = Caller::of(request.extensions())?;
        let request = request.get_ref();
        let named = Named { name: &request.name, instance: &request.instance };
        let life = Life::of(request.ttl_ms, &self.limits)?;
        let touch = |allowed: &Allowed| Ok(Change::Touch { expires_ms: life.from(allowed.now) });
        let outcome = self.act(caller, request, named, touch).await?;
        Ok(Response::new(pb::TouchEntryResponse { found: outcome == Outcome::Done }))
    }

    async fn increment_entry(
        &self,
        request: Request<pb::IncrementEntryRequest>,
    ) -> Answer<pb::IncrementEntryResponse> {
        let caller = Caller::of(request.extensions())?;
        let request = request.get_ref();
        let named = Named { name: &request.name, instance: &request.instance };
        let life = Life::of(request.ttl_ms, &self.limits)?;
        let outcome = self.act(caller, request, named, |allowed| {
            Ok(Change::Increment {
                delta: request.delta,
                etag: new_etag(),
                expires_ms: life.from(allowed.now),
                guard: Guard::of(new_list(&allowed.granted, None)?),
            })
        });
        match outcome.await? {
            Outcome::Sum(value) => Ok(Response::new(pb::IncrementEntryResponse { value })),
            Outcome::Overflow => Err(refused("the sum does not fit into 64 bits")),
            _ => Err(refused("the value is not a whole number")),
        }
    }

    async fn get_entry_acl(&self, request: Request<pb::GetEntryAclRequest>) -> Answer<types::Acl> {
        let caller = Caller::of(request.extensions())?;
        let request = request.get_ref();
        let named = Named { name: &request.name, instance: &request.instance };
        let (store, name) = self.find(caller, named).await?;
        let head = store.head(&name).await?;
        let _granted = self.decide(caller, request, head.as_ref()).await?;
        let list = self.list_of(caller, &head.ok_or_else(not_found)?).await?.into_owned();
        Ok(Response::new((&list).into()))
    }

    async fn set_entry_acl(&self, request: Request<pb::SetEntryAclRequest>) -> Answer<types::Acl> {
        let caller = Caller::of(request.extensions())?;
        let request = request.get_ref();
        let named = Named { name: &request.name, instance: &request.instance };
        let asked = request.acl.clone().unwrap_or_default();
        let list = Acl::try_from(&asked).map_err(wrong_list)?;
        list.require_owner().map_err(wrong_list)?;
        let outcome = self.act(caller, request, named, |allowed| {
            let head = allowed.head.as_ref().ok_or_else(not_found)?;
            let current = head.guard.acl(&[]).map_err(CacheError::Broken)?;
            if !asked.etag.is_empty() && asked.etag != current.etag() {
                let words = "the access list was changed since: read it again";
                return Err(status(Code::Aborted, Reason::VersionConflict, words));
            }
            Ok(Change::SetGuard(Guard::of(list.clone())))
        });
        match outcome.await? {
            Outcome::Done => Ok(Response::new((&list).into())),
            _ => Err(not_found()),
        }
    }
}

fn new_etag() -> Etag {
    sre_proto::ids::new_uuid().as_u128()
}

fn not_found() -> Status {
    status(Code::NotFound, Reason::NotFound, "there is no such entry")
}

fn refused(words: &str) -> Status {
    status(Code::FailedPrecondition, Reason::InvalidArgument, words)
}
