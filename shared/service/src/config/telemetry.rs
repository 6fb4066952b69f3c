//! `[telemetry]`: logs, traces, metrics.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Logs, traces, metrics.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Telemetry {
    /// What is logged: a level, or directives such as `info,sre_engine=debug`.
    pub level: String,
    /// How log lines look.
    pub format: LogFormat,
    /// An OTLP collector (gRPC), for example `http://127.0.0.1:4317`. Nothing is exported without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otlp_endpoint: Option<String>,
    /// The share of traces that start here and are exported, 0 to 1.
    pub sample_ratio: f64,
    /// Whether `/metrics` is served and metrics are counted.
    pub metrics: bool,
    /// What the spans of runs show of inputs and outputs.
    pub content: Content,
    /// Where the lines of agents go beside the store, from the role `observability`.
    pub agent_log: AgentLog,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::default(),
            otlp_endpoint: None,
            sample_ratio: 1.0,
            metrics: true,
            content: Content::default(),
            agent_log: AgentLog::default(),
        }
    }
}

/// What the spans of runs show of inputs and outputs: nothing, unless a team wants it. Secrets of the vault are
/// never shown.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Content {
    /// Teams whose runs show inputs, outputs, settings and request headers; `*` for all.
    pub teams: Vec<String>,
    /// Fields whose values are left out: those whose names contain one of these, in either case, at any depth.
    pub redact_fields: Vec<String>,
    /// Request headers whose values are left out, beside `authorization`, `cookie`, `proxy-authorization`,
    /// `set-cookie` and `x-api-key`.
    pub deny_headers: Vec<String>,
    /// The longest value, in bytes; longer ones lose their end.
    pub max_bytes: usize,
}

impl Default for Content {
    fn default() -> Self {
        let fields = ["password", "passwd", "token", "secret", "apikey", "api_key", "auth", "credential"];
        Self {
            teams: Vec::new(),
            redact_fields: fields.map(str::to_owned).to_vec(),
            deny_headers: Vec::new(),
            max_bytes: 10_240,
        }
    }
}

/// Where the lines of agents go beside the store. Copies: what a sink does not take is left out and counted.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AgentLog {
    /// To the log of the process, and with it to the collector at `otlp_endpoint`.
    pub process: bool,
    /// To standard output, one JSON object a line.
    pub stdout: bool,
    /// To a file, one JSON object a line, under the data folder unless absolute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<std::path::PathBuf>,
    /// Bytes of the file, beyond which it is set aside as `<file>.1` and so on.
    pub file_bytes: u64,
    /// How many files there are, the one that is written among them.
    pub files: u32,
}

impl Default for AgentLog {
    fn default() -> Self {
        Self { process: true, stdout: false, file: None, file_bytes: 64 << 20, files: 5 }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}
