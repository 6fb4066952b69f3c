//! Settings of everything that talks to AWS Secrets Manager.

use std::time::Duration;

use anyhow::ensure;
use schemars::JsonSchema;
use serde::Deserialize;
use sre_service::connectors::{Opening, SecretSetting};
use url::Url;

/// The reference's settings, and some more.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// The region, `eu-central-1`.
    pub region: String,
    /// The id of the access key. There is no other source of credentials.
    pub aws_access_key_id: String,
    /// Its secret.
    pub aws_secret_access_key: SecretSetting,
    /// The session's token, where the key is temporary.
    #[serde(default)]
    pub aws_session_token: Option<SecretSetting>,
    /// What names begin with [default: `sre`, `sre-managed` for the managed vault].
    #[serde(default)]
    pub prefix: Option<String>,
    /// Another address: a VPC endpoint.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// How many days a deleted secret can be restored by hand, 7 to 30; 0 deletes it for good [default: 7].
    #[serde(default = "recovery_days")]
    pub recovery_days: u32,
    /// How long one call may take, in milliseconds [default: 5000].
    #[serde(default = "timeout_ms")]
    pub timeout_ms: u64,
}

fn recovery_days() -> u32 {
    7
}

fn timeout_ms() -> u64 {
    5_000
}

/// Checks settings without a call.
pub fn check(opening: &Opening) -> anyhow::Result<()> {
    opening.settings::<Settings>()?.check()
}

impl Settings {
    /// Where the service is.
    pub fn endpoint(&self) -> anyhow::Result<Url> {
        sre_aws::endpoint("secretsmanager", &self.region, self.endpoint.as_deref(), "secrets")
    }

    /// How long one call may take.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms.clamp(100, 60_000))
    }

    /// All that can be known to be wrong without a call.
    pub fn check(&self) -> anyhow::Result<()> {
        self.endpoint()?;
        sre_aws::check(&self.region, &self.aws_access_key_id)?;
        let is_days = matches!(self.recovery_days, 0 | 7..=30);
        ensure!(is_days, "recoveryDays is {}: 7 to 30, or 0", self.recovery_days);
        let prefix = self.prefix.as_deref().unwrap_or("sre");
        let is_prefix = prefix.split('/').all(|part| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "_+=.@-".contains(c))
        });
        ensure!(is_prefix, "prefix is no path of letters, digits and _+=.@-");
        Ok(())
    }
}
