//! Serves the sample to SRE, on a Unix socket or with mTLS.

mod contract;
mod countdown;
mod service;

use std::error::Error;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Status};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use contract::component_server::ComponentServer;
use service::Countdown;

/// Serves the component Samples.Countdown.
#[derive(Parser)]
struct Options {
    /// Serve on this Unix socket.
    #[arg(long, conflicts_with = "listen", required_unless_present = "listen")]
    socket: Option<PathBuf>,
    /// Serve on this address, with mTLS.
    #[arg(long, requires_all = ["cert", "key", "ca", "allow"])]
    listen: Option<SocketAddr>,
    /// With --listen: this server's certificate, PEM.
    #[arg(long)]
    cert: Option<PathBuf>,
    /// With --listen: its key, PEM.
    #[arg(long)]
    key: Option<PathBuf>,
    /// With --listen: who vouches for callers, PEM.
    #[arg(long)]
    ca: Option<PathBuf>,
    /// With --listen: a caller's SPIFFE id.
    #[arg(long)]
    allow: Vec<String>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let (_reporter, health) = tonic_health::server::health_reporter();
    let mut stop = signal(SignalKind::terminate())?;
    let stopped = async move {
        stop.recv().await;
    };
    if let Some(socket) = &options.socket {
        // Of an earlier run.
        let _ = std::fs::remove_file(socket);
        let listener = UnixListener::bind(socket)?;
        // Whoever can open the socket can use it: only this user can.
        std::fs::set_permissions(socket, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        say(&socket.display().to_string())?;
        let router = Server::builder().add_service(health).add_service(ComponentServer::new(Countdown));
        router.serve_with_incoming_shutdown(UnixListenerStream::new(listener), stopped).await?;
        return Ok(());
    }
    let (Some(address), Some(cert), Some(key), Some(ca)) =
        (options.listen, options.cert, options.key, options.ca)
    else {
        return Err("write --socket, or --listen with --cert, --key, --ca and --allow".into());
    };
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(std::fs::read(cert)?, std::fs::read(key)?))
        .client_ca_root(Certificate::from_pem(std::fs::read(ca)?));
    let listener = TcpListener::bind(address).await?;
    say(&listener.local_addr()?.to_string())?;
    let allowed = options.allow;
    // Any certificate of the trust domain passes the handshake: this keeps other services and agents out.
    let guarded =
        ComponentServer::with_interceptor(Countdown, move |request: Request<()>| {
            match is_allowed(&request, &allowed) {
                true => Ok(request),
                false => Err(Status::permission_denied("this caller is not allowed here")),
            }
        });
    let router = Server::builder().tls_config(tls)?.add_service(health).add_service(guarded);
    router.serve_with_incoming_shutdown(TcpListenerStream::new(listener), stopped).await?;
    Ok(())
}

fn is_allowed(request: &Request<()>, allowed: &[String]) -> bool {
    let certificates = request.peer_certs().unwrap_or_default();
    let Some(Ok((_, certificate))) = certificates.first().map(|first| X509Certificate::from_der(first))
    else {
        return false;
    };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return false };
    names.value.general_names.iter().any(|name| match name {
        GeneralName::URI(uri) => allowed.iter().any(|allowed| allowed == uri),
        _ => false,
    })
}

fn say(place: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "serving on {place}")
}
