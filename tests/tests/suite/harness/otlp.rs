//! An OTLP collector that keeps what it gets: as it came, counted, and spans decoded.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// How many exports came of each kind.
#[derive(Debug, Default, Clone, Copy)]
pub struct Counts {
    pub logs: usize,
    pub traces: usize,
    pub metrics: usize,
}

#[derive(Default)]
struct Kept {
    counts: Counts,
    spans: Vec<Span>,
    bytes: Vec<u8>,
}

#[derive(Clone, Default)]
struct Keeper(Arc<Mutex<Kept>>);

/// The collector; it ends when it is dropped.
pub struct Collector {
    endpoint: String,
    keeper: Keeper,
    _serving: JoinSet<()>,
}

impl Collector {
    /// Listens on a free port of loopback.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let keeper = Keeper::default();
        let router = Server::builder()
            .add_service(LogsServiceServer::new(keeper.clone()))
            .add_service(TraceServiceServer::new(keeper.clone()))
            .add_service(MetricsServiceServer::new(keeper.clone()));
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let mut serving = JoinSet::new();
        serving.spawn(async move { router.serve_with_incoming(incoming).await.unwrap() });
        Self { endpoint, keeper, _serving: serving }
    }

    /// Its address, as the configuration names it.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The spans of a trace so far.
    pub fn trace(&self, trace_id: &str) -> Vec<Span> {
        let kept = self.keeper.0.lock().unwrap();
        kept.spans.iter().filter(|span| hex(&span.trace_id) == trace_id).cloned().collect()
    }

    /// Whether anything that came holds these bytes.
    pub fn holds(&self, needle: &str) -> bool {
        let kept = self.keeper.0.lock().unwrap();
        kept.bytes.windows(needle.len()).any(|part| part == needle.as_bytes())
    }

    /// Writes everything that came to a file, and says how much it was.
    pub fn save(&self, path: &Path) -> Counts {
        let kept = self.keeper.0.lock().unwrap();
        std::fs::write(path, &kept.bytes).unwrap();
        kept.counts
    }
}

/// Bytes as hex digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The attributes of a span as texts.
pub fn attributes(span: &Span) -> BTreeMap<String, String> {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    fn text(value: Option<&Value>) -> String {
        match value {
            Some(Value::StringValue(text)) => text.clone(),
            Some(Value::BoolValue(flag)) => flag.to_string(),
            Some(Value::IntValue(number)) => number.to_string(),
            Some(Value::DoubleValue(number)) => number.to_string(),
            Some(Value::ArrayValue(array)) => {
                array.values.iter().map(|value| text(value.value.as_ref())).collect::<Vec<_>>().join(",")
            }
            other => format!("{other:?}"),
        }
    }
    let pairs = span.attributes.iter();
    pairs.map(|pair| (pair.key.clone(), text(pair.value.as_ref().and_then(|v| v.value.as_ref())))).collect()
}

#[tonic::async_trait]
impl LogsService for Keeper {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let mut kept = self.0.lock().unwrap();
        kept.counts.logs += 1;
        kept.bytes.extend(request.get_ref().encode_to_vec());
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl TraceService for Keeper {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut kept = self.0.lock().unwrap();
        kept.counts.traces += 1;
        kept.bytes.extend(request.get_ref().encode_to_vec());
        let scopes = request.into_inner().resource_spans.into_iter().flat_map(|of| of.scope_spans);
        kept.spans.extend(scopes.flat_map(|scope| scope.spans));
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Keeper {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let mut kept = self.0.lock().unwrap();
        kept.counts.metrics += 1;
        kept.bytes.extend(request.get_ref().encode_to_vec());
        Ok(Response::new(Default::default()))
    }
}
