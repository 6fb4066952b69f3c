//! `[egress]`: where components may connect to, and what a call may take.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where components may connect to. Public addresses are open; private, loopback and link-local ones are
/// refused unless listed.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Egress {
    /// Hosts, addresses or networks, each with an optional port: `127.0.0.1:18099`, `10.0.0.0/8`,
    /// `intranet.example:443`.
    pub allow: Vec<String>,
    /// What a team's agents may reach beside that, or nothing else than that, by team:
    /// `[egress.teams.blue] allow = ["10.1.0.0/16"]`.
    pub teams: BTreeMap<String, EgressOf>,
    /// The same for one agent, within what its team may, by team and agent: `[egress.agents."blue/greeter"]`.
    pub agents: BTreeMap<String, EgressOf>,
    /// Time to connect, in milliseconds.
    pub connect_timeout_ms: u64,
    /// Time for a call with its redirects and repeats, in milliseconds.
    pub total_timeout_ms: u64,
    /// The largest answer after decompression, in bytes.
    pub max_response_bytes: usize,
    /// How many times its compressed size an answer above 1 MiB may have.
    pub max_expansion: usize,
}

/// What a team or an agent may reach.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EgressOf {
    /// Opened beside what all may reach.
    pub allow: Vec<String>,
    /// Where it is set, nothing else is reached, public addresses included. It opens nothing by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only: Option<Vec<String>>,
}

impl Default for Egress {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            teams: BTreeMap::new(),
            agents: BTreeMap::new(),
            connect_timeout_ms: 10_000,
            total_timeout_ms: 60_000,
            max_response_bytes: 50 << 20,
            max_expansion: 200,
        }
    }
}

impl Egress {
    /// Time to connect.
    pub fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    /// Time for a call.
    pub fn total_timeout(&self) -> Duration {
        Duration::from_millis(self.total_timeout_ms)
    }
}
