//! Ways to servers that others wrote: connectors and components out of process. A socket, or TLS with the suite's
//! own certificate.

mod permitted;
mod watched;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use sre_identity::SvidSource;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tonic::transport::Endpoint;
use tower::service_fn;

pub use tonic::transport::Channel;

pub use permitted::{component_identity, component_place};
pub use watched::watched;

/// How long a connection may take.
pub const CONNECT: Duration = Duration::from_secs(5);
/// How often an idle connection is probed, and how long that may take: what is half open is found.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A Unix socket.
    Unix(PathBuf),
    /// TCP with TLS.
    Tcp {
        /// Host name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// TCP on this machine, without TLS.
    Loopback(SocketAddr),
}

impl Place {
    /// Reads `unix:/path/of/socket` or `https://host:port`.
    pub fn parse(endpoint: &str) -> anyhow::Result<Self> {
        if let Some(path) = endpoint.strip_prefix("unix:") {
            let path = PathBuf::from(path.strip_prefix("//").unwrap_or(path));
            anyhow::ensure!(path.is_absolute(), "endpoint: write unix:/path/of/socket, with the whole path");
            return Ok(Self::Unix(path));
        }
        let uri: Uri =
            endpoint.parse().context("endpoint: write unix:/path/of/socket or https://host:port")?;
        let (Some("https"), Some(host), Some(port)) = (uri.scheme_str(), uri.host(), uri.port_u16()) else {
            bail!("endpoint: write unix:/path/of/socket or https://host:port");
        };
        Ok(Self::Tcp { host: host.trim_matches(['[', ']']).to_owned(), port })
    }

    /// Like [`Self::parse`], and `http://127.0.0.1:port` too.
    pub fn parse_or_loopback(endpoint: &str) -> anyhow::Result<Self> {
        let Some(address) = endpoint.strip_prefix("http://") else { return Self::parse(endpoint) };
        let address = address.trim_end_matches('/').parse::<SocketAddr>().ok();
        match address.filter(|address| address.ip().is_loopback()) {
            Some(address) => Ok(Self::Loopback(address)),
            None => bail!(
                "endpoint: http is for this machine alone, http://127.0.0.1:port: write https://host:port, or \
                 unix:/path/of/socket"
            ),
        }
    }
}

/// How a server proves who it is.
#[derive(Clone)]
pub enum Proof {
    /// Its socket lies where only it can make one.
    Socket,
    /// A certificate for its host name, or of the suite, which has no host names.
    Tls {
        /// Whom to believe.
        connector: TlsConnector,
        /// The name that is said to it.
        name: ServerName<'static>,
    },
}

impl Proof {
    /// The server is this service of the suite's trust domain; `identity` is shown to it.
    pub fn service(
        place: &Place,
        identity: &std::sync::Arc<SvidSource>,
        service: &str,
    ) -> anyhow::Result<Self> {
        let Place::Tcp { host, .. } = place else { return Ok(Self::Socket) };
        let config = sre_identity::tls::client_config(identity, service)?;
        Ok(Self::Tls { connector: TlsConnector::from(config), name: server_name(host)? })
    }
}

/// A host as TLS names it.
pub fn server_name(host: &str) -> anyhow::Result<ServerName<'static>> {
    ServerName::try_from(host.to_owned()).context("endpoint: the host has no valid name")
}

/// What channels to such servers are built of. The address is for messages: the connection is made by [`dial`].
fn endpoint(name: &'static str) -> Endpoint {
    Endpoint::from_static(name)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .connect_timeout(CONNECT)
}

/// A channel that connects when it is first used, and again after its connection broke.
pub fn channel(place: Place, proof: Proof) -> Channel {
    channel_by(move || dial(place.clone(), proof.clone()))
}

/// The same with a way to connect of one's own.
pub fn channel_by<C, F, E>(connect: C) -> Channel
where
    C: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = Result<TokioIo<Box<dyn Wire>>, E>> + Send + 'static,
    E: std::error::Error + Send + Sync + 'static,
{
    endpoint("http://out-of-process").connect_with_connector_lazy(service_fn(move |_: Uri| connect()))
}

/// A connection, whatever it goes over.
pub trait Wire: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> Wire for T {}

/// Connects.
///
/// # Errors
/// If nobody listens there, or the server does not prove who it is.
pub async fn dial(place: Place, proof: Proof) -> std::io::Result<TokioIo<Box<dyn Wire>>> {
    let wire: Box<dyn Wire> = match (place, proof) {
        (Place::Unix(path), _) => {
            let connected = UnixStream::connect(&path).await;
            Box::new(
                connected.map_err(|error| {
                    std::io::Error::new(error.kind(), format!("{}: {error}", path.display()))
                })?,
            )
        }
        (Place::Tcp { host, port }, Proof::Tls { connector, name }) => {
            let tcp = TcpStream::connect((host.as_str(), port)).await?;
            tcp.set_nodelay(true)?;
            Box::new(connector.connect(name, tcp).await?)
        }
        (Place::Loopback(address), _) => {
            let tcp = TcpStream::connect(address).await?;
            tcp.set_nodelay(true)?;
            Box::new(tcp)
        }
        (Place::Tcp { .. }, Proof::Socket) => return Err(std::io::Error::other("no certificate to expect")),
    };
    Ok(TokioIo::new(wire))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_sockets_and_https_alone() {
        assert_eq!(Place::parse("unix:/run/x.sock").unwrap(), Place::Unix("/run/x.sock".into()));
        assert_eq!(Place::parse("unix:///run/x.sock").unwrap(), Place::Unix("/run/x.sock".into()));
        assert_eq!(Place::parse("https://[::1]:7").unwrap(), Place::Tcp { host: "::1".into(), port: 7 });
        for endpoint in ["unix:x.sock", "http://h:1", "https://h", "h:1", ""] {
            let text = format!("{:#}", Place::parse(endpoint).unwrap_err());
            assert!(text.contains("unix:/path/of/socket"), "{endpoint}: {text}");
        }
    }

    #[test]
    fn without_tls_it_is_this_machine_or_nothing() {
        let here = Place::parse_or_loopback("http://127.0.0.1:7").unwrap();
        assert_eq!(here, Place::Loopback(SocketAddr::from(([127, 0, 0, 1], 7))));
        for endpoint in ["http://10.0.0.1:7", "http://localhost:7", "http://0.0.0.0:7", "http://127.0.0.1"] {
            let text = format!("{:#}", Place::parse_or_loopback(endpoint).unwrap_err());
            assert!(text.contains("this machine alone"), "{endpoint}: {text}");
        }
    }
}
