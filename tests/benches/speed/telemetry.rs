//! What telemetry costs: a trivial skill with every span exported over OTLP to a sink on this machine, with no
//! exporter, and with nothing counted at all.

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
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::{Request, Response, Status};

use super::suite::{Mode, Running};
use super::{load, micros, seconds, suite};

const CONCURRENCY: usize = 64;
const ROUNDS: usize = 5;

/// Takes everything and keeps nothing.
#[derive(Clone, Default)]
struct Sink;

macro_rules! takes {
    ($service:ident, $request:ident, $response:ident) => {
        #[tonic::async_trait]
        impl $service for Sink {
            async fn export(&self, _: Request<$request>) -> Result<Response<$response>, Status> {
                Ok(Response::new($response::default()))
            }
        }
    };
}

takes!(TraceService, ExportTraceServiceRequest, ExportTraceServiceResponse);
takes!(LogsService, ExportLogsServiceRequest, ExportLogsServiceResponse);
takes!(MetricsService, ExportMetricsServiceRequest, ExportMetricsServiceResponse);

async fn sink() -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let limit = 64 << 20;
    let router = tonic::transport::Server::builder()
        .add_service(TraceServiceServer::new(Sink).max_decoding_message_size(limit))
        .add_service(LogsServiceServer::new(Sink).max_decoding_message_size(limit))
        .add_service(MetricsServiceServer::new(Sink).max_decoding_message_size(limit));
    let mut serving = JoinSet::new();
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    serving.spawn(async move { router.serve_with_incoming(incoming).await.unwrap() });
    (endpoint, serving)
}

fn setting(key: &str, value: &str) -> (String, String) {
    (format!("SRE__TELEMETRY__{key}"), value.to_owned())
}

/// Measures the three in turn.
pub async fn measure() {
    let (endpoint, _sink) = sink().await;
    let kinds = [
        ("nothing counted", vec![setting("METRICS", "false")]),
        ("off: metrics, no exporter", Vec::new()),
        (
            "on: all spans to a local sink",
            vec![setting("OTLP_ENDPOINT", &endpoint), setting("SAMPLE_RATIO", "1.0")],
        ),
    ];
    println!("\n## Telemetry: a trivial skill, all in one, {CONCURRENCY} callers\n");
    let mut suites = Vec::new();
    for (name, settings) in kinds {
        let running = Running::start_with(Mode::AllInOne, &settings).await;
        let channel = running.connect().await;
        suites.push((name, running, channel, Vec::new()));
    }
    // In turn, so that a slow moment of the machine hits all.
    for _ in 0..ROUNDS {
        for (_, _, channel, figures) in &mut suites {
            figures.push(load::run(CONCURRENCY, seconds(), suite::caller(channel)).await);
        }
    }
    println!("| telemetry | skill /s | p50 | p99 | of nothing counted |");
    println!("|---|---|---|---|---|");
    let mut whole = 0.0;
    for (name, _, _, figures) in &mut suites {
        figures.sort_by(|a, b| a.rate.total_cmp(&b.rate));
        let median = &figures[ROUNDS / 2];
        if whole == 0.0 {
            whole = median.rate;
        }
        println!(
            "| {name} | {:.0} | {} | {} | {:.3} |",
            median.rate,
            micros(median.p50),
            micros(median.p99),
            median.rate / whole
        );
    }
}
