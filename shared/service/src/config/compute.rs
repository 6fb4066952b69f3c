//! `[compute]`: code that nobody trusts.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Code that nobody trusts.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Compute {
    /// Whether code runs at all. Where the kernel refuses a part of the sandbox the role `compute` does not start;
    /// `false` starts it all the same, and every call that would run code is refused.
    pub enabled: bool,
    /// The program whose hidden command `code-worker` is the sandbox's process; this program itself where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<PathBuf>,
    /// Processes of the sandbox at a time, idle ones among them, 1 to 1,000.
    pub max_workers: usize,
    /// Calls of one team that run at a time, 1 to 100.
    pub concurrent_per_team: usize,
    /// Calls of one team that may wait for their turn; the excess is refused.
    pub waiting_per_team: usize,
    /// How long a call waits for its turn, in milliseconds.
    pub wait_ms: u64,
    /// How long a process is kept that has nothing to do, in milliseconds.
    pub idle_ms: u64,
    /// After how many calls a process is replaced, 1 to 100,000.
    pub calls_per_worker: u32,
    /// Requests that one call may make where it may reach hosts.
    pub http_requests: u32,
    /// Another address of AWS Lambda for code that runs in accounts of agents' own: a VPC endpoint. Where it is empty
    /// it is the region's.
    pub lambda_endpoint: String,
}

impl Default for Compute {
    fn default() -> Self {
        Self {
            enabled: true,
            worker: None,
            max_workers: 16,
            concurrent_per_team: 8,
            waiting_per_team: 256,
            wait_ms: 30_000,
            idle_ms: 60_000,
            calls_per_worker: 1_000,
            http_requests: 20,
            lambda_endpoint: String::new(),
        }
    }
}

impl Compute {
    /// How long a call waits for its turn.
    pub fn wait(&self) -> Duration {
        Duration::from_millis(self.wait_ms)
    }

    /// How long a process is kept that has nothing to do.
    pub fn idle(&self) -> Duration {
        Duration::from_millis(self.idle_ms)
    }
}
