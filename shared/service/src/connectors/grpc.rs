//! Connectors out of process: `Connector = "Grpc"`. Here is the way to them; the adapter of each service, behind
//! the same trait as its other backends, is in that service's `connectors/grpc.rs`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use schemars::JsonSchema;
use serde::Deserialize;
use sre_identity::{SvidSource, TrustRoots};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::{Opening, Unhealthy};
use crate::dial::{self, Place, Proof};

/// The metadata that names the instance: one server may serve several.
const INSTANCE: &str = "sre-instance";
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

/// Checks the settings alone.
pub fn check(opening: &Opening) -> anyhow::Result<()> {
    settings(opening).map(drop)
}

fn settings(opening: &Opening) -> anyhow::Result<(GrpcSettings, Place)> {
    let settings: GrpcSettings = opening.settings()?;
    let place = Place::parse(&settings.endpoint)?;
    match (&place, &settings.server_id, &settings.ca) {
        (Place::Unix(_), None, None)
        | (Place::Tcp { .. }, Some(_), None)
        | (Place::Tcp { .. }, None, Some(_)) => {}
        (Place::Unix(_), ..) => bail!("a unix socket has no certificate: leave serverId and ca out"),
        (Place::Tcp { .. } | Place::Loopback(_), ..) => bail!(
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
        let channel = dial::channel(place, proof);
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
    let name = dial::server_name(host)?;
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
