//! `[egress]`: where components may connect to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where components may connect to. Public addresses are open; private, loopback and link-local ones are
/// refused unless listed.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Egress {
    /// Hosts, addresses or networks, each with an optional port: `127.0.0.1:18099`, `10.0.0.0/8`,
    /// `intranet.example:443`.
    pub allow: Vec<String>,
}
