//! The tonic adapter of the cache: name, decide, act, map.

use std::sync::Arc;
use std::time::Duration;

use sre_identity::{Acl, Caller, Candidate, Level, resource::Pattern};
use sre_proto::Guarded;
use sre_proto::error::{Reason, invalid_argument, status};
use sre_proto::memory::v1 as pb;
use sre_proto::memory::v1::cache_server::Cache as Rpc;
use sre_proto::types::v1 as types;
use sre_service::{Authorizer, Granted};
use tonic::{Code, Request, Response, Status};

use super::{Condition, Entries, Entry, Moved, NotCounted, Seen};

/// Whose keys there are.
static NAMES: [Pattern; 3] = [
    Pattern::new("teams/{team}/agents/{agent}/cache/{key=**}"),
    Pattern::new("teams/{team}/users/{user}/cache/{key=**}"),
    Pattern::new("teams/{team}/cache/{key=**}"),
];
/// How often a decision is made again because the list changed meanwhile.
const DECISIONS: usize = 8;

type Answer<T> = Result<Response<T>, Status>;

/// `sre.memory.v1.Cache`.
#[derive(Clone)]
pub struct CacheService {
    entries: Entries,
    authorizer: Authorizer,
}

/// An entry that the caller may act on.
struct Allowed {
    name: String,
    entry: Option<Arc<Entry>>,
    seen: Seen,
    granted: Granted,
}

impl CacheService {
    /// The service over the entries.
    pub fn new(entries: Entries, authorizer: Authorizer) -> Self {
        Self { entries, authorizer }
    }

    /// Decides by the entry's list, or by the name where there is no entry.
    async fn allow<R: Guarded>(&self, caller: &Caller, request: &R, name: &str) -> Result<Allowed, Status> {
        let name = self.authorizer.resolve_name(caller, name).await?;
        if !NAMES.iter().any(|pattern| pattern.matches(&name)) {
            let words = "write teams/{team}/agents/{agent}/cache/{key}, teams/{team}/users/{user}/cache/{key} \
                         or teams/{team}/cache/{key}";
            return Err(invalid_argument("name", words));
        }
        let (entry, seen) = self.entries.look(&name);
        let acl = entry.as_ref().map(|entry| &*entry.acl);
        let granted = self.authorizer.check(caller, request, acl).await?;
        Ok(Allowed { name, entry, seen, granted })
    }

    /// Decides and acts, and again where the list changed in between.
    async fn act<R, T>(
        &self,
        request: &Request<R>,
        name: impl Fn(&R) -> &str,
        act: impl Fn(&R, &Allowed) -> Result<Result<T, Moved>, Status>,
    ) -> Result<T, Status>
    where
        R: Guarded,
    {
        let caller = Caller::of(request.extensions())?;
        let request = request.get_ref();
        for _ in 0..DECISIONS {
            let allowed = self.allow(caller, request, name(request)).await?;
            if let Ok(answer) = act(request, &allowed)? {
                return Ok(answer);
            }
        }
        Err(status(Code::Aborted, Reason::VersionConflict, "the entry changes all the time: try again"))
    }

    fn time_to_live(&self, asked: Option<prost_types::Duration>) -> Result<Duration, Status> {
        let settings = self.entries.settings();
        let Some(asked) = asked else { return Ok(settings.default_ttl) };
        match Duration::try_from(asked) {
            Ok(asked) if !asked.is_zero() && asked <= settings.max_ttl => Ok(asked),
            _ => {
                let words = format!("must be more than 0 and {} s at most", settings.max_ttl.as_secs());
                Err(invalid_argument("time_to_live", words))
            }
        }
    }
}

#[tonic::async_trait]
impl Rpc for CacheService {
    async fn get_entry(&self, request: Request<pb::GetEntryRequest>) -> Answer<pb::GetEntryResponse> {
        let caller = Caller::of(request.extensions())?;
        let allowed = self.allow(caller, request.get_ref(), &request.get_ref().name).await?;
        let answer = match allowed.entry {
            None => pb::GetEntryResponse::default(),
            Some(entry) => pb::GetEntryResponse {
                found: true,
                value: entry.value.clone(),
                time_to_live: entry.time_to_live().try_into().ok(),
                etag: etag(entry.etag),
            },
        };
        Ok(Response::new(answer))
    }

    async fn set_entry(&self, request: Request<pb::SetEntryRequest>) -> Answer<pb::SetEntryResponse> {
        let time_to_live = self.time_to_live(request.get_ref().time_to_live)?;
        let limit = self.entries.settings().max_value_bytes;
        if request.get_ref().value.len() as u64 > limit {
            let words = format!("value is larger than {limit} bytes: store a file and cache its name");
            return Err(status(Code::InvalidArgument, Reason::TooLarge, words));
        }
        let condition = condition(request.get_ref())?;
        let set = self
            .act(
                &request,
                |request| &request.name,
                |request, allowed| {
                    let acl = new_list(&allowed.granted, request.acl.as_ref())?;
                    let value = request.value.clone();
                    Ok(self.entries.set(&allowed.name, allowed.seen, value, time_to_live, condition, acl))
                },
            )
            .await?;
        let answer = pb::SetEntryResponse { stored: set.is_some(), etag: set.map(etag).unwrap_or_default() };
        Ok(Response::new(answer))
    }

    async fn delete_entry(
        &self,
        request: Request<pb::DeleteEntryRequest>,
    ) -> Answer<pb::DeleteEntryResponse> {
        let deleted = self
            .act(
                &request,
                |request| &request.name,
                |_, allowed| Ok(self.entries.delete(&allowed.name, allowed.seen)),
            )
            .await?;
        Ok(Response::new(pb::DeleteEntryResponse { deleted }))
    }

    async fn touch_entry(&self, request: Request<pb::TouchEntryRequest>) -> Answer<pb::TouchEntryResponse> {
        let time_to_live = self.time_to_live(request.get_ref().time_to_live)?;
        let found = self
            .act(
                &request,
                |request| &request.name,
                |_, allowed| Ok(self.entries.touch(&allowed.name, allowed.seen, time_to_live)),
            )
            .await?;
        Ok(Response::new(pb::TouchEntryResponse { found }))
    }

    async fn increment_entry(
        &self,
        request: Request<pb::IncrementEntryRequest>,
    ) -> Answer<pb::IncrementEntryResponse> {
        let time_to_live = self.time_to_live(request.get_ref().time_to_live)?;
        let value = self
            .act(
                &request,
                |request| &request.name,
                |request, allowed| {
                    let acl = new_list(&allowed.granted, None)?;
                    let (name, seen) = (&allowed.name, allowed.seen);
                    match self.entries.increment(name, seen, request.delta, time_to_live, acl) {
                        Ok(value) => Ok(Ok(value)),
                        Err(NotCounted::Moved) => Ok(Err(Moved)),
                        Err(NotCounted::NoNumber) => Err(refused("the value is not a whole number")),
                        Err(NotCounted::Overflow) => Err(refused("the sum does not fit into 64 bits")),
                    }
                },
            )
            .await?;
        Ok(Response::new(pb::IncrementEntryResponse { value }))
    }

    async fn get_entry_acl(&self, request: Request<pb::GetEntryAclRequest>) -> Answer<types::Acl> {
        let caller = Caller::of(request.extensions())?;
        let allowed = self.allow(caller, request.get_ref(), &request.get_ref().name).await?;
        let entry = allowed.entry.ok_or_else(not_found)?;
        Ok(Response::new((&*entry.acl).into()))
    }

    async fn set_entry_acl(&self, request: Request<pb::SetEntryAclRequest>) -> Answer<types::Acl> {
        let asked = request.get_ref().acl.clone().unwrap_or_default();
        let list = Acl::try_from(&asked).map_err(wrong_list)?;
        list.require_owner().map_err(wrong_list)?;
        self.act(
            &request,
            |request| &request.name,
            |_, allowed| {
                let entry = allowed.entry.as_ref().ok_or_else(not_found)?;
                if !asked.etag.is_empty() && asked.etag != entry.acl.etag() {
                    let words = "the access list was changed since: read it again";
                    return Err(status(Code::Aborted, Reason::VersionConflict, words));
                }
                Ok(self.entries.set_acl(&allowed.name, allowed.seen, list.clone()))
            },
        )
        .await?;
        Ok(Response::new((&list).into()))
    }
}

/// The list of a new entry: what the request gives, and its creator's ownership.
fn new_list(granted: &Granted, asked: Option<&types::Acl>) -> Result<Acl, Status> {
    let creator: &Candidate = granted.candidate()?;
    let Some(asked) = asked else { return Ok(Acl::owned_by(creator)) };
    let mut list = Acl::try_from(asked).map_err(wrong_list)?;
    list.grant(creator, &[Level::Owner]).map_err(wrong_list)?;
    Ok(list)
}

fn condition(request: &pb::SetEntryRequest) -> Result<Condition, Status> {
    Ok(match request.condition() {
        pb::SetCondition::Unspecified => Condition::Always,
        pb::SetCondition::IfAbsent => Condition::IfAbsent,
        pb::SetCondition::IfPresent => Condition::IfPresent,
        pb::SetCondition::IfMatch => {
            let parsed = u64::from_str_radix(&request.etag, 16);
            Condition::IfMatch(
                parsed.map_err(|_| invalid_argument("etag", "is none that this service gave"))?,
            )
        }
    })
}

fn etag(version: u64) -> String {
    format!("{version:016x}")
}

fn wrong_list(error: sre_identity::acl::AclError) -> Status {
    invalid_argument("acl", error.to_string())
}

fn not_found() -> Status {
    status(Code::NotFound, Reason::NotFound, "there is no such entry")
}

fn refused(words: &str) -> Status {
    status(Code::FailedPrecondition, Reason::InvalidArgument, words)
}
