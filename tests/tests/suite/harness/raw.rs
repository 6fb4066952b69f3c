//! Calls by path with messages as bytes: one driver for every method of the table.

use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes};
use http::uri::PathAndQuery;
use sre_proto::MethodPolicy;
use tonic::client::{Grpc, GrpcService};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::{Body, StdError};
use tonic::metadata::MetadataValue;
use tonic::{Request, Status};

/// How long a call may take.
const WITHIN: Duration = Duration::from_secs(20);
/// After its first message, a stream that says nothing for so long is left.
const QUIET: Duration = Duration::from_millis(250);
const MAX_MESSAGES: usize = 100;

/// Messages as they travel.
#[derive(Debug, Clone, Copy, Default)]
struct BytesCodec;

impl Codec for BytesCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// Calls a method with these messages and gives what it answered. Of an endless stream it takes what comes at
/// once.
pub async fn call<T>(
    transport: T,
    policy: &MethodPolicy,
    messages: &[Bytes],
    token: Option<&str>,
) -> Result<Vec<Bytes>, Status>
where
    T: GrpcService<tonic::body::Body>,
    T::Error: Into<StdError>,
    T::ResponseBody: Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as Body>::Error: Into<StdError> + Send,
{
    let done = tokio::time::timeout(WITHIN, exchange(transport, policy, messages, token)).await;
    done.unwrap_or_else(|_| panic!("{} did not answer within {WITHIN:?}", policy.path))
}

async fn exchange<T>(
    transport: T,
    policy: &MethodPolicy,
    messages: &[Bytes],
    token: Option<&str>,
) -> Result<Vec<Bytes>, Status>
where
    T: GrpcService<tonic::body::Body>,
    T::Error: Into<StdError>,
    T::ResponseBody: Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as Body>::Error: Into<StdError> + Send,
{
    let mut grpc = Grpc::new(transport);
    let not_ready = |error: T::Error| {
        let error: StdError = error.into();
        Status::unavailable(format!("not ready: {error}"))
    };
    grpc.ready().await.map_err(not_ready)?;
    let mut request = Request::new(tokio_stream::iter(messages.to_vec()));
    if let Some(token) = token {
        request.metadata_mut().insert("sre-delegation", MetadataValue::try_from(token).unwrap());
    }
    let mut answer =
        grpc.streaming(request, PathAndQuery::from_static(policy.path), BytesCodec).await?.into_inner();
    let mut received = Vec::new();
    while received.len() < MAX_MESSAGES {
        let next = answer.message();
        if policy.server_streaming && !received.is_empty() {
            match tokio::time::timeout(QUIET, next).await {
                Ok(message) => match message? {
                    Some(message) => received.push(message),
                    None => break,
                },
                Err(_) => break,
            }
        } else {
            match next.await? {
                Some(message) => received.push(message),
                None => break,
            }
        }
    }
    Ok(received)
}
