//! One HTTP/2 connection to one address, opened when needed and again after it broke.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use rand::Rng;
use rustls::pki_types::ServerName;
use sre_identity::SvidSource;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tonic::body::Body;

use crate::config::Deadlines;
use crate::task;

/// The part of its time that a connection is used for: of the age at which the other side ends it, and of its
/// certificate's remaining validity. Calls in flight need the rest, and a call that met the end would fail.
const USED: f64 = 0.8;
const FIRST_BACK_OFF: Duration = Duration::from_millis(10);
const LAST_BACK_OFF: Duration = Duration::from_millis(250);
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// A frame holds so much at most: large messages are then cut into few of them.
const FRAME_BYTES: u32 = 64 << 10;

/// How connections are opened: under this identity, whatever certificate it has at that time.
#[derive(Clone)]
pub(super) struct Tls {
    pub(super) connector: TlsConnector,
    pub(super) identity: Arc<SvidSource>,
}

/// A place for a connection to an address.
pub(super) struct Slot {
    pub(super) address: SocketAddr,
    state: Mutex<State>,
    /// One attempt at a time.
    connecting: tokio::sync::Mutex<()>,
    in_flight: Arc<AtomicUsize>,
}

#[derive(Default)]
struct State {
    open: Option<Open>,
    generation: u64,
    failures: u32,
    retry_at: Option<Instant>,
    last_error: String,
}

#[derive(Clone)]
struct Open {
    sender: SendRequest<Body>,
    generation: u64,
    replace_at: Instant,
}

/// A connection that can take a request now.
pub(super) struct Lease {
    sender: SendRequest<Body>,
    generation: u64,
    slot: Arc<Slot>,
}

/// A call in flight on a slot; counted until dropped.
pub(super) struct InFlight(Arc<AtomicUsize>);

/// Why a request was not answered.
pub(super) enum SendError {
    /// The connection was gone before the request left: it can go elsewhere.
    Unsent(Box<Request<Body>>),
    /// It may have been received.
    Sent(String),
}

impl Slot {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            state: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
            in_flight: Arc::default(),
        }
    }

    pub(super) fn load(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// The open connection, if there is one that is neither broken nor too old.
    pub(super) fn open(self: &Arc<Self>) -> Option<Lease> {
        let mut state = self.state.lock();
        let open = state.open.as_ref()?;
        if open.sender.is_closed() || open.replace_at <= Instant::now() {
            // Calls in flight finish on the old connection; it closes when the last one has.
            state.open = None;
            return None;
        }
        Some(Lease { sender: open.sender.clone(), generation: open.generation, slot: Arc::clone(self) })
    }

    /// When the next attempt may be made; none means now.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.state.lock().retry_at.filter(|at| *at > Instant::now())
    }

    /// Whether an attempt is under way.
    pub(super) fn is_connecting(&self) -> bool {
        self.connecting.try_lock().is_err()
    }

    fn last_error(&self) -> String {
        self.state.lock().last_error.clone()
    }

    /// Opens a connection unless there is one. Callers at the same time share the attempt.
    pub(super) async fn connect(self: &Arc<Self>, tls: &Tls, deadlines: &Deadlines) -> Result<Lease, String> {
        let _turn = self.connecting.lock().await;
        if let Some(lease) = self.open() {
            return Ok(lease);
        }
        if self.retry_at().is_some() {
            return Err(self.last_error());
        }
        let certificate_ends = tls.identity.svid().not_after();
        let opened = tokio::time::timeout(deadlines.connect(), self.handshake(tls, deadlines)).await;
        let opened = opened.unwrap_or_else(|_| Err("connecting took too long".to_owned()));
        let mut state = self.state.lock();
        match opened {
            Ok(sender) => {
                state.generation += 1;
                state.failures = 0;
                state.retry_at = None;
                let age = deadlines.connection_age();
                let age = age - age.mul_f64(rand::rng().random_range(0.0..0.1));
                // The other side refuses calls once the certificate that opened the connection has ended.
                let valid = certificate_ends.duration_since(SystemTime::now()).unwrap_or_default();
                let replace_at = Instant::now() + age.min(valid).mul_f64(USED);
                let generation = state.generation;
                state.open = Some(Open { sender: sender.clone(), generation, replace_at });
                Ok(Lease { sender, generation, slot: Arc::clone(self) })
            }
            Err(error) => {
                let back_off = back_off(state.failures);
                state.failures = state.failures.saturating_add(1);
                state.retry_at = Some(Instant::now() + back_off);
                state.last_error.clone_from(&error);
                Err(error)
            }
        }
    }

    async fn handshake(&self, tls: &Tls, deadlines: &Deadlines) -> Result<SendRequest<Body>, String> {
        // Who is there takes the connection at once, however busy; the handshake is what may take its time.
        let tcp = tokio::time::timeout(deadlines.unavailable(), TcpStream::connect(self.address)).await;
        let tcp = tcp.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
        let tcp = tcp.map_err(|error| error.to_string())?;
        tcp.set_nodelay(true).map_err(|error| error.to_string())?;
        // Identity is the SPIFFE id; the name in the handshake means nothing and is not sent.
        let name = ServerName::IpAddress(self.address.ip().into());
        let stream = tls.connector.connect(name, tcp).await.map_err(|error| format!("tls: {error}"))?;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES)
            .keep_alive_interval(deadlines.keep_alive())
            .keep_alive_timeout(deadlines.keep_alive_timeout())
            .keep_alive_while_idle(true);
        let (sender, driver) =
            builder.handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        drop(task::spawn("link-connection", async move {
            // Its end is seen by the sender; the cause goes to the calls it breaks.
            if let Err(error) = driver.await {
                tracing::debug!(%error, "connection ended");
            }
        }));
        Ok(sender)
    }

    fn broken(&self, generation: u64) {
        let mut state = self.state.lock();
        if state.open.as_ref().is_some_and(|open| open.generation == generation) {
            state.open = None;
        }
    }
}

impl Lease {
    pub(super) fn address(&self) -> SocketAddr {
        self.slot.address
    }

    /// Sends the request; the answer's body is still to come while the in-flight mark lives.
    pub(super) async fn send(
        mut self,
        request: Request<Body>,
    ) -> Result<(Response<Incoming>, InFlight), SendError> {
        self.slot.in_flight.fetch_add(1, Ordering::Relaxed);
        let mark = InFlight(Arc::clone(&self.slot.in_flight));
        match self.sender.try_send_request(request).await {
            Ok(response) => Ok((response, mark)),
            Err(mut error) => {
                self.slot.broken_if_closed(&self.sender, self.generation);
                match error.take_message() {
                    Some(request) => {
                        self.slot.broken(self.generation);
                        Err(SendError::Unsent(Box::new(request)))
                    }
                    None => Err(SendError::Sent(with_causes(error.error()))),
                }
            }
        }
    }
}

impl Slot {
    fn broken_if_closed(&self, sender: &SendRequest<Body>, generation: u64) {
        if sender.is_closed() {
            self.broken(generation);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Doubles from 10 to 250 ms, less up to a half at random: a role that is back is found well within a second.
fn back_off(failures: u32) -> Duration {
    let full = FIRST_BACK_OFF.saturating_mul(1 << failures.min(8)).min(LAST_BACK_OFF);
    full.mul_f64(rand::rng().random_range(0.5..1.0))
}

/// The error with what it was caused by: hyper's own text alone says little.
fn with_causes(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
