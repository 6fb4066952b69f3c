//! `[limits]` and `[deadlines]`.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::by_role::ByRole;
use super::team_limits::{Quotas, SubjectRate, TeamLimit, TeamRate};
use crate::role::Role;

/// Sizes and counts.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Limits {
    /// Unary calls that a role works on at a time; the excess is refused as overloaded.
    pub max_concurrent: usize,
    /// The same for single roles.
    #[schemars(with = "ByRole<usize>")]
    pub max_concurrent_by_role: BTreeMap<Role, usize>,
    /// Open streams of a role.
    pub max_streams: usize,
    /// Connections of a listener.
    pub max_connections: usize,
    /// Calls at a time on one connection.
    pub max_streams_per_connection: u32,
    /// The largest message, in bytes, 4 MiB at most.
    pub max_message_bytes: usize,
    /// Connections that a process opens to one address of another role.
    pub connections_per_address: usize,
    /// Audit records that may wait for shipping; beyond it, audited calls are refused.
    pub max_audit_queue: usize,
    /// What each team may ask for.
    pub team: TeamRate,
    /// What each user, agent and team by itself may ask for.
    pub subject: SubjectRate,
    /// What each team may hold.
    pub quota: Quotas,
    /// Limits of single teams: `edge_calls_per_second`, `calls_per_second`, `subject_edge_calls_per_second`,
    /// `subject_calls_per_second`, `concurrent` (calls at a time at one role), and the quotas by their names. The team's setting `sre-limits`, which an administrator of the
    /// deployment writes, goes before these.
    pub teams: BTreeMap<String, BTreeMap<String, u64>>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_concurrent: 2_000,
            max_concurrent_by_role: BTreeMap::new(),
            max_streams: 4_000,
            max_connections: 4_000,
            max_streams_per_connection: 1_000,
            max_message_bytes: 4 << 20,
            connections_per_address: 2,
            max_audit_queue: 10_000,
            team: TeamRate::default(),
            subject: SubjectRate::default(),
            quota: Quotas::default(),
            teams: BTreeMap::new(),
        }
    }
}

impl Limits {
    /// Unary calls that a role works on at a time.
    pub fn concurrent(&self, role: Role) -> usize {
        self.max_concurrent_by_role.get(&role).copied().unwrap_or(self.max_concurrent)
    }

    /// A limit of a team. `set` is what the team's setting says.
    pub fn of_team(&self, team: &str, set: &BTreeMap<String, u64>, limit: TeamLimit) -> u64 {
        let configured = || self.teams.get(team)?.get(limit.name());
        set.get(limit.name()).or_else(configured).copied().unwrap_or_else(|| self.of_every_team(limit))
    }

    fn of_every_team(&self, limit: TeamLimit) -> u64 {
        let quota = &self.quota;
        match limit {
            TeamLimit::EdgeCallsPerSecond => self.team.edge_calls_per_second.into(),
            TeamLimit::CallsPerSecond => self.team.calls_per_second.into(),
            TeamLimit::SubjectEdgeCallsPerSecond => self.subject.edge_calls_per_second.into(),
            TeamLimit::SubjectCallsPerSecond => self.subject.calls_per_second.into(),
            // A share of what the role can do, see `concurrent_percent`.
            TeamLimit::Concurrent => u64::MAX,
            TeamLimit::Files => quota.files,
            TeamLimit::FileBytes => quota.file_bytes,
            TeamLimit::AgentFiles => quota.agent_files,
            TeamLimit::AgentFileBytes => quota.agent_file_bytes,
            TeamLimit::Values => quota.values,
            TeamLimit::ValueBytes => quota.value_bytes,
            TeamLimit::Vectors => quota.vectors,
            TeamLimit::VectorBytes => quota.vector_bytes,
            TeamLimit::CacheEntries => quota.cache_entries,
            TeamLimit::CacheBytes => quota.cache_bytes,
            TeamLimit::LogLines => quota.log_lines,
            TeamLimit::LogDays => quota.log_days,
            TeamLimit::LogLinesPerMinute => quota.log_lines_per_minute,
            TeamLimit::AgentLogLinesPerMinute => quota.agent_log_lines_per_minute,
            TeamLimit::ModelCallsAtOnce => quota.model_calls_at_once,
            TeamLimit::ModelCallsPerMinute => quota.model_calls_per_minute,
            TeamLimit::ModelMicrosPerMonth => quota.model_micros_per_month,
        }
    }
}

/// Times.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Deadlines {
    /// How long a unary call may take that states no deadline, in milliseconds.
    pub default_ms: u64,
    /// How long a TLS handshake may take, in milliseconds.
    pub handshake_ms: u64,
    /// How long opening a connection to another role may take, its handshake included, in milliseconds.
    pub connect_ms: u64,
    /// How long a call waits for a connection to a role that cannot be reached, in milliseconds. A handshake that has
    /// begun by then is waited for.
    pub unavailable_ms: u64,
    /// How long work in flight may go on after the signal to stop, in milliseconds.
    pub drain_ms: u64,
    /// How long a connection lives before it is closed in order, in milliseconds, plus a tenth at random.
    pub connection_age_ms: u64,
    /// How often addresses of other roles are resolved again, in milliseconds.
    pub resolve_interval_ms: u64,
    /// How often an idle connection is probed, in milliseconds.
    pub keep_alive_ms: u64,
    /// How long a probe may stay unanswered, in milliseconds.
    pub keep_alive_timeout_ms: u64,
    /// How often the key set is refreshed, in milliseconds.
    pub key_refresh_ms: u64,
    /// How long an answer of Account about a principal's teams is kept, in milliseconds, 20,000 at most: a member
    /// that was removed is refused everywhere when it ends.
    pub membership_ms: u64,
    /// How often open streams are checked again, in milliseconds.
    pub revalidate_ms: u64,
    /// How long a role may take to start, in milliseconds.
    pub start_ms: u64,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            default_ms: 30_000,
            handshake_ms: 5_000,
            connect_ms: 500,
            // A call may wait three times in a row, and a dead role is reported within a second on a busy machine.
            unavailable_ms: 200,
            drain_ms: 30_000,
            connection_age_ms: 30 * 60_000,
            resolve_interval_ms: 5_000,
            keep_alive_ms: 10_000,
            keep_alive_timeout_ms: 5_000,
            key_refresh_ms: 5_000,
            membership_ms: 10_000,
            revalidate_ms: 15_000,
            start_ms: 60_000,
        }
    }
}

macro_rules! durations {
    ($($(#[$doc:meta])* $name:ident = $field:ident),* $(,)?) => {
        impl Deadlines {
            $($(#[$doc])* pub fn $name(&self) -> Duration {
                Duration::from_millis(self.$field)
            })*
        }
    };
}

durations! {
    /// How long a unary call may take that states no deadline.
    unary = default_ms,
    /// How long a TLS handshake may take.
    handshake = handshake_ms,
    /// How long opening a connection may take.
    connect = connect_ms,
    /// How long a call waits for a role that cannot be reached.
    unavailable = unavailable_ms,
    /// How long work in flight may go on after the signal to stop.
    drain = drain_ms,
    /// How long a connection lives.
    connection_age = connection_age_ms,
    /// How often addresses are resolved again.
    resolve_interval = resolve_interval_ms,
    /// How often an idle connection is probed.
    keep_alive = keep_alive_ms,
    /// How long a probe may stay unanswered.
    keep_alive_timeout = keep_alive_timeout_ms,
    /// How often the key set is refreshed.
    key_refresh = key_refresh_ms,
    /// How long an answer of Account is kept.
    membership = membership_ms,
    /// How often open streams are checked again.
    revalidate = revalidate_ms,
    /// How long a role may take to start.
    start = start_ms,
}
