//! Connectors out of process: `Connector = "Grpc"`. Here is the way to them; the adapter of each service, behind
//! the same trait as its other backends, is in that service's `connectors/grpc.rs`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use schemars::JsonSchema;
use serde::Deserialize;
use sre_identity::{SvidSource, TrustRoots};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tower::service_fn;

use super::{Opening, Unhealthy};

/// The metadata that names the instance: one server may serve several.
const INSTANCE: &str = "sre-instance";
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How often an idle connection is probed, and how long that may take: what is half open is found.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a service that starts waits for its connector, which may be starting beside it,
const PATIENCE: Duration = Duration::from_secs(50);
/// and how long a command does.
const PATIENCE_OF_COMMAND: Duration = Duration::from_secs(3);
const RETRY: Duration = Duration::from_millis(250);
/// How long a read or a write may stand still in the middle.
pub const SILENCE: Duration = Duration::from_secs(30);

/// Settings of every connector out of process.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrpcSettings {
    /// `unix:/path/of/socket`, or `https://host:port`.
    pub endpoint: String,
    /// For https: the server proves to be this service of the suite's trust domain, `service/my-store`, with a
    /// certificate that `sre certs issue service/my-store` makes.
    pub server_id: Option<String>,
    /// For https instead of `serverId`: PEM of the authorities that vouch for the server's host name.
    pub ca: Option<PathBuf>,
    /// How long one call may take, in milliseconds; 30000 where absent. Streams of bytes may take longer, and may
    /// stand still for 30 seconds.
    pub timeout_ms: Option<u64>,
}

/// The way to a connector out of process: a channel that opens its connection again after it broke. Over https
/// the service shows its own certificate, as it is at the time.
#[derive(Clone)]
pub struct OutOfProcess {
    channel: ConnectorChannel,
    service: &'static str,
}

/// What generated clients of `sre.connector.v1` are built over.
pub type ConnectorChannel = InterceptedService<Channel, ForInstance>;

/// Names the instance and sets the deadline of each call.
#[derive(Clone)]
pub struct ForInstance {
    instance: MetadataValue<Ascii>,
    timeout: Duration,
}

impl Interceptor for ForInstance {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert(INSTANCE, self.instance.clone());
        if !request.metadata().contains_key("grpc-timeout") {
            request.set_timeout(self.timeout);
        }
        Ok(request)
    }
}

/// Where a connector listens.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Unix(PathBuf),
    Tcp { host: String, port: u16 },
}

/// How a connector proves who it is.
#[derive(Clone)]
enum Proof {
    /// Its socket lies where only it can make one.
    Socket,
    /// A certificate for its host name, or of the suite, which has no host names.
    Tls { connector: TlsConnector, name: ServerName<'static> },
}

/// Checks the settings alone.
pub fn check(opening: &Opening) -> anyhow::Result<()> {
    settings(opening).map(drop)
}

fn settings(opening: &Opening) -> anyhow::Result<(GrpcSettings, Place)> {
    let settings: GrpcSettings = opening.settings()?;
    let place = place(&settings.endpoint)?;
    match (&place, &settings.server_id, &settings.ca) {
        (Place::Unix(_), None, None)
        | (Place::Tcp { .. }, Some(_), None)
        | (Place::Tcp { .. }, None, Some(_)) => {}
        (Place::Unix(_), ..) => bail!("a unix socket has no certificate: leave serverId and ca out"),
        (Place::Tcp { .. }, ..) => bail!(
            "https needs to know whom to believe: set either serverId, for a certificate of this suite, or ca"
        ),
    }
    if let Some(id) = &settings.server_id {
        service_name(id)?;
    }
    anyhow::ensure!(settings.timeout_ms != Some(0), "timeoutMs 0 allows nothing: use 1 or more");
    Ok((settings, place))
}

fn service_name(id: &str) -> anyhow::Result<&str> {
    id.strip_prefix("service/").filter(|name| !name.is_empty()).context("serverId is service/<name>")
}

fn place(endpoint: &str) -> anyhow::Result<Place> {
    if let Some(path) = endpoint.strip_prefix("unix:") {
        let path = PathBuf::from(path.strip_prefix("//").unwrap_or(path));
        anyhow::ensure!(path.is_absolute(), "endpoint: write unix:/path/of/socket, with the whole path");
        return Ok(Place::Unix(path));
    }
    let uri: Uri = endpoint.parse().context("endpoint: write unix:/path/of/socket or https://host:port")?;
    let (Some("https"), Some(host), Some(port)) = (uri.scheme_str(), uri.host(), uri.port_u16()) else {
        bail!("endpoint: write unix:/path/of/socket or https://host:port");
    };
    Ok(Place::Tcp { host: host.trim_matches(['[', ']']).to_owned(), port })
}

impl OutOfProcess {
    /// Connects to the connector of an instance and asks whether `service`, a service of `sre.connector.v1`, is
    /// well; waits for one that is still starting.
    pub async fn open(opening: &Opening, service: &'static str) -> anyhow::Result<Self> {
        let patience = if opening.host.is_some() { PATIENCE } else { PATIENCE_OF_COMMAND };
        Self::open_within(opening, service, patience).await
    }

    async fn open_within(
        opening: &Opening,
        service: &'static str,
        patience: Duration,
    ) -> anyhow::Result<Self> {
        let (settings, place) = settings(opening)?;
        let proof = proof(opening, &settings, &place)?;
        // The address is for messages: the connection is made by `dial`.
        let endpoint = Endpoint::from_static("http://connector")
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .connect_timeout(CONNECT);
        let channel = endpoint.connect_with_connector_lazy(service_fn(move |_: Uri| {
            let (place, proof) = (place.clone(), proof.clone());
            async move { dial(place, proof).await }
        }));
        let for_instance = ForInstance {
            instance: opening.id.parse().context("the instance's id is no header value")?,
            timeout: settings.timeout_ms.map_or(SILENCE, Duration::from_millis),
        };
        let opened = Self { channel: InterceptedService::new(channel, for_instance), service };
        let give_up = Instant::now() + patience;
        while let Err(error) = opened.check().await {
            if Instant::now() >= give_up {
                bail!("{}: {error}", settings.endpoint);
            }
            tokio::time::sleep(RETRY).await;
        }
        Ok(opened)
    }

    /// What a generated client is built over.
    pub fn channel(&self) -> ConnectorChannel {
        self.channel.clone()
    }

    /// Asks the connector's health service.
    pub async fn check(&self) -> Result<(), Unhealthy> {
        let mut client = HealthClient::new(self.channel.clone());
        let request = HealthCheckRequest { service: String::new() };
        match client.check(request).await {
            Ok(answer) if answer.get_ref().status() == ServingStatus::Serving => Ok(()),
            Ok(answer) => Err(Unhealthy(format!(
                "the connector's {} says {}",
                self.service,
                answer.get_ref().status().as_str_name()
            ))),
            Err(status) => Err(Unhealthy(with_causes(&status))),
        }
    }
}

impl std::fmt::Debug for OutOfProcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OutOfProcess").field("service", &self.service).finish_non_exhaustive()
    }
}

fn proof(opening: &Opening, settings: &GrpcSettings, place: &Place) -> anyhow::Result<Proof> {
    let Place::Tcp { host, .. } = place else { return Ok(Proof::Socket) };
    let identity: &Arc<SvidSource> = opening.host()?.identity();
    let name = ServerName::try_from(host.clone()).context("endpoint: the host has no valid name")?;
    let config = match (&settings.server_id, &settings.ca) {
        (Some(id), _) => sre_identity::tls::client_config(identity, service_name(id)?)?,
        (None, Some(ca)) => {
            let roots = TrustRoots::load(&opening.path(ca)).with_context(|| ca.display().to_string())?;
            sre_identity::tls::named_client_config(identity, &roots)?
        }
        (None, None) => bail!("https needs serverId or ca"),
    };
    Ok(Proof::Tls { connector: TlsConnector::from(config), name })
}

trait Wire: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> Wire for T {}

async fn dial(place: Place, proof: Proof) -> std::io::Result<TokioIo<Box<dyn Wire>>> {
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
        (Place::Tcp { .. }, Proof::Socket) => return Err(std::io::Error::other("no certificate to expect")),
    };
    Ok(TokioIo::new(wire))
}

/// The message of a status with what it was caused by: the transport's own text alone says little.
pub fn with_causes(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut cause = std::error::Error::source(status);
    while let Some(inner) = cause {
        let words = inner.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
#[path = "grpc_tls_tests.rs"]
mod tls_tests;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn wrong(settings: Value) -> String {
        let dir = tempfile::tempdir().unwrap();
        format!("{:#}", check(&Opening::standalone("x", settings, dir.path())).unwrap_err())
    }

    #[test]
    fn places_are_sockets_and_https_alone() {
        assert_eq!(place("unix:/run/x.sock").unwrap(), Place::Unix("/run/x.sock".into()));
        assert_eq!(place("unix:///run/x.sock").unwrap(), Place::Unix("/run/x.sock".into()));
        assert_eq!(place("https://[::1]:7").unwrap(), Place::Tcp { host: "::1".into(), port: 7 });
        for endpoint in ["unix:x.sock", "http://h:1", "https://h", "h:1", ""] {
            let text = format!("{:#}", place(endpoint).unwrap_err());
            assert!(text.contains("unix:/path/of/socket"), "{endpoint}: {text}");
        }
    }

    #[test]
    fn https_needs_to_know_whom_to_believe() {
        let https = "https://localhost:1";
        assert!(wrong(json!({"endpoint": https})).contains("serverId"));
        assert!(wrong(json!({"endpoint": https, "serverId": "service/a", "ca": "c"})).contains("either"));
        assert!(wrong(json!({"endpoint": https, "serverId": "my-store"})).contains("service/<name>"));
        assert!(wrong(json!({"endpoint": "unix:/x", "ca": "c"})).contains("no certificate"));
        assert!(wrong(json!({"endpoint": "unix:/x", "timeoutMs": 0})).contains("timeoutMs"));
        assert!(wrong(json!({"endpont": "unix:/x"})).contains("did you mean `endpoint`?"));
    }

    /// services.md D1: one that is not there is told, with what to look at, and nothing hangs.
    #[tokio::test]
    async fn one_that_is_not_there_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("none.sock");
        let settings = json!({"endpoint": format!("unix:{}", socket.display())});
        let opening = Opening::standalone("x", settings, dir.path());
        let text = format!("{:#}", OutOfProcess::open(&opening, "sre.connector.v1.Nkv").await.unwrap_err());
        assert!(text.contains("none.sock") && text.contains("No such file"), "{text}");
    }
}
