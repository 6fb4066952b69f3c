//! A connector out of process that a test makes of what it likes: over TCP, each side with its certificate.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::stream;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tonic::service::Routes;
use tonic::transport::Server;

use super::{TestSuite, must};
use crate::connectors::Opening;
use crate::host::Host;
use crate::role::Role;

/// What the server proves to be.
const NAME: &str = "service/test-store";

/// A server of services of `sre.connector.v1`, with gRPC Health beside them; ended when dropped.
pub struct ConnectorServer {
    suite: TestSuite,
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl ConnectorServer {
    /// Serves on a free port. Callers show a certificate of the server's own suite.
    ///
    /// Panics where it cannot.
    pub async fn start(services: Routes) -> Self {
        let empty = |_: Host| async { Ok(Routes::default()) };
        let suite = must(TestSuite::builder().role(Role::Io, empty).build().await);
        let acceptor = TlsAcceptor::from(must(sre_identity::tls::server_config(&suite.identity(NAME))));
        let listener = must(TcpListener::bind("127.0.0.1:0").await);
        let address = must(listener.local_addr());
        let connections = stream::unfold((listener, acceptor), |(listener, acceptor)| async move {
            let accepted = async {
                let (tcp, _) = listener.accept().await?;
                tcp.set_nodelay(true)?;
                acceptor.accept(tcp).await
            };
            let accepted: std::io::Result<_> = accepted.await;
            Some((accepted, (listener, acceptor)))
        });
        let (_, health) = tonic_health::server::health_reporter();
        let router = Server::builder().add_routes(services.add_service(health));
        let serving = crate::task::spawn("test connector", async move {
            if let Err(error) = router.serve_with_incoming(connections).await {
                tracing::debug!(%error, "the test's connector ended");
            }
        });
        Self { suite, address, serving }
    }

    /// The suite whose authority vouches for both sides.
    pub fn suite(&self) -> &TestSuite {
        &self.suite
    }

    /// What opens it as an instance of its own, from a service that is the role `io`.
    pub fn opening(&self) -> Opening {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let id = format!("t-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let endpoint = format!("https://127.0.0.1:{}", self.address.port());
        let host = self.suite.host(Role::Io);
        let settings = json!({ "endpoint": endpoint, "serverId": NAME });
        Opening::standalone(&id, settings, host.data_dir()).within(host)
    }
}

impl Drop for ConnectorServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl std::fmt::Debug for ConnectorServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectorServer").field("address", &self.address).finish_non_exhaustive()
    }
}
