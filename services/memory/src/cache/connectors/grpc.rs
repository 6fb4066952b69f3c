//! Entries out of process, over `sre.connector.v1.Cache`.
//!
//! The rules of `record.rs` are applied here, over what was read; the connector compares the version of the record
//! and writes in one step. Where somebody was faster, it is read and applied again.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use sre_proto::connector::v1::cache_client::CacheClient;
use sre_proto::connector::v1::put_entry_request::{Begin, End, Part};
use sre_proto::connector::v1::read_entry_response::Part as ReadPart;
use sre_proto::connector::v1::{EntryHead, PutEntryRequest, ReadEntryRequest, RemoveEntryRequest};
use sre_service::connectors::grpc::{ConnectorChannel, OutOfProcess, SILENCE, with_causes};
use sre_service::connectors::{Connector, Opening, Unhealthy};
use tokio::time::timeout;
use tonic::{Code, Status};

use super::CacheStore;
use crate::cache::clock::{Clock, Millis};
use crate::cache::error::CacheError;
use crate::cache::name::EntryName;
use crate::cache::record::{Change, Guard, Head, Notes, Outcome, Record, Seen, Step, apply};

/// Pieces of a value.
const PIECE_BYTES: usize = 256 << 10;
/// The largest value that is taken from a connector: no service asks for more.
const MAX_VALUE_BYTES: usize = 64 << 20;
/// How often a change is tried over what others change meanwhile.
const TRIES: usize = 64;

/// Opens one.
pub(super) async fn open(opening: Opening) -> anyhow::Result<Arc<dyn CacheStore>> {
    let way = OutOfProcess::open(&opening, "sre.connector.v1.Cache").await?;
    Ok(Arc::new(GrpcEntries::new(way, Clock::system())))
}

/// A connector out of process.
#[derive(Debug)]
pub(super) struct GrpcEntries {
    way: OutOfProcess,
    clock: Clock,
}

/// What the service keeps with an entry. The connector does not look into it.
#[derive(Serialize, Deserialize)]
struct Attributes {
    /// Version of the value, in hex: JSON's numbers are too small.
    etag: String,
    notes: Notes,
    list: String,
}

/// An entry as it was read, and the version of its record.
struct Found {
    version: String,
    record: Record,
}

impl GrpcEntries {
    /// Entries of a connector.
    pub(super) fn new(way: OutOfProcess, clock: Clock) -> Self {
        Self { way, clock }
    }

    fn client(&self) -> CacheClient<ConnectorChannel> {
        CacheClient::new(self.way.channel())
    }

    /// What is there, live or not.
    async fn read(&self, name: &EntryName, head_only: bool) -> Result<Option<Found>, CacheError> {
        let request = ReadEntryRequest { name: name.as_str().to_owned(), head_only };
        let reading = async {
            let mut parts = self.client().read_entry(request).await?.into_inner();
            let (mut head, mut value) = (None, BytesMut::new());
            while let Some(message) = parts.message().await? {
                match message.part {
                    Some(ReadPart::Head(found)) => head = Some(found),
                    Some(ReadPart::Data(data)) if value.len() + data.len() <= MAX_VALUE_BYTES => {
                        value.extend_from_slice(&data);
                    }
                    _ => return Ok(Err("an entry of it is larger than any may be".to_owned())),
                }
            }
            Ok(Ok(head.map(|head| (head, value.freeze()))))
        };
        let read = timeout(SILENCE, reading).await.map_err(|_elapsed| silent())?;
        let read: Option<(EntryHead, Bytes)> =
            read.map_err(|status: Status| unread(&status))?.map_err(CacheError::Broken)?;
        read.map(|(head, value)| found(head, value)).transpose()
    }

    async fn put(&self, name: &EntryName, over: Option<&str>, record: Record) -> Result<bool, CacheError> {
        let attributes = Attributes {
            etag: format!("{:032x}", record.head.etag),
            notes: (*record.head.notes).clone(),
            list: record.head.guard.text().to_owned(),
        };
        let head = EntryHead {
            name: name.as_str().to_owned(),
            version: sre_proto::ids::new_uuid().simple().to_string(),
            expire_time_ms: record.head.expires_ms.unwrap_or_default(),
            attributes: serde_json::to_vec(&attributes).map_err(broken)?.into(),
            size_bytes: i64::try_from(record.value.len()).unwrap_or(i64::MAX),
        };
        let begin = Begin { head: Some(head), expected_version: over.unwrap_or_default().to_owned() };
        let mut parts = vec![Part::Begin(begin)];
        let mut value = record.value;
        while !value.is_empty() {
            parts.push(Part::Data(value.split_to(value.len().min(PIECE_BYTES))));
        }
        parts.push(Part::End(End {}));
        let parts = parts.into_iter().map(|part| PutEntryRequest { part: Some(part) });
        let put = timeout(SILENCE, async { self.client().put_entry(tokio_stream::iter(parts)).await }).await;
        let put = put.map_err(|_elapsed| uncertain("no answer in time"))?;
        put.map(|answer| answer.get_ref().applied).map_err(|status| unwritten(&status))
    }

    async fn remove(&self, name: &EntryName, version: &str) -> Result<bool, CacheError> {
        let request =
            RemoveEntryRequest { name: name.as_str().to_owned(), expected_version: version.to_owned() };
        let removed = timeout(SILENCE, async { self.client().remove_entry(request).await }).await;
        let removed = removed.map_err(|_elapsed| uncertain("no answer in time"))?;
        removed.map(|answer| answer.get_ref().applied).map_err(|status| unwritten(&status))
    }
}

#[async_trait]
impl Connector for GrpcEntries {
    async fn check(&self) -> Result<(), Unhealthy> {
        self.way.check().await
    }
}

#[async_trait]
impl CacheStore for GrpcEntries {
    fn now(&self) -> Millis {
        self.clock.now()
    }

    async fn look(&self, name: &EntryName) -> Result<Option<Arc<Record>>, CacheError> {
        let now = self.clock.now();
        let found = self.read(name, false).await?;
        Ok(found.map(|found| found.record).filter(|record| record.head.is_live(now)).map(Arc::new))
    }

    async fn head(&self, name: &EntryName) -> Result<Option<Head>, CacheError> {
        let now = self.clock.now();
        Ok(self.read(name, true).await?.map(|found| found.record.head).filter(|head| head.is_live(now)))
    }

    async fn update(&self, name: &EntryName, seen: &Seen, change: Change) -> Result<Outcome, CacheError> {
        for _ in 0..TRIES {
            let found = self.read(name, false).await?;
            let now = self.clock.now();
            let live = found.as_ref().map(|found| &found.record).filter(|record| record.head.is_live(now));
            let (step, outcome) = apply(live, seen, change.clone());
            // An entry that has ended is replaced under its version like any other.
            let version = found.as_ref().map(|found| found.version.as_str());
            let done = match (step, version) {
                (Step::Keep, _) | (Step::Remove, None) => true,
                (Step::Put(record), version) => self.put(name, version, record).await?,
                (Step::Remove, Some(version)) => self.remove(name, version).await?,
            };
            if done {
                return Ok(outcome);
            }
        }
        Err(CacheError::Contended)
    }
}

fn found(head: EntryHead, value: Bytes) -> Result<Found, CacheError> {
    let attributes: Attributes = serde_json::from_slice(&head.attributes).map_err(broken)?;
    let record = Record {
        head: Head {
            etag: u128::from_str_radix(&attributes.etag, 16).map_err(broken)?,
            expires_ms: Some(head.expire_time_ms).filter(|ms| *ms != 0),
            size_bytes: u64::try_from(head.size_bytes).unwrap_or_default(),
            notes: Arc::new(attributes.notes),
            guard: Guard::from_text(attributes.list),
        },
        value,
    };
    Ok(Found { version: head.version, record })
}

fn broken(cause: impl std::fmt::Display) -> CacheError {
    CacheError::Broken(format!("what the connector keeps is damaged: {cause}"))
}

fn silent() -> CacheError {
    CacheError::Unavailable(format!("no answer within {} s", SILENCE.as_secs()))
}

fn uncertain(cause: impl Into<String>) -> CacheError {
    CacheError::Uncertain(cause.into())
}

fn unread(status: &Status) -> CacheError {
    match status.code() {
        Code::ResourceExhausted => CacheError::Overloaded,
        Code::InvalidArgument | Code::PermissionDenied | Code::Unauthenticated | Code::Unimplemented => {
            CacheError::Broken(with_causes(status))
        }
        _ => CacheError::Unavailable(with_causes(status)),
    }
}

/// Where a write broke, it may have been made.
fn unwritten(status: &Status) -> CacheError {
    match status.code() {
        Code::ResourceExhausted => CacheError::Full(with_causes(status)),
        Code::InvalidArgument | Code::PermissionDenied | Code::Unauthenticated | Code::Unimplemented => {
            CacheError::Broken(with_causes(status))
        }
        _ => uncertain(with_causes(status)),
    }
}
