//! `[mcp]`: programs that components may start as MCP servers.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Programs that agents may use as servers of the Model Context Protocol. An agent names one by the key that it has
/// here; nothing that is not listed is started.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Mcp {
    /// By the name that agents use.
    pub commands: BTreeMap<String, McpCommand>,
}

/// A program that agents may use.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct McpCommand {
    /// The program: a path, or a name that is found on the engine's path.
    pub program: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment. Of the engine's own it gets `PATH`, `HOME` and `LANG` only.
    pub env: BTreeMap<String, String>,
    /// Teams whose agents may use it; empty for all.
    pub teams: Vec<String>,
}
