//! Namespaces out of process, over `sre.connector.v1.Nkv`.
//!
//! The connector compares versions, counts and writes in one step. A namespace's version is the digest of its access
//! list, so that a decision names it without reading; a value's is its etag. What a condition says of a value that may
//! have ended is decided here, over what was read, and tried again where somebody was faster.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use sre_proto::connector::v1 as pb;
use sre_proto::connector::v1::apply_request::{Change, Keep, Remove};
use sre_proto::connector::v1::apply_response::Outcome;
use sre_proto::connector::v1::expected::{Anything, Nothing, What};
use sre_proto::connector::v1::nkv_client::NkvClient;
use sre_service::connectors::grpc::{ConnectorChannel, OutOfProcess, SILENCE, with_causes};
use sre_service::connectors::{Connector, Opening, Unhealthy};
use tokio::time::timeout;
use tonic::{Code, Response, Status};

use super::NkvStore;
use crate::basis::{Basis, Condition, Recorder};
use crate::clock::{Clock, Millis};
use crate::error::IoError;
use crate::nkv::PAGE_BYTES;
use crate::nkv::model::{Found, Names, Namespace, Page, Range, Set, ValueRow};
use crate::nkv::name::{KeyName, NamespaceName};
use crate::usage::Quota;

/// How often a change is tried over what others change meanwhile.
const TRIES: usize = 64;
const SWEEP_BATCH: i32 = 500;
/// A value of a MiB with what is around it.
const MESSAGE_BYTES: usize = 4 << 20;

/// Opens an instance.
pub(super) async fn open(opening: Opening) -> anyhow::Result<Arc<dyn NkvStore>> {
    let way = OutOfProcess::open(&opening, "sre.connector.v1.Nkv").await?;
    Ok(Arc::new(GrpcValues::new(way, Clock::system())))
}

/// A connector out of process. Clones share the connection.
#[derive(Clone, Debug)]
pub struct GrpcValues {
    way: OutOfProcess,
    clock: Clock,
}

/// What the service keeps with a value. The connector does not look into it.
#[derive(Serialize, Deserialize)]
struct Attributes {
    content_type: String,
    updated_ms: Millis,
}

impl GrpcValues {
    /// Namespaces of a connector.
    pub fn new(way: OutOfProcess, clock: Clock) -> Self {
        Self { way, clock }
    }

    fn client(&self) -> NkvClient<ConnectorChannel> {
        NkvClient::new(self.way.channel()).max_decoding_message_size(MESSAGE_BYTES)
    }

    /// A namespace, and a value as it stands, ended or not.
    async fn read(&self, name: &NamespaceName, key: Option<&str>) -> Result<Found, IoError> {
        let request = pb::ReadNamespaceRequest {
            team: name.team.clone(),
            namespace: name.namespace.clone(),
            keys: key.map(str::to_owned).into_iter().collect(),
        };
        let answer = read(async { self.client().read_namespace(request).await }).await?;
        let row = answer.values.into_iter().next().map(row).transpose()?;
        Ok((answer.namespace.map(namespace).transpose()?, row))
    }

    /// Makes a change of a namespace and perhaps of a value. None: something that was expected is not so.
    async fn apply(
        &self,
        name: &NamespaceName,
        basis: &Basis,
        change: Change,
        value: Option<pb::ValueChange>,
        quota: Option<Quota>,
    ) -> Result<Option<()>, IoError> {
        let limit = quota.map(|quota| pb::Usage { value_count: quota.items, size_bytes: quota.bytes });
        let request = pb::ApplyRequest {
            team: name.team.clone(),
            namespace: name.namespace.clone(),
            expected: Some(expected(basis.list().map(version_of))),
            change: Some(change),
            values: value.into_iter().collect(),
            limit,
        };
        let applied = timeout(SILENCE, async { self.client().apply(request).await }).await;
        let answer = applied.map_err(|_elapsed| IoError::Uncertain("no answer in time".to_owned()))?;
        match answer.map_err(|status| unwritten(&status))?.get_ref().outcome() {
            Outcome::Applied => Ok(Some(())),
            Outcome::Unexpected => Ok(None),
            Outcome::OverLimit => Err(IoError::Quota { team: name.team.clone(), what: "values" }),
            Outcome::Unspecified => Err(IoError::Broken("the connector says no outcome".to_owned())),
        }
    }

    /// Why a change was not made, where it is the list; else it is tried again.
    async fn still_decided(&self, name: &NamespaceName, basis: &Basis) -> Result<(), IoError> {
        let (found, _) = self.read(name, None).await?;
        if basis.holds(found.as_ref().map(|found| &*found.list)) { Ok(()) } else { Err(IoError::AclChanged) }
    }

    /// A value that is live and meets a condition, by what is there; what must still be there then.
    async fn met(&self, name: &KeyName, basis: &Basis, condition: &Condition) -> Result<Met, IoError> {
        let now = self.clock.now();
        let (found, row) = self.read(&name.parent, Some(&name.key)).await?;
        if !basis.holds(found.as_ref().map(|found| &*found.list)) {
            return Err(IoError::AclChanged);
        }
        let expected = expected(row.as_ref().map(|row| row.etag.clone()));
        let live = row.filter(|row| row.is_live(now));
        condition.check(live.as_ref().map(|row| row.etag.as_str()))?;
        Ok(Met { is_there: live.is_some(), expected })
    }
}

struct Met {
    is_there: bool,
    expected: pb::Expected,
}

#[async_trait]
impl Connector for GrpcValues {
    async fn check(&self) -> Result<(), Unhealthy> {
        self.way.check().await
    }
}

#[async_trait]
impl NkvStore for GrpcValues {
    async fn find(&self, name: &NamespaceName) -> Result<Option<Namespace>, IoError> {
        Ok(self.read(name, None).await?.0)
    }

    async fn get(&self, name: &KeyName) -> Result<Found, IoError> {
        let (found, row) = self.read(&name.parent, Some(&name.key)).await?;
        let now = self.clock.now();
        Ok((found, row.filter(|row| row.is_live(now))))
    }

    async fn list(&self, name: &NamespaceName, range: &Range) -> Result<(Option<Namespace>, Page), IoError> {
        let now = self.clock.now();
        let request = pb::ListValuesRequest {
            team: name.team.clone(),
            namespace: name.namespace.clone(),
            prefix: range.prefix.clone(),
            after: range.after.clone(),
            limit: limited(range.limit),
            limit_bytes: i64::try_from(PAGE_BYTES).unwrap_or(i64::MAX),
        };
        let answer = read(async { self.client().list_values(request).await }).await?;
        let Some(found) = answer.namespace else { return Ok((None, Page::default())) };
        // What has ended fills pages, too, so the next one goes on behind it.
        let next = answer.values.last().filter(|_| answer.has_more).map(|last| last.key.clone());
        let rows = answer.values.into_iter().map(row).collect::<Result<Vec<_>, _>>()?;
        let values = rows.into_iter().filter(|row| row.is_live(now)).collect();
        Ok((Some(namespace(found)?), Page { values, next }))
    }

    async fn namespaces(&self, team: &str, after: &str, limit: usize) -> Result<Names, IoError> {
        let request = pb::ListNamespacesRequest {
            team: team.to_owned(),
            after: after.to_owned(),
            limit: limited(limit.saturating_add(1)),
        };
        let answer = read(async { self.client().list_namespaces(request).await }).await?;
        let mut namespaces = Vec::new();
        for named in answer.namespaces {
            let record = named.record.ok_or_else(|| broken("a namespace without its record"))?;
            namespaces.push((named.namespace, namespace(record)?));
        }
        let has_more = namespaces.len() > limit;
        namespaces.truncate(limit);
        Ok(Names { namespaces, has_more })
    }

    async fn set(&self, set: Set, record: Recorder) -> Result<ValueRow, IoError> {
        let (name, basis, condition) = (set.name.clone(), set.basis.clone(), set.condition.clone());
        let quota = set.quota;
        let change = match basis.list() {
            Some(_) => Change::Keep(Keep {}),
            None => Change::Put(record_of(&set.list_when_new)),
        };
        let new = set.row(self.clock.now());
        let value = value_of(&new)?;
        for _ in 0..TRIES {
            let expected = match &condition {
                Condition::Always => pb::Expected { what: Some(What::Anything(Anything {})) },
                condition => self.met(&name, &basis, condition).await?.expected,
            };
            let written = pb::ValueChange {
                key: name.key.clone(),
                expected: Some(expected),
                value: Some(value.clone()),
                keep: false,
            };
            if self.apply(&name.parent, &basis, change.clone(), Some(written), Some(quota)).await?.is_some() {
                // Its audit record is queued now: the connector has no outbox.
                drop(record);
                return Ok(new);
            }
            self.still_decided(&name.parent, &basis).await?;
        }
        Err(contended(&name))
    }

    async fn delete(
        &self,
        name: &KeyName,
        basis: Basis,
        condition: Condition,
        record: Recorder,
    ) -> Result<(), IoError> {
        for _ in 0..TRIES {
            let met = match self.met(name, &basis, &condition).await {
                // What is not there is not there in another version.
                Err(IoError::OtherVersion) if self.get(name).await?.1.is_none() => None,
                met => Some(met?),
            };
            let Some(Met { is_there: true, expected }) = met else {
                return Err(IoError::NotFound(name.to_string()));
            };
            let removed =
                pb::ValueChange { key: name.key.clone(), expected: Some(expected), value: None, keep: false };
            if self.apply(&name.parent, &basis, Change::Keep(Keep {}), Some(removed), None).await?.is_some() {
                drop(record);
                return Ok(());
            }
        }
        Err(contended(name))
    }

    async fn delete_namespace(
        &self,
        name: &NamespaceName,
        basis: Basis,
        record: Recorder,
    ) -> Result<(), IoError> {
        self.change_namespace(name, &basis, Change::Remove(Remove {}), record).await
    }

    async fn set_list(
        &self,
        name: &NamespaceName,
        basis: Basis,
        list: String,
        record: Recorder,
    ) -> Result<(), IoError> {
        self.change_namespace(name, &basis, Change::Put(record_of(&list)), record).await
    }

    async fn sweep(&self) -> Result<u64, IoError> {
        let mut total = 0;
        loop {
            let request = pb::SweepRequest { ended_by_ms: self.clock.now(), limit: SWEEP_BATCH };
            let swept = read(async { self.client().sweep(request).await }).await?;
            total += u64::try_from(swept.removed_count).unwrap_or_default();
            if swept.removed_count < SWEEP_BATCH {
                return Ok(total);
            }
        }
    }

    async fn used(&self, team: &str) -> Result<(i64, i64), IoError> {
        let request = pb::GetUsageRequest { team: team.to_owned() };
        let used = read(async { self.client().get_usage(request).await }).await?;
        Ok((used.value_count, used.size_bytes))
    }
}

impl GrpcValues {
    async fn change_namespace(
        &self,
        name: &NamespaceName,
        basis: &Basis,
        change: Change,
        record: Recorder,
    ) -> Result<(), IoError> {
        for _ in 0..TRIES {
            if basis.list().is_none() {
                self.still_decided(name, basis).await?;
                return Err(IoError::NotFound(name.to_string()));
            }
            if self.apply(name, basis, change.clone(), None, None).await?.is_some() {
                drop(record);
                return Ok(());
            }
            self.still_decided(name, basis).await?;
        }
        Err(contended(name))
    }
}

fn expected(version: Option<String>) -> pb::Expected {
    let what = version.map_or(What::Nothing(Nothing {}), What::Version);
    pb::Expected { what: Some(what) }
}

/// A list's version: what has the same text is the same list.
fn version_of(list: &str) -> String {
    blake3::hash(list.as_bytes()).to_hex()[..32].to_owned()
}

fn record_of(list: &str) -> pb::NamespaceRecord {
    pb::NamespaceRecord { version: version_of(list), attributes: list.to_owned().into() }
}

fn namespace(record: pb::NamespaceRecord) -> Result<Namespace, IoError> {
    let list = String::from_utf8(record.attributes.to_vec()).map_err(broken)?;
    Ok(Namespace { list: list.into() })
}

fn value_of(row: &ValueRow) -> Result<pb::ValueRecord, IoError> {
    let attributes = Attributes { content_type: row.content_type.clone(), updated_ms: row.updated_ms };
    Ok(pb::ValueRecord {
        key: row.key.clone(),
        version: row.etag.clone(),
        value: row.value.clone(),
        attributes: serde_json::to_vec(&attributes).map_err(broken)?.into(),
        expire_time_ms: row.expires_ms.unwrap_or_default(),
    })
}

fn row(record: pb::ValueRecord) -> Result<ValueRow, IoError> {
    let attributes: Attributes = serde_json::from_slice(&record.attributes).map_err(broken)?;
    Ok(ValueRow {
        key: record.key,
        value: record.value,
        content_type: attributes.content_type,
        etag: record.version,
        updated_ms: attributes.updated_ms,
        expires_ms: Some(record.expire_time_ms).filter(|ms| *ms != 0),
    })
}

fn limited(limit: usize) -> i32 {
    i32::try_from(limit).unwrap_or(i32::MAX)
}

fn broken(cause: impl std::fmt::Display) -> IoError {
    IoError::Broken(format!("what the connector keeps is damaged: {cause}"))
}

fn contended(name: &impl std::fmt::Display) -> IoError {
    IoError::Unavailable(format!("{name} is changed by others all the time"))
}

/// An answer in time, whatever the other side does. Nothing was changed where there is none.
async fn read<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, IoError> {
    let answer = timeout(SILENCE, call).await;
    let answer =
        answer.map_err(|_elapsed| IoError::Unavailable(format!("silent for {} s", SILENCE.as_secs())))?;
    answer.map(Response::into_inner).map_err(|status| match status.code() {
        Code::ResourceExhausted => IoError::Overloaded,
        _ if is_refusal(&status) => IoError::Broken(with_causes(&status)),
        _ => IoError::Unavailable(with_causes(&status)),
    })
}

/// Where a change broke, it may have been made.
fn unwritten(status: &Status) -> IoError {
    match status.code() {
        Code::ResourceExhausted => IoError::Full(with_causes(status)),
        _ if is_refusal(status) => IoError::Broken(with_causes(status)),
        _ => IoError::Uncertain(with_causes(status)),
    }
}

fn is_refusal(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::InvalidArgument | Code::PermissionDenied | Code::Unauthenticated | Code::Unimplemented
    )
}
