//! What a caller beyond its limit is told, and what is kept of it: a count, and a record now and then.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use sre_proto::error::try_again;
use sre_proto::types::v1::Reason;
use tokio::time::Instant;
use tonic::Status;

use super::Team;
use crate::role::Role;

/// A team's refusals are recorded this often, however many there are.
const REPORT_EVERY: Duration = Duration::from_secs(60);

/// A refused call.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) team: Arc<Team>,
    /// The limit's name.
    pub(super) limit: &'static str,
    /// How far it goes.
    pub(super) value: u64,
    pub(super) retry_after: Duration,
}

impl Refusal {
    pub(super) fn status(&self, role: Role) -> Status {
        let Self { limit, value, retry_after, .. } = self;
        let team = self.team.name();
        let message = format!(
            "the limit {limit} of {} is {value} at {role}: try again in {} ms, or ask an administrator of the \
             deployment for a higher one",
            if team.is_empty() { "callers without a team" } else { team },
            retry_after.as_millis().max(1),
        );
        let metadata = [
            ("limit", (*limit).to_owned()),
            ("value", value.to_string()),
            ("team", team.to_owned()),
            ("role", role.name().to_owned()),
        ];
        try_again(Reason::RateLimited, message, *retry_after, metadata)
    }
}

/// Counts a team's refusals and says when they are to be recorded.
#[derive(Debug, Default)]
pub(super) struct Sampler {
    refused: AtomicU64,
    reported: Mutex<Option<Instant>>,
}

impl Sampler {
    /// Counts a refusal. Gives how many there were since the last report when another one is due.
    pub(super) fn count(&self) -> Option<u64> {
        self.refused.fetch_add(1, Ordering::Relaxed);
        // Who does not get the lock leaves the report to who has it.
        let mut reported = self.reported.try_lock()?;
        let now = Instant::now();
        if reported.is_some_and(|at| now.duration_since(at) < REPORT_EVERY) {
            return None;
        }
        *reported = Some(now);
        Some(self.refused.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_report_a_minute_counts_them_all() {
        let sampler = Sampler::default();
        assert_eq!(sampler.count(), Some(1));
        for _ in 0..99 {
            assert_eq!(sampler.count(), None);
        }
        tokio::time::advance(REPORT_EVERY).await;
        assert_eq!(sampler.count(), Some(100));
        assert_eq!(sampler.count(), None);
    }
}
