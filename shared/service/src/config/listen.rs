//! `[listen]`, `[http]`, `[admin]` and `[endpoints]`: addresses.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::by_role::ByRole;
use crate::role::Role;

/// Addresses that roles listen on, by role: `edge = "0.0.0.0:7443"`. Port 0 takes a free one, or the one
/// the role had before. The edge always listens; other roles in the same process only when they are named
/// here, and a role that is alone in its process listens on 127.0.0.1 unless named.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Listen(#[schemars(with = "ByRole<String>")] pub BTreeMap<Role, SocketAddr>);

impl Listen {
    /// The address of a role, where one is configured.
    pub fn of(&self, role: Role) -> Option<SocketAddr> {
        self.0.get(&role).copied()
    }
}

/// The HTTP door.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Http {
    /// Its address. Plain HTTP is served on loopback addresses only.
    pub listen: SocketAddr,
    /// Whether there is a door at all.
    pub enabled: bool,
    /// The server's certificate. Required unless `listen` is a loopback address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<HttpTls>,
    /// The largest body, in bytes.
    pub max_body_bytes: usize,
}

/// The certificate of the HTTP door.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct HttpTls {
    /// The certificate chain, PEM.
    pub cert: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: loopback(), enabled: true, tls: None, max_body_bytes: 4 << 20 }
    }
}

/// The admin port: plain HTTP with `/livez`, `/readyz`, `/startupz` and `/metrics`, nothing else.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Admin {
    /// Its address.
    pub listen: SocketAddr,
    /// Whether there is one.
    pub enabled: bool,
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: loopback(), enabled: true }
    }
}

/// Where other processes' roles are found, by role: `llm = ["llm.sre.svc:7443"]`. Names are resolved
/// again and again, all their addresses are used. A role that is not named here is looked up in
/// `run/endpoints.toml` of the data folder, which a suite on one machine writes.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Endpoints(#[schemars(with = "ByRole<Vec<String>>")] pub BTreeMap<Role, Vec<String>>);

impl Endpoints {
    /// The configured addresses of a role; empty where there are none.
    pub fn of(&self, role: Role) -> &[String] {
        self.0.get(&role).map(Vec::as_slice).unwrap_or_default()
    }
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}
