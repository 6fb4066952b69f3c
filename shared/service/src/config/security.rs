//! `[security]` and `[vault]`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::issuer::Issuer;

/// Tokens and administrators.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Security {
    /// How long tokens live, in seconds, 300 at most.
    pub token_ttl_seconds: u64,
    /// Principals that may act on the deployment, for example `user/dev`.
    pub deployment_admins: Vec<String>,
    /// The folder of the token service's signing keys, under the data folder unless absolute.
    pub keys_dir: PathBuf,
    /// How long a signing key signs, in hours.
    pub key_rotation_hours: u64,
    /// How long resume grants live at most, in days.
    pub resume_grant_days: u32,
    /// OpenID Connect providers whose tokens prove who a user is, at the HTTP doors.
    pub issuers: Vec<Issuer>,
}

impl Default for Security {
    fn default() -> Self {
        Self {
            token_ttl_seconds: 300,
            deployment_admins: vec!["user/dev".to_owned()],
            keys_dir: PathBuf::from("keys"),
            key_rotation_hours: 24,
            resume_grant_days: 30,
            issuers: Vec::new(),
        }
    }
}

impl Security {
    /// How long tokens live.
    pub fn token_ttl(&self) -> Duration {
        Duration::from_secs(self.token_ttl_seconds)
    }
}

/// Secrets. Where they are kept say the connectors of `vault` and `managedvault`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Vault {
    /// The key that seals secrets and the token service's signing keys: a file of mode 0600, under the data
    /// folder unless absolute. It is made at first start; without it what it sealed is lost.
    pub key: PathBuf,
    /// The key that seals secrets of the managed vault, likewise.
    pub managed_key: PathBuf,
    /// Protects the key files besides their mode (Argon2id). For development: production has `transit` or a
    /// key file on a volume of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passphrase: Option<String>,
    /// Wraps the key files with a key of a HashiCorp Vault's transit engine: the settings of the connector
    /// `hashicorp`, with `key` for the transit key's name and `mount` for the engine [default: `transit`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transit: Option<serde_json::Map<String, serde_json::Value>>,
    /// Which instance of `vault` keeps a team's secrets, by team; the default instance for all others.
    pub teams: BTreeMap<String, String>,
    /// A team whose secrets every team may use, as the reference's `shared`. Refused: grant secrets one by one
    /// with `sre vault grant`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared: Option<String>,
}

impl Default for Vault {
    fn default() -> Self {
        Self {
            key: PathBuf::from("keys/vault.key"),
            managed_key: PathBuf::from("keys/managed.key"),
            passphrase: None,
            transit: None,
            teams: BTreeMap::new(),
            shared: None,
        }
    }
}
