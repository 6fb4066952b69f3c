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
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::default(),
            otlp_endpoint: None,
            sample_ratio: 1.0,
            metrics: true,
        }
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
