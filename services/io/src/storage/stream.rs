//! Bytes in and out of a call, a chunk at a time, so that memory stays flat whatever the size.

use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use sre_identity::Caller;
use sre_proto::error::{Reason, invalid_argument, status};
use sre_proto::io::v1::{
    File, ReadFileRequest, ReadFileResponse, WriteFileRequest, read_file_response, write_file_request::Part,
};
use sre_service::Authorizer;
use tokio::time::Instant;
use tonic::{Code, Status, Streaming};

use super::FileRow;
use super::connectors::{ByteRange, ObjectReader};
use super::upload::Source;
use crate::error::IoError;

/// How long a sender may be silent.
const SILENCE: Duration = Duration::from_secs(60);

/// The answer of a read.
pub type Chunks = Pin<Box<dyn Stream<Item = Result<ReadFileResponse, Status>> + Send>>;

/// A write as it comes in.
pub(super) struct Receiving {
    stream: Streaming<WriteFileRequest>,
}

impl Receiving {
    pub fn new(stream: Streaming<WriteFileRequest>) -> Self {
        Self { stream }
    }

    /// The first message.
    pub async fn header(&mut self) -> Result<WriteFileRequest, Status> {
        let missing = || invalid_argument("header", "is missing: send it first");
        self.message().await?.ok_or_else(missing)
    }

    async fn message(&mut self) -> Result<Option<WriteFileRequest>, Status> {
        silence(self.stream.message()).await
    }
}

/// Waits for a sender's next message, a minute at most.
pub(super) async fn silence<T>(message: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    tokio::time::timeout(SILENCE, message).await.unwrap_or_else(|_| {
        let message = "nothing came for a minute: send the file again";
        Err(status(Code::DeadlineExceeded, Reason::DeadlineExceeded, message))
    })
}

#[async_trait]
impl Source for Receiving {
    async fn next(&mut self) -> Result<Option<Bytes>, IoError> {
        let message =
            self.message().await.map_err(|status| IoError::Interrupted(status.message().to_owned()))?;
        match message.map(|message| message.part) {
            None => Ok(None),
            Some(Some(Part::Data(data))) => Ok(Some(data)),
            Some(Some(Part::Header(_))) => {
                Err(IoError::Invalid { field: "header", message: "came twice: send it once".to_owned() })
            }
            Some(None) => Err(IoError::Invalid { field: "part", message: "is empty: send data".to_owned() }),
        }
    }
}

/// The bytes that a read asks for.
pub(super) fn range(request: &ReadFileRequest, row: &FileRow) -> Result<ByteRange, Status> {
    let offset_bytes = u64::try_from(request.offset_bytes)
        .map_err(|_| invalid_argument("offset_bytes", "must not be negative"))?;
    let limit_bytes = u64::try_from(request.limit_bytes)
        .map_err(|_| invalid_argument("limit_bytes", "must not be negative"))?;
    let size_bytes = u64::try_from(row.size_bytes).unwrap_or_default();
    if offset_bytes > size_bytes {
        let message = format!("offset_bytes: the file has {size_bytes} bytes: start within them");
        return Err(status(Code::OutOfRange, Reason::InvalidArgument, message));
    }
    let rest_bytes = size_bytes - offset_bytes;
    let length_bytes = if limit_bytes == 0 { rest_bytes } else { limit_bytes.min(rest_bytes) };
    Ok(ByteRange { offset_bytes, length_bytes })
}

/// A file on its way out.
pub(super) struct Reading {
    pub file: Option<File>,
    pub reader: Box<dyn ObjectReader>,
    pub authorizer: Authorizer,
    pub caller: Caller,
    pub revalidate: Duration,
}

impl Reading {
    /// Metadata first, then bytes as the receiver takes them. A caller that is revoked meanwhile is cut off.
    pub fn chunks(self) -> Chunks {
        let due = Instant::now() + self.revalidate;
        Box::pin(futures::stream::try_unfold((self, due), |(mut reading, due)| async move {
            Ok(reading
                .next(due)
                .await?
                .map(|(part, due)| (ReadFileResponse { part: Some(part) }, (reading, due))))
        }))
    }

    async fn next(
        &mut self,
        mut due: Instant,
    ) -> Result<Option<(read_file_response::Part, Instant)>, Status> {
        if let Some(file) = self.file.take() {
            return Ok(Some((read_file_response::Part::File(file), due)));
        }
        if Instant::now() >= due {
            self.authorizer.revalidate(&self.caller).await?;
            due = Instant::now() + self.revalidate;
        }
        let chunk = self.reader.next().await.map_err(IoError::from)?;
        Ok(chunk.map(|data| (read_file_response::Part::Data(data), due)))
    }
}
