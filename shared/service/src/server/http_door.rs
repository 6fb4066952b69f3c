//! HTTP doors: serve a router over plain HTTP (loopback) or server TLS, until drain.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use axum::extract::ConnectInfo;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use super::gate::Gate;
use super::listener;
use crate::config::HttpTls;
use crate::host::Host;
use crate::{endpoints, task};

const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// One door: its section of the configuration, and where it listens.
pub(crate) struct Door<'a> {
    pub(crate) name: &'static str,
    pub(crate) listen: SocketAddr,
    pub(crate) tls: Option<&'a HttpTls>,
}

/// Serves `router` at a door.
pub(crate) async fn serve(host: &Host, door: Door<'_>, router: axum::Router) -> anyhow::Result<SocketAddr> {
    let previous = endpoints::previous(host.data_dir(), door.name);
    let listener = listener::bind(door.listen, previous, door.name).await?;
    let address = listener.local_addr()?;
    let tls = match door.tls {
        Some(files) => Some(Arc::new(ArcSwap::new(load(files, door.name)?))),
        None => None,
    };
    if let (Some(tls), Some(files)) = (&tls, door.tls) {
        let interval_ms = host.config().certs.reload_interval_ms;
        host.spawn("http-certificates", reload(Arc::clone(tls), files.clone(), interval_ms, door.name));
    }
    host.inner.process.addresses.lock().insert(door.name.to_owned(), address);
    host.spawn_to_end("http-door", accept(host.clone(), listener, router, tls));
    Ok(address)
}

type Tls = Option<Arc<ArcSwap<ServerConfig>>>;

async fn accept(host: Host, listener: TcpListener, router: axum::Router, tls: Tls) {
    let draining = host.draining();
    let connections = Gate::new(host.config().limits.max_connections);
    loop {
        let accepted = tokio::select! {
            () = draining.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (tcp, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "the http door cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(pass) = connections.enter() else { continue };
        let (host, router, tls) = (host.clone(), router.clone(), tls.as_ref().map(|tls| tls.load_full()));
        drop(task::spawn("http-connection", async move {
            if let Err(error) = connection(&host, tcp, from, router, tls).await {
                tracing::debug!(%error, "http connection ended");
            }
            drop(pass);
        }));
    }
    // The caller waits for this task: answers in flight finish first.
    connections.idle(host.config().deadlines.drain()).await;
}

async fn connection(
    host: &Host,
    tcp: TcpStream,
    from: SocketAddr,
    router: axum::Router,
    tls: Option<Arc<ServerConfig>>,
) -> anyhow::Result<()> {
    tcp.set_nodelay(true)?;
    match tls {
        Some(config) => {
            let handshake = TlsAcceptor::from(config).accept(tcp);
            let stream = tokio::time::timeout(host.config().deadlines.handshake(), handshake).await??;
            http(host, stream, from, router).await
        }
        None => http(host, tcp, from, router).await,
    }
}

async fn http<S>(host: &Host, stream: S, from: SocketAddr, router: axum::Router) -> anyhow::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = router.map_request(move |mut request: http::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(ConnectInfo(from));
        request.map(axum::body::Body::new)
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(host.config().deadlines.handshake());
    builder.http2().timer(TokioTimer::new());
    let connection =
        builder.serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(service));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = host.inner.process.draining.cancelled() => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = host.inner.process.shutdown.cancelled() => Ok(()),
            }
        }
    };
    ended.map_err(|error| anyhow::anyhow!("{error}"))
}

fn load(files: &HttpTls, name: &str) -> anyhow::Result<Arc<ServerConfig>> {
    let chain =
        CertificateDer::pem_file_iter(&files.cert)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .with_context(|| format!("{name}.tls.cert: {} is no PEM certificate", files.cert.display()))?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .with_context(|| format!("{name}.tls.key: {} is no PEM private key", files.key.display()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .with_context(|| format!("{name}.tls: the key does not fit the certificate"))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

async fn reload(tls: Arc<ArcSwap<ServerConfig>>, files: HttpTls, interval_ms: u64, name: &'static str) {
    let modified = |files: &HttpTls| -> Option<(SystemTime, SystemTime)> {
        let time = |path| std::fs::metadata(path).and_then(|data| data.modified()).ok();
        Some((time(&files.cert)?, time(&files.key)?))
    };
    let mut known = modified(&files);
    loop {
        tokio::time::sleep(Duration::from_millis(interval_ms)).await;
        let now = modified(&files);
        if now == known {
            continue;
        }
        match load(&files, name) {
            Ok(config) => {
                tls.store(config);
                known = now;
            }
            // Half-written files: the next look sees them whole.
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "the http certificate cannot be reloaded")
            }
        }
    }
}
