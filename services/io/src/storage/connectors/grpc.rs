//! Objects out of process, over `sre.connector.v1.Storage`.
//!
//! The connector makes an object visible with its answer to the last message alone, so what is given up half-way is
//! a stream that breaks, and cleaning up after it is the connector's own.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::SinkExt as _;
use futures::channel::mpsc;
use sre_proto::connector::v1::storage_client::StorageClient;
use sre_proto::connector::v1::write_object_request::{End, Part};
use sre_proto::connector::v1::{
    ReadObjectRequest, ReadObjectResponse, RemoveObjectRequest, WriteObjectRequest,
};
use sre_service::connectors::grpc::{ConnectorChannel, OutOfProcess, SILENCE, with_causes};
use sre_service::connectors::{Connector, Kind, Opening, Unhealthy};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::{Code, Request, Status, Streaming};

use super::{ByteRange, CHUNK_BYTES, ObjectError, ObjectKey, ObjectReader, ObjectStore, ObjectWriter};

/// How long an object may be on its way. One that stands still ends long before.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// Messages of a write that wait to be sent: a connector that is slower than the sender holds the sender back.
const WAITING: usize = 4;

/// A server of somebody's own.
pub(super) const KIND: Kind<dyn ObjectStore> = Kind {
    name: "grpc",
    open: |opening| Box::pin(open(opening)),
    check: sre_service::connectors::grpc::check,
};

async fn open(opening: Opening) -> anyhow::Result<Arc<dyn ObjectStore>> {
    Ok(Arc::new(GrpcObjects::open(&opening).await?))
}

/// A connector out of process. Clones share the connection.
#[derive(Clone, Debug)]
pub(super) struct GrpcObjects {
    way: OutOfProcess,
    instance: Arc<str>,
}

impl GrpcObjects {
    /// Objects of the connector that an instance names.
    pub(super) async fn open(opening: &Opening) -> anyhow::Result<Self> {
        let way = OutOfProcess::open(opening, "sre.connector.v1.Storage").await?;
        Ok(Self { way, instance: opening.id.as_str().into() })
    }

    fn client(&self) -> StorageClient<ConnectorChannel> {
        StorageClient::new(self.way.channel())
    }

    /// An answer in time, whatever the other side does.
    async fn within<T>(
        &self,
        key: &ObjectKey,
        call: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, ObjectError> {
        match timeout(SILENCE, call).await {
            Ok(answer) => answer.map_err(|status| self.failed(key, &status)),
            Err(_elapsed) => Err(self.silent()),
        }
    }

    fn failed(&self, key: &ObjectKey, status: &Status) -> ObjectError {
        let message = with_causes(status);
        match status.code() {
            Code::NotFound => ObjectError::NotFound(key.as_str().to_owned()),
            Code::ResourceExhausted => ObjectError::Full { instance: self.instance.to_string(), message },
            // What it refuses is its operator's to mend, and no fault of the network.
            Code::InvalidArgument | Code::PermissionDenied | Code::Unauthenticated | Code::Unimplemented => {
                broken(key, message)
            }
            _ => ObjectError::Unavailable { instance: self.instance.to_string(), message },
        }
    }

    fn silent(&self) -> ObjectError {
        let message = format!("silent for {} s", SILENCE.as_secs());
        ObjectError::Unavailable { instance: self.instance.to_string(), message }
    }
}

fn broken(key: &ObjectKey, message: impl Into<String>) -> ObjectError {
    let source = Arc::new(io::Error::other(message.into()));
    ObjectError::Io { key: key.as_str().to_owned(), source }
}

/// A call whose messages each come in time, and that may take as long as they do.
fn streamed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(LONGEST);
    request
}

#[async_trait]
impl Connector for GrpcObjects {
    async fn check(&self) -> Result<(), Unhealthy> {
        self.way.check().await
    }
}

#[async_trait]
impl ObjectStore for GrpcObjects {
    async fn create(&self, key: &ObjectKey) -> Result<Box<dyn ObjectWriter>, ObjectError> {
        let (messages, sent) = mpsc::channel(WAITING);
        let (objects, owned) = (self.clone(), key.clone());
        let call = sre_service::task::spawn("storage upload", async move {
            let answer = objects.client().write_object(streamed(sent)).await;
            answer.map(drop).map_err(|status| objects.failed(&owned, &status))
        });
        let mut writer =
            GrpcWriter { objects: self.clone(), key: key.clone(), messages, call: Some(call), size_bytes: 0 };
        writer.send(Part::Key(key.as_str().to_owned())).await?;
        Ok(Box::new(writer))
    }

    async fn open(&self, key: &ObjectKey, range: ByteRange) -> Result<Box<dyn ObjectReader>, ObjectError> {
        let offset_bytes = i64::try_from(range.offset_bytes).unwrap_or(i64::MAX);
        let longest = i64::MAX - offset_bytes;
        let length_bytes = i64::try_from(range.length_bytes).unwrap_or(longest).min(longest);
        let request = ReadObjectRequest { key: key.as_str().to_owned(), offset_bytes, length_bytes };
        let stream = self.within(key, async { self.client().read_object(streamed(request)).await }).await?;
        let mut reader = GrpcReader {
            objects: self.clone(),
            key: key.clone(),
            stream: Some(stream.into_inner()),
            left_bytes: length_bytes.unsigned_abs(),
            rest: Bytes::new(),
        };
        // Whether there is such an object is told with the first message.
        reader.fetch().await?;
        Ok(Box::new(reader))
    }

    async fn remove(&self, key: &ObjectKey, _unfinished: Option<&str>) -> Result<(), ObjectError> {
        let request = RemoveObjectRequest { key: key.as_str().to_owned() };
        match self.within(key, async { self.client().remove_object(request).await }).await {
            Ok(_) | Err(ObjectError::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

struct GrpcWriter {
    objects: GrpcObjects,
    key: ObjectKey,
    messages: mpsc::Sender<WriteObjectRequest>,
    /// The call; none once it has ended.
    call: Option<JoinHandle<Result<(), ObjectError>>>,
    size_bytes: i64,
}

impl GrpcWriter {
    async fn send(&mut self, part: Part) -> Result<(), ObjectError> {
        let message = WriteObjectRequest { part: Some(part) };
        match timeout(SILENCE, self.messages.send(message)).await {
            Ok(Ok(())) => Ok(()),
            // The connector answered before it had everything: it says why.
            Ok(Err(_closed)) => {
                self.answered().await?;
                Err(broken(&self.key, "the connector answered before the object was whole"))
            }
            Err(_elapsed) => Err(self.objects.silent()),
        }
    }

    async fn answered(&mut self) -> Result<(), ObjectError> {
        let Some(call) = self.call.as_mut() else {
            return Err(broken(&self.key, "the write has failed before"));
        };
        let Ok(ended) = timeout(SILENCE, call).await else { return Err(self.objects.silent()) };
        self.call = None;
        ended.unwrap_or_else(|error| Err(broken(&self.key, error.to_string())))
    }
}

#[async_trait]
impl ObjectWriter for GrpcWriter {
    async fn write(&mut self, mut data: Bytes) -> Result<(), ObjectError> {
        while !data.is_empty() {
            let piece = data.split_to(data.len().min(CHUNK_BYTES));
            self.size_bytes += i64::try_from(piece.len()).unwrap_or_default();
            self.send(Part::Data(piece)).await?;
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<(), ObjectError> {
        self.send(Part::End(End { size_bytes: self.size_bytes })).await?;
        self.messages.close_channel();
        self.answered().await
    }
}

impl Drop for GrpcWriter {
    /// Breaks the stream of what was not finished.
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            call.abort();
        }
    }
}

struct GrpcReader {
    objects: GrpcObjects,
    key: ObjectKey,
    /// None at its end.
    stream: Option<Streaming<ReadObjectResponse>>,
    left_bytes: u64,
    rest: Bytes,
}

impl GrpcReader {
    /// Waits for the next bytes.
    async fn fetch(&mut self) -> Result<(), ObjectError> {
        while self.rest.is_empty()
            && let Some(stream) = self.stream.as_mut()
        {
            match self.objects.within(&self.key, stream.message()).await? {
                None => self.stream = None,
                Some(ReadObjectResponse { data }) => {
                    let Some(left_bytes) = self.left_bytes.checked_sub(data.len() as u64) else {
                        return Err(broken(&self.key, "the connector gives more than was asked for"));
                    };
                    self.left_bytes = left_bytes;
                    self.rest = data;
                }
            }
        }
        Ok(())
    }
}

#[async_trait]
impl ObjectReader for GrpcReader {
    async fn next(&mut self) -> Result<Option<Bytes>, ObjectError> {
        self.fetch().await?;
        let chunk = self.rest.split_to(self.rest.len().min(CHUNK_BYTES));
        Ok((!chunk.is_empty()).then_some(chunk))
    }
}
