//! `[gateway]`: hosts, plans, runs.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The gateway: hosts, plans, runs.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Gateway {
    /// Agent by host name, for the HTTP door: `"shop.example.com" = "shop-agent"`.
    pub hosts: BTreeMap<String, String>,
    /// Compiled plans kept in memory.
    pub plan_cache_entries: u64,
    /// Runs that one engine works on at a time; the excess waits.
    pub max_running: usize,
    /// Runs of skills without effects that one engine admits at a time; the excess is refused.
    pub max_light_runs: usize,
    /// How long a run may take that its caller waits for, unless the caller says, in milliseconds.
    pub run_deadline_ms: u64,
    /// How long a run may take that was only started, unless the caller says, in milliseconds.
    pub run_lifetime_ms: u64,
    /// A run that only waits for a time leaves memory if that is further away, in milliseconds.
    pub park_after_ms: u64,
    /// A run that only waits for jobs, calls or people leaves memory after so many milliseconds; while somebody
    /// watches it, after `park_after_ms`.
    pub park_grace_ms: u64,
    /// Records after which a run's state is written as a whole, so that recovery need not read all of them.
    pub checkpoint_records: usize,
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            hosts: BTreeMap::new(),
            plan_cache_entries: 1_000,
            max_running: 1_000,
            max_light_runs: 2_000,
            run_deadline_ms: 300_000,
            run_lifetime_ms: 86_400_000,
            park_after_ms: 5_000,
            park_grace_ms: 200,
            checkpoint_records: 10_000,
        }
    }
}

impl Gateway {
    /// How long a run may take that its caller waits for.
    pub fn run_deadline(&self) -> Duration {
        Duration::from_millis(self.run_deadline_ms)
    }

    /// How long a run may take that was only started.
    pub fn run_lifetime(&self) -> Duration {
        Duration::from_millis(self.run_lifetime_ms)
    }

    /// A run that only waits for a time leaves memory if that is further away.
    pub fn park_after(&self) -> Duration {
        Duration::from_millis(self.park_after_ms)
    }

    /// A run that only waits for jobs or people leaves memory after this time.
    pub fn park_grace(&self) -> Duration {
        Duration::from_millis(self.park_grace_ms)
    }
}
