//! What the engines logged: a line for each execution of a component, before it begins.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::SystemTime;

use serde_json::Value;

/// The target of the lines.
const TARGET: &str = "sre_gateway::executions";

/// What the journal says when it finds sessions expired.
const EXPIRED: &str = "sessions of engines expired";

/// Executions: by run and activation, the epochs in which it was executed.
#[derive(Debug, Default)]
pub struct Executions {
    /// Run, then activation, then epochs.
    pub of: HashMap<String, HashMap<String, Vec<i64>>>,
    /// Which process executed in which epoch of a run.
    pub owners: HashMap<(String, i64), String>,
    /// Lines in all.
    pub count: usize,
    /// Lines of level ERROR, and panics.
    pub errors: Vec<String>,
    /// When the journal found sessions expired whose runs it set free.
    pub expiries: Vec<SystemTime>,
}

impl Executions {
    /// Reads logs.
    pub fn read(logs: &[PathBuf], engines: &[PathBuf]) -> Self {
        let mut executions = Self::default();
        for path in logs {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let text = std::fs::read(path).unwrap_or_default();
            for line in String::from_utf8_lossy(&text).lines() {
                executions.line(&name, line, engines.contains(path));
            }
        }
        executions
    }

    fn line(&mut self, process: &str, line: &str, is_engine: bool) {
        if line.contains("panicked at") {
            self.errors.push(format!("{process}: {line}"));
        }
        // A kill may cut a line.
        let Ok(line) = serde_json::from_str::<Value>(line) else { return };
        if line["level"] == "ERROR" {
            self.errors.push(format!("{process}: {line}"));
        }
        if line["message"] == EXPIRED && line["runs"].as_u64() > Some(0) {
            self.expiries.extend(line["timestamp"].as_str().and_then(time));
        }
        if !is_engine || line["target"] != TARGET {
            return;
        }
        let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        let epoch = line["epoch"].as_i64().unwrap_or_default();
        let (run, activation) = (text("run"), text("activation"));
        self.owners.entry((run.clone(), epoch)).or_insert_with(|| process.to_owned());
        self.of.entry(run).or_default().entry(activation).or_default().push(epoch);
        self.count += 1;
    }
}

/// The time of a line.
fn time(text: &str) -> Option<SystemTime> {
    text.parse::<prost_types::Timestamp>().ok()?.try_into().ok()
}
