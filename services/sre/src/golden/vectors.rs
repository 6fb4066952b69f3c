//! The vectors file: one JSON object a line, each a request to an agent and the answer that is right.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One case.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Vector {
    /// Stable name.
    pub id: String,
    /// File of the agent, in the agents folder.
    pub agent: String,
    /// What is sent.
    pub request: Request,
    /// What was answered when it was recorded.
    pub result: Value,
    /// The same with placeholders, where ids or times vary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalized: Option<Value>,
    /// JSON pointers into `result` that are not compared, where there is no `normalized`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volatile_paths: Vec<String>,
    /// Vectors of one group run in the order of `seq` on one store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Place in the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u32>,
    /// Other agent files that must be loaded too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires_agents: Vec<String>,
    /// A fixture that must listen, for example `mock-http:18099`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requires: Option<String>,
    /// What the case is about.
    #[serde(default)]
    pub note: String,
    /// Fields this reader does not know; kept when recording.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A raw request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request {
    /// HTTP method, as it stands.
    #[serde(default)]
    pub method: String,
    /// Path, as it stands.
    pub path: String,
    /// Body; absent is an empty object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// Query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<Value>,
    /// Header fields.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Session, for cases about memory.
    #[serde(rename = "sessionID", default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
}

impl Vector {
    /// The loopback port of the fixture it needs.
    pub fn fixture_port(&self) -> Result<Option<u16>> {
        let Some(fixture) = &self.requires else { return Ok(None) };
        let port = fixture.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        port.map(Some)
            .with_context(|| format!("vector {}: `requires` is {fixture:?}, expected name:port", self.id))
    }
}

/// Reads a vectors file. A line that does not parse is an error naming it.
pub fn read(file: &Path) -> Result<Vec<Vector>> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut vectors = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let vector: Vector =
            serde_json::from_str(line).with_context(|| format!("{} line {}", file.display(), number + 1))?;
        if vectors.iter().any(|known: &Vector| known.id == vector.id) {
            bail!("{} line {}: there are two vectors {}", file.display(), number + 1, vector.id);
        }
        vectors.push(vector);
    }
    Ok(vectors)
}

/// Sorts vectors by agent file, groups in the order of their `seq`, the rest as they stand.
pub fn by_agent(vectors: Vec<Vector>) -> BTreeMap<String, Vec<Vector>> {
    let mut agents: BTreeMap<String, Vec<Vector>> = BTreeMap::new();
    for vector in vectors {
        agents.entry(vector.agent.clone()).or_default().push(vector);
    }
    for vectors in agents.values_mut() {
        vectors.sort_by_key(|v| (v.group.clone(), v.seq));
    }
    agents
}
