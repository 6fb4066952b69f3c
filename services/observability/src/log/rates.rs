//! How many lines an agent and its team may write a minute. A refusal costs a look-up in memory: nothing of a
//! refused line is stored, and the writer is told how long to keep silent.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Agents and teams that are remembered; beyond it, those whose allowance is full are forgotten.
const MOST_WRITERS: usize = 50_000;
const MINUTE: f64 = 60.0;

/// Allowances of agents and teams.
#[derive(Debug, Default)]
pub struct Rates(Mutex<HashMap<(String, String), Allowance>>);

/// What a writer may still write.
#[derive(Debug, Clone, Copy)]
struct Allowance {
    left: f64,
    per_minute: u64,
    since: Instant,
    /// Lines that were refused since the last one that was not.
    refused: u64,
}

/// What became of a writer's lines.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    /// They fit. So many before them were refused.
    Fits {
        /// Lines refused before.
        refused_before: u64,
    },
    /// None fits.
    Refused {
        /// Whether it is the first after one that fitted.
        first: bool,
        /// When one fits.
        wait: Duration,
    },
}

impl Allowance {
    fn refill(&mut self, per_minute: u64, now: Instant) {
        let rate = per_minute as f64;
        if self.per_minute != per_minute {
            self.left = self.left.min(rate);
            self.per_minute = per_minute;
        }
        self.left = rate.min(self.left + now.duration_since(self.since).as_secs_f64() * rate / MINUTE);
        self.since = now;
    }

    fn wait(&self) -> Duration {
        let rate = self.per_minute as f64;
        if rate <= 0.0 {
            return Duration::from_secs(60);
        }
        Duration::from_secs_f64(((1.0 - self.left) * MINUTE / rate).clamp(0.0, MINUTE))
    }
}

impl Rates {
    /// Takes one line of a writer: an agent of a team, or, with an empty agent, the team itself. Its allowance is a
    /// minute's worth at most.
    pub fn take(&self, team: &str, agent: &str, per_minute: u64) -> Verdict {
        let now = Instant::now();
        let mut writers = self.0.lock();
        if writers.len() >= MOST_WRITERS {
            writers.retain(|_, allowance| {
                let per_minute = allowance.per_minute;
                allowance.refill(per_minute, now);
                allowance.left < per_minute as f64 || allowance.refused > 0
            });
        }
        let writer = (team.to_owned(), agent.to_owned());
        let full = Allowance { left: per_minute as f64, per_minute, since: now, refused: 0 };
        let allowance = writers.entry(writer).or_insert(full);
        allowance.refill(per_minute, now);
        if allowance.left < 1.0 {
            allowance.refused += 1;
            return Verdict::Refused { first: allowance.refused == 1, wait: allowance.wait() };
        }
        allowance.left -= 1.0;
        Verdict::Fits { refused_before: std::mem::take(&mut allowance.refused) }
    }

    /// Gives a line back that was taken and then not written.
    pub fn give_back(&self, team: &str, agent: &str) {
        let mut writers = self.0.lock();
        if let Some(allowance) = writers.get_mut(&(team.to_owned(), agent.to_owned())) {
            allowance.left = (allowance.left + 1.0).min(allowance.per_minute as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_writer_beyond_its_allowance_is_told_when_and_costs_others_none() {
        let rates = Rates::default();
        for _ in 0..60 {
            assert_eq!(rates.take("t", "a", 60), Verdict::Fits { refused_before: 0 });
        }
        assert_eq!(rates.take("t", "a", 60), Verdict::Refused { first: true, wait: Duration::from_secs(1) });
        assert!(matches!(rates.take("t", "a", 60), Verdict::Refused { first: false, .. }));
        assert_eq!(rates.take("t", "b", 60), Verdict::Fits { refused_before: 0 });
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(rates.take("t", "a", 60), Verdict::Fits { refused_before: 2 });
        assert!(matches!(rates.take("t", "a", 60), Verdict::Refused { first: true, .. }));
        rates.give_back("t", "a");
        assert!(matches!(rates.take("t", "a", 60), Verdict::Fits { .. }));
        assert!(matches!(rates.take("t", "never", 0), Verdict::Refused { .. }));
    }
}
