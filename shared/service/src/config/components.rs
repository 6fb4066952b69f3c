//! `[components]`: components out of process.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Components out of process. Those of teams are registered at run time; here is what they may be, and those that the
/// whole deployment has.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Components {
    /// Folders whose Unix sockets may be registered. Whoever can make a socket there can be a component. The folder
    /// `components` of the data folder is one besides.
    pub sockets: Vec<PathBuf>,
    /// Lets components be registered at `http://127.0.0.1:port`, without a certificate: every process of this machine
    /// could be one. For development.
    pub loopback: bool,
    /// Components that the deployment has without a registration: `[[components.fixed]]`.
    pub fixed: Vec<FixedComponent>,
    /// How long what is registered is kept before it is looked at again, in milliseconds: a change is known so soon.
    pub refresh_ms: u64,
    /// The largest inputs and settings of one activation, in bytes.
    pub max_input_bytes: usize,
    /// The largest outputs of one activation, in bytes.
    pub max_output_bytes: usize,
    /// How many activations one endpoint works on at a time, at most; more wait.
    pub max_concurrency: usize,
    /// How often an activation that broke off is begun, where it may be repeated.
    pub max_attempts: u32,
}

/// A component that the deployment has.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct FixedComponent {
    /// Where it is served; all of them serve the same type and version.
    pub endpoints: Vec<String>,
    /// Who serves it, `service/<name>`. May be left out for Unix sockets.
    pub identity: String,
    /// The teams that may use it; every team where there is none.
    pub teams: Vec<String>,
}

impl Components {
    /// How long what is registered is kept.
    pub fn refresh(&self) -> Duration {
        Duration::from_millis(self.refresh_ms)
    }
}

impl Default for Components {
    fn default() -> Self {
        Self {
            sockets: Vec::new(),
            loopback: false,
            fixed: Vec::new(),
            refresh_ms: 2_000,
            max_input_bytes: 8 << 20,
            max_output_bytes: 8 << 20,
            max_concurrency: 64,
            max_attempts: 4,
        }
    }
}
