//! Settings of AWS Lambda.

use std::time::Duration;

use anyhow::ensure;
use schemars::JsonSchema;
use serde::Deserialize;
use sre_service::connectors::SecretSetting;
use url::Url;

/// What an instance needs.
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
    /// The role that functions run as, which the operator made: its ARN. None is made here.
    pub role: String,
    /// The runtime [default: `nodejs22.x`].
    #[serde(default = "runtime")]
    pub runtime: String,
    /// Layers with packages, by ARN.
    #[serde(default)]
    pub layers: Vec<String>,
    /// Another address: a VPC endpoint.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// How long a call that runs nothing may take, in milliseconds [default: 10000].
    #[serde(default = "timeout_ms")]
    pub timeout_ms: u64,
    /// How long a function may take to become ready, in milliseconds [default: 60000].
    #[serde(default = "ready_ms")]
    pub ready_ms: u64,
    /// What a second of a function costs, in millionths of a US dollar, for the ledger [default: 100].
    #[serde(default = "cost_micros_per_second")]
    pub cost_micros_per_second: u32,
}

/// How long a call that runs nothing may take, unless the settings say.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

fn runtime() -> String {
    "nodejs22.x".to_owned()
}

fn timeout_ms() -> u64 {
    TIMEOUT.as_millis() as u64
}

/// The reference's price.
fn cost_micros_per_second() -> u32 {
    100
}

fn ready_ms() -> u64 {
    60_000
}

impl Settings {
    /// What must be said, and the usual for the rest.
    pub(super) fn new(region: &str, key: &str, secret: SecretSetting, role: &str) -> Self {
        Self {
            region: region.to_owned(),
            aws_access_key_id: key.to_owned(),
            aws_secret_access_key: secret,
            aws_session_token: None,
            role: role.to_owned(),
            runtime: runtime(),
            layers: Vec::new(),
            endpoint: None,
            timeout_ms: timeout_ms(),
            ready_ms: ready_ms(),
            cost_micros_per_second: cost_micros_per_second(),
        }
    }

    /// Where the service is.
    pub fn endpoint(&self) -> anyhow::Result<Url> {
        sre_aws::endpoint("lambda", &self.region, self.endpoint.as_deref(), "arguments")
    }

    /// How long a call that runs nothing may take.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms.clamp(100, 60_000))
    }

    /// How long a function may take to become ready.
    pub fn ready(&self) -> Duration {
        Duration::from_millis(self.ready_ms.clamp(100, 600_000))
    }

    /// All that can be known to be wrong without a call.
    pub fn check(&self) -> anyhow::Result<()> {
        self.endpoint()?;
        sre_aws::check(&self.region, &self.aws_access_key_id)?;
        ensure!(
            self.role.starts_with("arn:"),
            "role is no ARN: write arn:aws:iam::123456789012:role/sre-code"
        );
        ensure!(self.layers.len() <= 5, "layers are {}: a function has five at most", self.layers.len());
        Ok(())
    }
}
