//! Limits and intervals of the journal.

use std::time::Duration;

/// Settings of the journal, with the documented defaults.
#[derive(Debug, Clone)]
pub struct JournalSettings {
    /// A session's time to live where the engine asks for none.
    pub session_ttl: Duration,
    /// The shortest that an engine may ask for.
    pub session_ttl_min: Duration,
    /// The longest that an engine may ask for.
    pub session_ttl_max: Duration,
    /// Claims in a row without progress after which a run fails.
    pub barren_claims: i32,
    /// The wait after the first barren claim; doubles with each.
    pub barren_backoff: Duration,
    /// The longest such wait.
    pub barren_backoff_max: Duration,
    /// How long a request id is remembered.
    pub request_ids: Duration,
    /// How long ended runs are kept.
    pub closed_runs: Duration,
    /// How long ended jobs are kept.
    pub closed_jobs: Duration,
    /// How long ended debug sessions are kept.
    pub closed_debug: Duration,
    /// Runs of one kind that a team may have running; more wait.
    pub team_running: u32,
    /// Time between two rounds of the sweeper.
    pub sweep_interval: Duration,
    /// Rows that the sweeper deletes in one transaction.
    pub sweep_batch: u32,
    /// Payloads whose run was never opened are removed after this.
    pub orphaned_blobs: Duration,
    /// Summaries a second that one team may write in the long run.
    pub summaries_per_second: u32,
    /// Summaries that one team may write at once.
    pub summaries_burst: u32,
    /// Claim hints to one engine come at most this often.
    pub hint_interval: Duration,
    /// While work waits and nobody claims it, hints are repeated this often.
    pub hint_repeat: Duration,
    /// Signals that a run's inbox holds.
    pub inbox_signals: u32,
    /// The largest payload.
    pub blob_limit_bytes: u64,
}

impl Default for JournalSettings {
    fn default() -> Self {
        const HOUR: Duration = Duration::from_secs(60 * 60);
        Self {
            session_ttl: Duration::from_secs(10),
            session_ttl_min: Duration::from_millis(100),
            session_ttl_max: Duration::from_secs(300),
            barren_claims: 5,
            barren_backoff: Duration::from_millis(500),
            barren_backoff_max: Duration::from_secs(60),
            request_ids: 24 * HOUR,
            closed_runs: 7 * 24 * HOUR,
            closed_jobs: 24 * HOUR,
            closed_debug: Duration::from_secs(5 * 60),
            team_running: 1000,
            sweep_interval: Duration::from_secs(60),
            sweep_batch: 1000,
            orphaned_blobs: 24 * HOUR,
            summaries_per_second: 100,
            summaries_burst: 1000,
            hint_interval: Duration::from_millis(20),
            hint_repeat: Duration::from_millis(250),
            inbox_signals: 1000,
            blob_limit_bytes: 256 * 1024 * 1024,
        }
    }
}
