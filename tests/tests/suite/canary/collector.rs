//! An OTLP collector that keeps what it gets in a file of the suite, where the secret is looked for.

use std::fs::File;
use std::io::Write as _;
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
    /// In memory until the suite has made its folder.
    bytes: Vec<u8>,
}

impl Kept {
    fn keep(&mut self, export: &impl Message) {
        self.bytes.extend(export.encode_to_vec());
    }
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

    /// Writes everything that came to a file, and says how much it was.
    pub fn save(&self, path: &Path) -> Counts {
        let kept = self.keeper.0.lock().unwrap();
        File::create(path).unwrap().write_all(&kept.bytes).unwrap();
        kept.counts
    }
}

#[tonic::async_trait]
impl LogsService for Keeper {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let mut kept = self.0.lock().unwrap();
        kept.counts.logs += 1;
        kept.keep(request.get_ref());
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
        kept.keep(request.get_ref());
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
        kept.keep(request.get_ref());
        Ok(Response::new(Default::default()))
    }
}
