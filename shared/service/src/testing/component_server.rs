//! Serving a component out of process that a test makes of what it likes.

use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::service::Routes;

/// Serves on a Unix socket, with gRPC Health beside the services, until it fails or is dropped.
///
/// # Errors
/// If the socket cannot be served.
pub async fn serve_on(listener: UnixListener, services: Routes) -> anyhow::Result<()> {
    let (_reporter, health) = tonic_health::server::health_reporter();
    let router = tonic::transport::Server::builder().add_routes(services.add_service(health));
    Ok(router.serve_with_incoming(UnixListenerStream::new(listener)).await?)
}
