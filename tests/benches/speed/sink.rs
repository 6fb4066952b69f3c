//! Collectors for measuring: both take everything over OTLP and keep nothing. One reads every span, on the same cores
//! as what is measured; the other takes the bytes of spans as they are, so that only the suite's own work is seen.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Buf as _;
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
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};
use tower::Service;

/// The largest message.
const LIMIT: usize = 64 << 20;

/// Reads everything.
#[derive(Clone, Default)]
struct Reading;

macro_rules! reads {
    ($service:ident, $request:ident, $response:ident) => {
        #[tonic::async_trait]
        impl $service for Reading {
            async fn export(&self, _: Request<$request>) -> Result<Response<$response>, Status> {
                Ok(Response::new($response::default()))
            }
        }
    };
}

reads!(TraceService, ExportTraceServiceRequest, ExportTraceServiceResponse);
reads!(LogsService, ExportLogsServiceRequest, ExportLogsServiceResponse);
reads!(MetricsService, ExportMetricsServiceRequest, ExportMetricsServiceResponse);

/// Takes spans unread.
#[derive(Clone)]
struct Unread;

impl NamedService for Unread {
    const NAME: &'static str = "opentelemetry.proto.collector.trace.v1.TraceService";
}

impl Service<http::Request<Body>> for Unread {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let mut grpc = Grpc::new(Unread).apply_max_message_size_config(Some(LIMIT), None);
            Ok(grpc.unary(Unread, request).await)
        })
    }
}

impl UnaryService<()> for Unread {
    type Response = ();
    type Future = Ready<Result<Response<()>, Status>>;

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Ok(Response::new(())))
    }
}

impl Codec for Unread {
    type Encode = ();
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Unread {
    type Item = ();
    type Error = Status;

    /// The answer that says nothing is empty.
    fn encode(&mut self, (): (), _: &mut EncodeBuf<'_>) -> Result<(), Status> {
        Ok(())
    }
}

impl Decoder for Unread {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        from.advance(from.remaining());
        Ok(Some(()))
    }
}

/// Starts one; gives its address.
pub async fn start(reads: bool) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let router = tonic::transport::Server::builder()
        .add_service(LogsServiceServer::new(Reading).max_decoding_message_size(LIMIT))
        .add_service(MetricsServiceServer::new(Reading).max_decoding_message_size(LIMIT));
    let router = match reads {
        true => router.add_service(TraceServiceServer::new(Reading).max_decoding_message_size(LIMIT)),
        false => router.add_service(Unread),
    };
    let mut serving = JoinSet::new();
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    serving.spawn(async move { router.serve_with_incoming(incoming).await.unwrap() });
    (endpoint, serving)
}
