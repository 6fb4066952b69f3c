//! The mTLS listener of a role: own accept loop, so that certificates change without restart and every
//! connection has an age.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rand::Rng;
use sre_identity::{PeerVerifier, SvidSource};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::gate::Gate;
use super::role_server::{ConnectionService, RoleServer};
use crate::process::Process;
use crate::role::Role;
use crate::task;

const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// A frame holds so much at most: large messages are then cut into few of them.
const FRAME_BYTES: u32 = 64 << 10;
/// How long a connection may take to write what is left and close.
const CLOSING: Duration = Duration::from_secs(1);
/// After an accept error (no file handles left), before the next attempt.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Binds an address. For port 0, the port it had before is tried first: a restarted role is found again.
pub(crate) async fn bind(
    wanted: SocketAddr,
    previous: Option<SocketAddr>,
    name: &str,
) -> anyhow::Result<TcpListener> {
    if let Some(previous) = previous.filter(|previous| wanted.port() == 0 && previous.ip() == wanted.ip())
        && let Ok(listener) = TcpListener::bind(previous).await
    {
        return Ok(listener);
    }
    TcpListener::bind(wanted).await.with_context(|| {
        format!("{name} cannot listen on {wanted}: free the address, or set listen.{name} to another one")
    })
}

/// What the accept loop of a role needs.
pub(crate) struct RoleListener {
    role: Role,
    process: Arc<Process>,
    server: Arc<RoleServer>,
    acceptor: TlsAcceptor,
    peers: PeerVerifier,
    connections: Arc<Gate>,
}

impl RoleListener {
    pub(crate) fn new(
        role: Role,
        process: &Arc<Process>,
        identity: &Arc<SvidSource>,
        server: Arc<RoleServer>,
    ) -> anyhow::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            role,
            process: Arc::clone(process),
            server,
            acceptor: TlsAcceptor::from(sre_identity::tls::server_config(identity)?),
            peers: PeerVerifier::new(Arc::clone(identity)),
            connections: Gate::new(process.config.limits.max_connections),
        }))
    }

    /// Accepts until the process drains, and returns when its connections are closed: an answer has left only
    /// when the connection wrote it.
    pub(crate) async fn accept(self: Arc<Self>, listener: TcpListener) {
        self.accept_until_drain(listener).await;
        // Each ends within its grace after shutdown, so this waits for no longer than that.
        self.process.shutdown.cancelled().await;
        self.connections.idle(CLOSING * 2).await;
    }

    async fn accept_until_drain(self: &Arc<Self>, listener: TcpListener) {
        let draining = self.process.draining.clone();
        loop {
            let accepted = tokio::select! {
                () = draining.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let tcp = match accepted {
                Ok((tcp, _)) => tcp,
                Err(error) => {
                    tracing::warn!(role = %self.role, %error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // Beyond the limit a connection is closed at once, which costs less than a handshake.
            let Some(pass) = self.connections.enter() else { continue };
            let this = Arc::clone(self);
            drop(task::spawn("connection", async move {
                this.connection(tcp).await;
                drop(pass);
            }));
        }
    }

    async fn connection(&self, tcp: TcpStream) {
        if tcp.set_nodelay(true).is_err() {
            return;
        }
        let deadlines = &self.process.config.deadlines;
        let handshake = tokio::time::timeout(deadlines.handshake(), self.acceptor.accept(tcp)).await;
        let stream = match handshake {
            Ok(Ok(stream)) => stream,
            // Refused clients are no failure of ours.
            Ok(Err(error)) => return tracing::debug!(role = %self.role, %error, "handshake refused"),
            Err(_) => return tracing::debug!(role = %self.role, "handshake took too long"),
        };
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let peer = match self.peers.peer_from_chain(chain) {
            Ok(peer) => peer,
            Err(error) => return tracing::debug!(role = %self.role, %error, "peer refused"),
        };
        // Nothing outlives its certificate.
        let certificate_left = peer.not_after().duration_since(SystemTime::now()).unwrap_or_default();
        let age = deadlines.connection_age();
        let age = (age + age.mul_f64(rand::rng().random_range(0.0..0.1))).min(certificate_left);
        let service = ConnectionService::new(Arc::clone(&self.server), sre_identity::tls_extension(peer));
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES)
            .max_concurrent_streams(self.process.config.limits.max_streams_per_connection)
            .keep_alive_interval(deadlines.keep_alive())
            .keep_alive_timeout(deadlines.keep_alive_timeout());
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => Some(ended),
            () = tokio::time::sleep(age) => None,
            () = self.process.draining.cancelled() => None,
        };
        if ended.is_none() {
            // GOAWAY: clients go elsewhere with new calls, those in flight finish here.
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                _ = connection.as_mut() => {}
                () = self.process.shutdown.cancelled() => {
                    // Calls have ended; the last bytes of their answers may still be on the way out.
                    drop(tokio::time::timeout(CLOSING, connection.as_mut()).await);
                }
            }
        }
    }
}
