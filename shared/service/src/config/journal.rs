//! `[journal]` and `[cache]`: what the memory service keeps.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Backend;

/// The run journal.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Journal {
    /// Where the journal is kept, with its blobs: `sqlite` in files of this machine, `postgres` in the database
    /// of `[store.postgres]`, which several memory services may share. `store.backend` where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<Backend>,
    /// How long an engine's session lives without renewal, in milliseconds.
    pub session_ttl_ms: u64,
    /// How often an engine looks for runs to claim, in milliseconds.
    pub claim_interval_ms: u64,
    /// Runs claimed at once.
    pub claim_batch: u32,
    /// How often in a row a run may be claimed without a new record: after that it fails, since it seems to
    /// bring its owners down. 1 at least.
    pub barren_claims: u16,
    /// How long closed runs are kept, in days.
    pub retention_days: u32,
    /// How long jobs are kept, in hours.
    pub jobs_hours: u32,
    /// Runs of one kind (skills, jobs, prompts, debug sessions) that a team may have running at once; more
    /// are queued and served in turn. Runs that wait or are paused do not count. 1 at least.
    pub team_running: u32,
    /// Summaries of runs without effects kept per team and second; the rest is counted.
    pub summary_rate_cap: u32,
    /// How often expired runs are swept, in milliseconds.
    pub sweep_interval_ms: u64,
    /// Payloads above this many bytes are blobs.
    pub blob_threshold_bytes: usize,
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            backend: None,
            session_ttl_ms: 10_000,
            claim_interval_ms: 250,
            claim_batch: 16,
            barren_claims: 5,
            retention_days: 7,
            jobs_hours: 24,
            team_running: 1000,
            summary_rate_cap: 100,
            sweep_interval_ms: 60_000,
            blob_threshold_bytes: 64 << 10,
        }
    }
}

impl Journal {
    /// How long an engine's session lives without renewal.
    pub fn session_ttl(&self) -> Duration {
        Duration::from_millis(self.session_ttl_ms)
    }

    /// How often an engine looks for runs to claim.
    pub fn claim_interval(&self) -> Duration {
        Duration::from_millis(self.claim_interval_ms)
    }

    /// How often expired runs are swept.
    pub fn sweep_interval(&self) -> Duration {
        Duration::from_millis(self.sweep_interval_ms)
    }

    /// How long closed runs are kept.
    pub fn retention(&self) -> Duration {
        Duration::from_secs(u64::from(self.retention_days) * 86_400)
    }

    /// How long jobs are kept.
    pub fn jobs_retention(&self) -> Duration {
        Duration::from_secs(u64::from(self.jobs_hours) * 3_600)
    }
}

/// The cache.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Cache {
    /// What all entries together may take, in bytes.
    pub max_bytes: u64,
    /// The largest entry, in bytes.
    pub max_entry_bytes: u64,
    /// How long an entry lives unless its writer says, in milliseconds.
    pub default_ttl_ms: u64,
}

impl Default for Cache {
    fn default() -> Self {
        Self { max_bytes: 64 << 20, max_entry_bytes: 8 << 20, default_ttl_ms: 3_600_000 }
    }
}
