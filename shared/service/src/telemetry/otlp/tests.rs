use std::sync::Arc;
use std::time::Duration;

use metrics::Recorder as _;
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
use parking_lot::Mutex;
use tonic::{Request, Response, Status};
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;
use crate::Role;
use crate::context::CallContext;
use crate::telemetry::propagation;
use crate::telemetry::wire::Kind;

#[derive(Clone, Default)]
struct Collector(Arc<Mutex<String>>);

macro_rules! collects {
    ($service:ident, $request:ident, $response:ident) => {
        #[tonic::async_trait]
        impl $service for Collector {
            async fn export(&self, request: Request<$request>) -> Result<Response<$response>, Status> {
                self.0.lock().push_str(&format!("{:?}", request.into_inner()));
                Ok(Response::new($response::default()))
            }
        }
    };
}

collects!(TraceService, ExportTraceServiceRequest, ExportTraceServiceResponse);
collects!(LogsService, ExportLogsServiceRequest, ExportLogsServiceResponse);
collects!(MetricsService, ExportMetricsServiceRequest, ExportMetricsServiceResponse);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traces_logs_and_metrics_reach_a_collector() {
    let collector = Collector::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let server = tonic::transport::Server::builder()
        .add_service(TraceServiceServer::new(collector.clone()))
        .add_service(LogsServiceServer::new(collector.clone()))
        .add_service(MetricsServiceServer::new(collector.clone()))
        .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener));
    drop(crate::task::spawn("collector", server));
    let exporters = start(&endpoint, 1.0).unwrap();
    let subscriber = tracing_subscriber::registry().with(exporters.layer("info").unwrap());
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let mut own = String::new();
    tracing::subscriber::with_default(subscriber, || {
        let traceparent = format!("00-{trace}-b7ad6b7169203331-01").parse().unwrap();
        let context = CallContext { traceparent: Some(traceparent), ..Default::default() };
        let method = sre_proto::method("/sre.compute.v1.Code/ExecuteCode");
        let span = exporters.tracer().of_call(Role::Compute, method.unwrap(), &context).unwrap();
        span.enter(|| {
            tracing::info!(answer = 42, "a line for people");
            tracing::debug!("not at this level");
            let (parent, _) = propagation::outgoing(Some(context)).unwrap();
            let parent = parent.to_str().unwrap();
            assert!(parent.contains(trace) && !parent.contains("b7ad6b7169203331"), "a child span: {parent}");
            own.push_str(&parent[36..52]);
        });
    });
    let recorder = super::super::metrics::both(exporters.meter());
    let key = metrics::Key::from_parts("sre_test_total", vec![metrics::Label::new("role", "compute")]);
    let metadata = metrics::Metadata::new("test", metrics::Level::INFO, None);
    recorder.register_counter(&key, &metadata).increment(7);
    exporters.shut_down().await;
    let got = collector.0.lock().clone();
    for expected in ["sre.compute.v1.Code/ExecuteCode", "a line for people", "sre_test_total", "AsInt(7)"] {
        assert!(got.contains(expected), "{expected} is missing in {got}");
    }
    assert!(!got.contains("not at this level"));
    let line = &got[got.find("a line for people").unwrap()..];
    let span = u64::from_str_radix(&own, 16).unwrap().to_be_bytes();
    assert!(line.contains(&format!("span_id: {span:?}")), "the line has the ids of its span {own}: {line}");
}

/// Says twice that it is away, then takes spans.
#[derive(Clone, Default)]
struct Waking(Arc<Mutex<Vec<usize>>>);

#[tonic::async_trait]
impl TraceService for Waking {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let scopes = request.into_inner().resource_spans.into_iter().flat_map(|of| of.scope_spans);
        let mut asked = self.0.lock();
        asked.push(scopes.map(|scope| scope.spans.len()).sum());
        if asked.len() < 3 {
            Err(Status::unavailable("waking"))
        } else {
            Ok(Response::new(ExportTraceServiceResponse::default()))
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_tried_again_where_that_may_help() {
    let collector = Waking::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let server = tonic::transport::Server::builder()
        .add_service(TraceServiceServer::new(collector.clone()))
        .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener));
    drop(crate::task::spawn("collector", server));
    let exporters = start(&endpoint, 1.0).unwrap();
    for _ in 0..7 {
        drop(exporters.tracer().begin("work", Kind::Internal, None));
    }
    let thrice = async {
        while collector.0.lock().len() < 3 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), thrice).await.unwrap();
    exporters.shut_down().await;
    assert_eq!(*collector.0.lock(), [7, 7, 7], "the same spans, and once where they were taken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_collector_blocks_nobody() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let exporters = start(&endpoint, 1.0).unwrap();
    let subscriber = tracing_subscriber::registry().with(exporters.layer("info").unwrap());
    let started = std::time::Instant::now();
    tracing::subscriber::with_default(subscriber, || {
        for line in 0..10_000 {
            tracing::info!(line, "into the void");
        }
        // More than the queue holds.
        for _ in 0..50_000 {
            drop(exporters.tracer().begin("work", Kind::Internal, None));
        }
    });
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    exporters.shut_down().await;
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
}
