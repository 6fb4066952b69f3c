//! Values over what a message holds: in and out of a call in parts.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::Stream;
use sre_identity::Caller;
use sre_proto::error::{Reason, invalid_argument, status};
use sre_proto::memory::v1 as pb;
use sre_service::Authorizer;
use tokio::time::Instant;
use tonic::{Code, Status, Streaming};

use super::clock::Millis;
use super::message::info;
use super::record::Record;

const CHUNK_BYTES: usize = 256 << 10;
/// How long a sender may be silent.
const SILENCE: Duration = Duration::from_secs(60);

/// The answer of a read.
pub type Parts = Pin<Box<dyn Stream<Item = Result<pb::ReadEntryResponse, Status>> + Send>>;

/// An entry on its way out.
pub(super) struct Reading {
    info: Option<pb::GetEntryInfoResponse>,
    rest: Bytes,
    authorizer: Authorizer,
    caller: Caller,
    every: Duration,
    due: Instant,
}

impl Reading {
    pub(super) fn new(
        record: Option<&Arc<Record>>,
        now: Millis,
        caller: &Caller,
        authorizer: &Authorizer,
        every: Duration,
    ) -> Self {
        Self {
            info: Some(info(record.map(|record| &record.head), now)),
            rest: record.map(|record| record.value.clone()).unwrap_or_default(),
            authorizer: authorizer.clone(),
            caller: caller.clone(),
            every,
            due: Instant::now() + every,
        }
    }

    /// Parts as the receiver takes them. A caller that is revoked meanwhile is cut off.
    pub(super) fn parts(self) -> Parts {
        Box::pin(futures::stream::try_unfold(self, |mut reading| async move {
            let part = reading.next().await?;
            Ok(part.map(|part| (pb::ReadEntryResponse { part: Some(part) }, reading)))
        }))
    }

    async fn next(&mut self) -> Result<Option<pb::read_entry_response::Part>, Status> {
        if let Some(info) = self.info.take() {
            return Ok(Some(pb::read_entry_response::Part::Info(info)));
        }
        if self.rest.is_empty() {
            return Ok(None);
        }
        if Instant::now() >= self.due {
            self.authorizer.revalidate(&self.caller).await?;
            self.due = Instant::now() + self.every;
        }
        let chunk = self.rest.split_to(self.rest.len().min(CHUNK_BYTES));
        Ok(Some(pb::read_entry_response::Part::Data(chunk)))
    }
}

/// The first message of a write, whole.
pub(super) async fn first(
    stream: &mut Streaming<pb::WriteEntryRequest>,
) -> Result<pb::WriteEntryRequest, Status> {
    let missing = || invalid_argument("header", "must come first: send it before any data");
    let first = message(stream).await?.ok_or_else(missing)?;
    match first.part {
        Some(pb::write_entry_request::Part::Header(_)) => Ok(first),
        _ => Err(missing()),
    }
}

/// What follows the first message, at most so many bytes with what came before.
pub(super) async fn rest(
    stream: &mut Streaming<pb::WriteEntryRequest>,
    before: Bytes,
    limit_bytes: u64,
) -> Result<Bytes, Status> {
    let mut value = BytesMut::from(before);
    while let Some(next) = message(stream).await? {
        let Some(pb::write_entry_request::Part::Data(data)) = next.part else {
            return Err(invalid_argument("part", "only data comes after the header"));
        };
        if (value.len() + data.len()) as u64 > limit_bytes {
            return Err(too_large(limit_bytes));
        }
        value.extend_from_slice(&data);
    }
    Ok(value.freeze())
}

pub(super) fn too_large(limit_bytes: u64) -> Status {
    let words = format!("value is larger than {limit_bytes} bytes: store a file and cache its name");
    status(Code::InvalidArgument, Reason::TooLarge, words)
}

async fn message(
    stream: &mut Streaming<pb::WriteEntryRequest>,
) -> Result<Option<pb::WriteEntryRequest>, Status> {
    tokio::time::timeout(SILENCE, stream.message()).await.unwrap_or_else(|_| {
        let words = "nothing came for a minute: send the value again";
        Err(status(Code::DeadlineExceeded, Reason::DeadlineExceeded, words))
    })
}
