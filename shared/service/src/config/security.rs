//! `[security]` and `[vault]`.

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

/// Secrets.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Vault {
    /// The key that seals secrets: a file of mode 0600, under the data folder unless absolute. In the dev
    /// profile it is made at first start.
    pub key: PathBuf,
    /// A team whose secrets every team may use, as the reference's `shared`. Refused in production.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared: Option<String>,
}

impl Default for Vault {
    fn default() -> Self {
        Self { key: PathBuf::from("keys/vault.key"), shared: None }
    }
}
