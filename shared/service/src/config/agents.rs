//! `[agents]`: agents that are loaded at start.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Agents loaded at start.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Agents {
    /// Folders whose `.smyth` files are put at start, as agents of `team`.
    pub dirs: Vec<PathBuf>,
    /// The home team of agents put from folders.
    pub team: String,
    /// The owner of agents put from folders, for example `user/dev`.
    pub owner: String,
    /// The largest document, in bytes.
    pub max_document_bytes: usize,
    /// Versions kept per agent; deployed ones are kept besides.
    pub max_versions: usize,
}

impl Default for Agents {
    fn default() -> Self {
        Self {
            dirs: Vec::new(),
            team: "default".to_owned(),
            owner: "user/dev".to_owned(),
            max_document_bytes: 4 << 20,
            max_versions: 100,
        }
    }
}
