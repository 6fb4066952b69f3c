//! `[limits.team]`, `[limits.subject]`, `[limits.quota]` and `[limits.teams]`: what a team may ask for and hold.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Calls of one team.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TeamRate {
    /// Calls a second from outside: at the edge and at the HTTP door. Each process of a role counts for itself.
    pub edge_calls_per_second: u32,
    /// Calls a second at each other role, where most of them are made by the team's agents.
    pub calls_per_second: u32,
    /// How much may come at once after a pause: so many milliseconds' worth of calls.
    pub burst_ms: u32,
    /// The share of a role's `max_concurrent` and `max_streams` that one team may have at a time, in per cent.
    /// While more than half of a role is busy, no team may have more than its equal share.
    pub concurrent_percent: u8,
}

impl Default for TeamRate {
    fn default() -> Self {
        Self {
            edge_calls_per_second: 50_000,
            calls_per_second: 1_000_000,
            burst_ms: 1_000,
            concurrent_percent: 75,
        }
    }
}

/// Calls of one user, agent or team by itself, within what its team may.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SubjectRate {
    /// Calls a second from outside: at the edge and at the HTTP door.
    pub edge_calls_per_second: u32,
    /// Calls a second at each other role.
    pub calls_per_second: u32,
}

impl Default for SubjectRate {
    fn default() -> Self {
        let team = TeamRate::default();
        Self { edge_calls_per_second: team.edge_calls_per_second, calls_per_second: team.calls_per_second }
    }
}

/// What a team may hold.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Quotas {
    /// Files.
    pub files: u64,
    /// Bytes of files.
    pub file_bytes: u64,
    /// Files below one agent, within what its team may.
    pub agent_files: u64,
    /// Bytes of files below one agent.
    pub agent_file_bytes: u64,
    /// Values in key-value namespaces.
    pub values: u64,
    /// Bytes of values and their keys.
    pub value_bytes: u64,
    /// Vectors.
    pub vectors: u64,
    /// Bytes of vectors with their texts and metadata.
    pub vector_bytes: u64,
    /// Entries of the cache.
    pub cache_entries: u64,
    /// Bytes of the cache's entries. The cache as a whole has `[cache] max_bytes`.
    pub cache_bytes: u64,
    /// Log lines that are kept; beyond it the oldest go.
    pub log_lines: u64,
    /// Days that a log line is kept.
    pub log_days: u64,
    /// Log lines that a team's agents may write a minute; beyond it they are refused.
    pub log_lines_per_minute: u64,
    /// The same for each agent, within what its team may.
    pub agent_log_lines_per_minute: u64,
    /// Calls of models that are under way at once.
    pub model_calls_at_once: u64,
    /// Calls of models a minute.
    pub model_calls_per_minute: u64,
    /// What calls of models may cost in a month, in millionths of a US dollar, by the prices of the catalogue. It is
    /// counted by the ledger; 9223372036854775807 is no limit.
    pub model_micros_per_month: u64,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            files: 1_000_000,
            file_bytes: 20 << 30,
            agent_files: 1_000_000,
            agent_file_bytes: 20 << 30,
            values: 1_000_000,
            value_bytes: 2 << 30,
            vectors: 1_000_000,
            vector_bytes: 16 << 30,
            cache_entries: 1_000_000,
            cache_bytes: 1 << 30,
            log_lines: 100_000,
            log_days: 7,
            log_lines_per_minute: 60_000,
            agent_log_lines_per_minute: 12_000,
            model_calls_at_once: 10_000,
            model_calls_per_minute: 1_000_000,
            model_micros_per_month: 10_000_000_000,
        }
    }
}

/// A limit that may differ from team to team: as a key of `[limits.teams.<team>]`, and in the team's setting
/// `sre-limits`, which wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TeamLimit {
    /// Calls a second of the team from outside.
    EdgeCallsPerSecond,
    /// Calls a second of the team at each other role.
    CallsPerSecond,
    /// Calls a second of each of its subjects from outside.
    SubjectEdgeCallsPerSecond,
    /// Calls a second of each of its subjects at each other role.
    SubjectCallsPerSecond,
    /// Calls at a time at one role.
    Concurrent,
    /// [`Quotas::files`] and so on.
    Files,
    /// Bytes of files.
    FileBytes,
    /// Files of an agent.
    AgentFiles,
    /// Bytes of an agent's files.
    AgentFileBytes,
    /// Values.
    Values,
    /// Bytes of values.
    ValueBytes,
    /// Vectors.
    Vectors,
    /// Bytes of vectors.
    VectorBytes,
    /// Entries of the cache.
    CacheEntries,
    /// Bytes of the cache.
    CacheBytes,
    /// Log lines that are kept.
    LogLines,
    /// Days that a log line is kept.
    LogDays,
    /// Log lines a minute.
    LogLinesPerMinute,
    /// Log lines a minute of each agent.
    AgentLogLinesPerMinute,
    /// Calls of models at once.
    ModelCallsAtOnce,
    /// Calls of models a minute.
    ModelCallsPerMinute,
    /// What calls of models may cost in a month.
    ModelMicrosPerMonth,
}

impl TeamLimit {
    /// All of them.
    pub const ALL: [Self; 22] = [
        Self::EdgeCallsPerSecond,
        Self::CallsPerSecond,
        Self::SubjectEdgeCallsPerSecond,
        Self::SubjectCallsPerSecond,
        Self::Concurrent,
        Self::Files,
        Self::FileBytes,
        Self::AgentFiles,
        Self::AgentFileBytes,
        Self::Values,
        Self::ValueBytes,
        Self::Vectors,
        Self::VectorBytes,
        Self::CacheEntries,
        Self::CacheBytes,
        Self::LogLines,
        Self::LogDays,
        Self::LogLinesPerMinute,
        Self::AgentLogLinesPerMinute,
        Self::ModelCallsAtOnce,
        Self::ModelCallsPerMinute,
        Self::ModelMicrosPerMonth,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EdgeCallsPerSecond => "edge_calls_per_second",
            Self::CallsPerSecond => "calls_per_second",
            Self::SubjectEdgeCallsPerSecond => "subject_edge_calls_per_second",
            Self::SubjectCallsPerSecond => "subject_calls_per_second",
            Self::Concurrent => "concurrent",
            Self::Files => "files",
            Self::FileBytes => "file_bytes",
            Self::AgentFiles => "agent_files",
            Self::AgentFileBytes => "agent_file_bytes",
            Self::Values => "values",
            Self::ValueBytes => "value_bytes",
            Self::Vectors => "vectors",
            Self::VectorBytes => "vector_bytes",
            Self::CacheEntries => "cache_entries",
            Self::CacheBytes => "cache_bytes",
            Self::LogLines => "log_lines",
            Self::LogDays => "log_days",
            Self::LogLinesPerMinute => "log_lines_per_minute",
            Self::AgentLogLinesPerMinute => "agent_log_lines_per_minute",
            Self::ModelCallsAtOnce => "model_calls_at_once",
            Self::ModelCallsPerMinute => "model_calls_per_minute",
            Self::ModelMicrosPerMonth => "model_micros_per_month",
        }
    }

    /// The limit of that name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|limit| limit.name() == name)
    }

    /// Reads a team's setting `sre-limits`: a JSON object of names and numbers.
    pub fn parse_setting(text: &str) -> Result<BTreeMap<String, u64>, String> {
        let read: BTreeMap<String, u64> = serde_json::from_str(text)
            .map_err(|error| format!("is no JSON object of names and whole numbers: {error}"))?;
        match read.keys().find(|name| Self::of_name(name).is_none()) {
            Some(unknown) => Err(unknown_limit(unknown)),
            None => Ok(read),
        }
    }
}

/// What is wrong with a name that is no limit's.
pub(super) fn unknown_limit(name: &str) -> String {
    format!("{name} is no limit: use {}", TeamLimit::ALL.map(TeamLimit::name).join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_holds_known_limits_alone() {
        let read = TeamLimit::parse_setting(r#"{"calls_per_second":100,"files":0}"#).unwrap();
        assert_eq!((read["calls_per_second"], read["files"]), (100, 0));
        for wrong in [r#"{"call_per_second":1}"#, r#"{"files":-1}"#, r#"{"files":"1"}"#, "[]", "x"] {
            assert!(TeamLimit::parse_setting(wrong).is_err(), "{wrong}");
        }
    }
}
