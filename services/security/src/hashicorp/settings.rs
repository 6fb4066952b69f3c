//! Settings of everything that talks to a HashiCorp Vault.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{bail, ensure};
use schemars::JsonSchema;
use serde::Deserialize;
use sre_service::connectors::SecretSetting;
use url::Url;

/// How a server is reached, and as whom.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Its address, `https://vault.example:8200`; plain HTTP on loopback alone.
    pub address: String,
    /// The namespace (Enterprise, HCP).
    #[serde(default)]
    pub namespace: Option<String>,
    /// Where the engine is mounted [default: `secret` for KV v2, `transit` for transit].
    #[serde(default)]
    pub mount: Option<String>,
    /// The folder below the mount [default: `sre`].
    #[serde(default = "prefix")]
    pub prefix: String,
    /// The field of a secret that holds the value [default: `value`].
    #[serde(default = "field")]
    pub field: String,
    /// The transit key that wraps key files; for `vault.transit` alone.
    #[serde(default)]
    pub key: Option<String>,
    /// A token. Exactly one of `token`, `appRole` and `kubernetes` is set.
    #[serde(default)]
    pub token: Option<SecretSetting>,
    /// Logs in by AppRole.
    #[serde(default)]
    pub app_role: Option<AppRole>,
    /// Logs in with the pod's service account.
    #[serde(default)]
    pub kubernetes: Option<Kubernetes>,
    /// Certificates that vouch for the server, PEM, instead of those of the system.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// How long one call may take, in milliseconds [default: 5000].
    #[serde(default = "timeout_ms")]
    pub timeout_ms: u64,
}

/// Login by AppRole.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppRole {
    /// The role's id.
    pub role_id: String,
    /// Its secret.
    pub secret_id: SecretSetting,
    /// Where the method is mounted [default: `approle`].
    #[serde(default = "app_role_mount")]
    pub mount: String,
}

/// Login with a Kubernetes service account.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Kubernetes {
    /// The role.
    pub role: String,
    /// The service account's token, read at each login [default: where Kubernetes mounts it].
    #[serde(default = "jwt_file")]
    pub jwt_file: PathBuf,
    /// Where the method is mounted [default: `kubernetes`].
    #[serde(default = "kubernetes_mount")]
    pub mount: String,
}

/// How to log in.
#[derive(Debug, Clone)]
pub enum Login {
    /// With a token that somebody else made.
    Token(SecretSetting),
    /// By AppRole.
    AppRole(AppRole),
    /// With a service account.
    Kubernetes(Kubernetes),
}

fn prefix() -> String {
    "sre".to_owned()
}

fn field() -> String {
    "value".to_owned()
}

fn timeout_ms() -> u64 {
    5_000
}

fn app_role_mount() -> String {
    "approle".to_owned()
}

fn kubernetes_mount() -> String {
    "kubernetes".to_owned()
}

fn jwt_file() -> PathBuf {
    PathBuf::from("/var/run/secrets/kubernetes.io/serviceaccount/token")
}

impl Settings {
    /// The server's address: with TLS, but on loopback.
    pub fn address(&self) -> anyhow::Result<Url> {
        let url = Url::parse(&self.address)
            .map_err(|error| anyhow::anyhow!("address is no URL: {error}: write https://host:8200"))?;
        let is_loopback = match url.host() {
            Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
            Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
            Some(url::Host::Domain(name)) => name == "localhost",
            None => false,
        };
        match url.scheme() {
            "https" => {}
            "http" if is_loopback => {}
            _ => bail!("address is not https: secrets would travel in clear"),
        }
        ensure!(
            url.password().is_none() && url.query().is_none(),
            "address holds more than a host and a port"
        );
        Ok(url)
    }

    /// The one way to log in.
    pub fn login(&self) -> anyhow::Result<Login> {
        match (&self.token, &self.app_role, &self.kubernetes) {
            (Some(token), None, None) => Ok(Login::Token(token.clone())),
            (None, Some(role), None) => Ok(Login::AppRole(role.clone())),
            (None, None, Some(account)) => Ok(Login::Kubernetes(account.clone())),
            _ => bail!("set exactly one of token, appRole and kubernetes"),
        }
    }

    /// How long one call may take.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms.clamp(100, 60_000))
    }

    /// All that can be known to be wrong without asking the server.
    pub fn check(&self) -> anyhow::Result<()> {
        self.address()?;
        self.login()?;
        for (name, path) in
            [("prefix", self.prefix.as_str()), ("mount", self.mount.as_deref().unwrap_or("x"))]
        {
            let is_path = path.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
            ensure!(is_path, "{name} is no path: write for example sre/production");
        }
        Ok(())
    }
}
