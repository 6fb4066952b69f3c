//! `[certs]`: certificates, keys, trust bundle, identity patterns.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::by_role::ByRole;
use crate::role::Role;

/// Certificates and identity patterns.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Certs {
    /// The folder of certificates, under the data folder unless absolute. In the dev profile a certificate
    /// authority and one certificate per principal are made here at first start.
    pub dir: PathBuf,
    /// The socket of a SPIFFE Workload API that gives certificates, keys and the trust bundle, for example
    /// `unix:///run/spire/sockets/agent.sock`. No files are read then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload_api: Option<String>,
    /// A folder with `tls.crt`, `tls.key` and `ca.crt`, as cert-manager's Secrets are mounted; with one folder per
    /// role in it where a process has several. `bundle` replaces `ca.crt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mounted: Option<PathBuf>,
    /// A PEM file of authorities to trust instead of the folder's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundle: Option<PathBuf>,
    /// Certificate and key of a role, where they do not come from `dir`.
    #[schemars(with = "ByRole<RoleCerts>")]
    pub roles: BTreeMap<Role, RoleCerts>,
    /// DNS names put into certificates that are made here, beside `localhost`.
    pub dns_names: Vec<String>,
    /// How long certificates made here live, in seconds. They are renewed at half of it.
    pub lifetime_seconds: u64,
    /// How often certificate files are looked at for changes, in milliseconds.
    pub reload_interval_ms: u64,
    /// Further shapes of identities, tried in order after the default one. They name services only.
    pub patterns: Vec<PatternEntry>,
}

impl Default for Certs {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("certs"),
            workload_api: None,
            mounted: None,
            bundle: None,
            roles: BTreeMap::new(),
            dns_names: Vec::new(),
            lifetime_seconds: 24 * 3600,
            reload_interval_ms: 2_000,
            patterns: Vec::new(),
        }
    }
}

/// The files of one role's identity.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RoleCerts {
    /// The certificate chain, PEM.
    pub cert: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
}

/// A shape of identities in a mesh's certificates. Exactly one of `path` and `dns`; either has the
/// placeholder `{service}`, or `service` names the role.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PatternEntry {
    /// The path of a SPIFFE id in the trust domain, for example `/ns/sre/sa/sre-{service}` (Istio).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// A DNS name, for example `sre-{service}.sre.serviceaccount.identity.linkerd.cluster.local` (Linkerd).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<String>,
    /// The role, where the pattern has no placeholder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}
