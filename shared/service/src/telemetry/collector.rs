//! The collector that spans go to, over OTLP's gRPC. Batches are in the wire format already; here they get their head,
//! which says whose they are.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::BufMut as _;
use http::uri::PathAndQuery;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource as ResourceMessage;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_sdk::Resource;
use percent_encoding::percent_decode_str;
use prost::Message as _;
use prost::encoding::{encode_varint, encoded_len_varint};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use super::outbox::Batch;

const EXPORT: PathAndQuery =
    PathAndQuery::from_static("/opentelemetry.proto.collector.trace.v1.TraceService/Export");
const TIMEOUT: Duration = Duration::from_secs(10);
/// `ExportTraceServiceRequest.resource_spans` and `ResourceSpans.resource` and `ScopeSpans.scope`: all field 1.
const FIRST: u8 = 0x0a;
/// `ResourceSpans.scope_spans`: field 2.
const SECOND: u8 = 0x12;
/// What collectors want of every sender, by the environment that OpenTelemetry's exporters read.
const HEADERS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"];

/// A batch was not taken.
pub(super) struct Refused {
    pub(super) error: String,
    /// Whether another attempt may help.
    pub(super) transient: bool,
}

/// The way to the collector.
pub(super) struct Collector {
    channel: Channel,
    headers: MetadataMap,
    /// The resource and the scope, as fields of their messages.
    resource: Arc<[u8]>,
    scope: Arc<[u8]>,
}

impl Collector {
    /// Connects with the first batch. Call within the runtime.
    pub(super) fn new(endpoint: &str, resource: &Resource) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(endpoint.to_owned())?.timeout(TIMEOUT).connect_timeout(TIMEOUT);
        let attributes = ResourceAttributesWithSchema::from(resource).attributes.0;
        let resource = ResourceMessage { attributes, ..Default::default() };
        let scope = InstrumentationScope { name: "sre".to_owned(), ..Default::default() };
        Ok(Self {
            channel: endpoint.connect_lazy(),
            headers: headers()?,
            resource: field(FIRST, &resource.encode_to_vec()).into(),
            scope: field(FIRST, &scope.encode_to_vec()).into(),
        })
    }

    /// Sends a batch. Says how many of its spans the collector rejected.
    pub(super) async fn export(&self, batch: &Arc<Batch>) -> Result<u64, Refused> {
        let transient = |status: &Status| {
            matches!(
                status.code(),
                Code::Unavailable
                    | Code::Cancelled
                    | Code::DeadlineExceeded
                    | Code::Aborted
                    | Code::OutOfRange
                    | Code::DataLoss
            )
        };
        let refused = |status: Status| Refused { transient: transient(&status), error: status.to_string() };
        let mut client = Grpc::new(self.channel.clone());
        client.ready().await.map_err(|error| Refused { error: error.to_string(), transient: true })?;
        let message = Outgoing {
            batch: Arc::clone(batch),
            resource: Arc::clone(&self.resource),
            scope: Arc::clone(&self.scope),
        };
        let mut request = Request::new(message);
        *request.metadata_mut() = self.headers.clone();
        let answer = client.unary(request, EXPORT, Wire).await.map_err(refused)?.into_inner();
        let rejected = answer.partial_success.map_or(0, |partial| partial.rejected_spans);
        Ok(u64::try_from(rejected).unwrap_or_default())
    }
}

/// A batch and whose it is.
struct Outgoing {
    batch: Arc<Batch>,
    resource: Arc<[u8]>,
    scope: Arc<[u8]>,
}

/// Writes what is in the wire format already.
struct Wire;

impl Encoder for Wire {
    type Item = Outgoing;
    type Error = Status;

    fn encode(&mut self, item: Outgoing, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        let of_scope = item.scope.len() + item.batch.bytes.len();
        let of_resource = item.resource.len() + 1 + encoded_len_varint(of_scope as u64) + of_scope;
        out.reserve(of_resource + 16);
        out.put_u8(FIRST);
        encode_varint(of_resource as u64, out);
        out.put_slice(&item.resource);
        out.put_u8(SECOND);
        encode_varint(of_scope as u64, out);
        out.put_slice(&item.scope);
        out.put_slice(&item.batch.bytes);
        Ok(())
    }
}

impl Decoder for Wire {
    type Item = ExportTraceServiceResponse;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, Status> {
        let answer = ExportTraceServiceResponse::decode(from);
        answer.map(Some).map_err(|error| Status::internal(format!("the collector's answer: {error}")))
    }
}

impl Codec for Wire {
    type Encode = Outgoing;
    type Decode = ExportTraceServiceResponse;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

fn field(tag: u8, message: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    encode_varint(message.len() as u64, &mut out);
    out.put_slice(message);
    out
}

fn headers() -> anyhow::Result<MetadataMap> {
    let set = HEADERS.iter().find_map(|name| Some((name, std::env::var(name).ok()?)));
    set.map_or_else(
        || Ok(MetadataMap::new()),
        |(name, text)| headers_of(&text).with_context(|| (*name).to_owned()),
    )
}

/// `name=value,name=value`, values percent-encoded.
fn headers_of(text: &str) -> anyhow::Result<MetadataMap> {
    let mut headers = MetadataMap::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').context("a header has no `=`")?;
        let value = percent_decode_str(value.trim()).decode_utf8()?;
        let name = AsciiMetadataKey::from_str(&name.trim().to_lowercase())?;
        headers.insert(name, AsciiMetadataValue::try_from(value.as_ref())?);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_as_the_exporters_of_opentelemetry_read_them() {
        let headers = headers_of("Authorization=Bearer%20x, x-team=red,").unwrap();
        assert_eq!(headers.get("authorization").unwrap(), "Bearer x");
        assert_eq!(headers.get("x-team").unwrap(), "red");
        assert!(headers_of("nothing").is_err());
        assert!(headers_of("").unwrap().is_empty());
    }
}
