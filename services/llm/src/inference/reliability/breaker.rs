//! When a place is left alone: after failures in a row, or many among few, for a time; then one call tries it.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row that open it.
const IN_A_ROW: u32 = 5;
/// Outcomes that are looked at,
const WINDOW: usize = 20;
/// of which so many must be there, and half of them failures.
const LEAST: usize = 10;
/// The first rest; it doubles each time that the trial fails,
const FIRST_REST: Duration = Duration::from_secs(5);
/// up to this.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// The state of one place.
#[derive(Debug, Default)]
pub struct Breaker {
    state: State,
    in_a_row: u32,
    window: VecDeque<bool>,
    rests: u32,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Closed,
    Open {
        until: Instant,
    },
    /// One call is on its way to see; if it never comes back, another may after a rest.
    Trying {
        until: Instant,
    },
}

impl Breaker {
    /// Whether a call may go there now; where it rested long enough this one is the trial.
    pub fn admit(&mut self, now: Instant) -> bool {
        match self.state {
            State::Closed => true,
            State::Open { until } | State::Trying { until } if now < until => false,
            State::Open { .. } | State::Trying { .. } => {
                self.state = State::Trying { until: now + LONGEST_REST };
                true
            }
        }
    }

    /// Whether [`Self::admit`] would say yes.
    pub fn would_admit(&self, now: Instant) -> bool {
        match self.state {
            State::Closed => true,
            State::Open { until } | State::Trying { until } => now >= until,
        }
    }

    /// When it may be tried again; now where it is open to all.
    pub fn free_at(&self, now: Instant) -> Instant {
        match self.state {
            State::Closed => now,
            State::Open { until } | State::Trying { until } => until,
        }
    }

    /// The place answered.
    pub fn succeeded(&mut self) {
        if self.state != State::Closed {
            *self = Self::default();
            return;
        }
        self.in_a_row = 0;
        self.remember(true);
    }

    /// The trial ended without saying anything about the place.
    pub fn undecided(&mut self, now: Instant) {
        if matches!(self.state, State::Trying { .. }) {
            self.state = State::Open { until: now };
        }
    }

    /// The place failed; it may have said for how long it wants to be left alone. True where it rests from now on.
    pub fn failed(&mut self, now: Instant, retry_after: Option<Duration>) -> bool {
        self.in_a_row += 1;
        self.remember(false);
        let failures = self.window.iter().filter(|good| !**good).count();
        let many = self.window.len() >= LEAST && failures * 2 >= self.window.len();
        if self.state == State::Closed && self.in_a_row < IN_A_ROW && !many {
            return false;
        }
        if let State::Open { until } = self.state
            && now < until
        {
            // A call that began before it rested.
            return false;
        }
        let doubled = FIRST_REST.saturating_mul(2u32.saturating_pow(self.rests)).min(LONGEST_REST);
        let rest = retry_after.unwrap_or_default().min(LONGEST_REST).max(doubled);
        self.rests += 1;
        self.window.clear();
        self.state = State::Open { until: now + rest };
        true
    }

    fn remember(&mut self, good: bool) {
        if self.window.len() == WINDOW {
            self.window.pop_front();
        }
        self.window.push_back(good);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_failures_in_a_row_and_one_call_tries() {
        let mut breaker = Breaker::default();
        for count in 1..IN_A_ROW {
            assert!(!breaker.failed(Instant::now(), None), "{count}");
            assert!(breaker.admit(Instant::now()));
        }
        assert!(breaker.failed(Instant::now(), None));
        assert!(!breaker.admit(Instant::now()));
        tokio::time::advance(FIRST_REST).await;
        assert!(breaker.admit(Instant::now()), "the trial");
        assert!(!breaker.admit(Instant::now()), "and nobody beside it");
        assert!(breaker.failed(Instant::now(), None));
        tokio::time::advance(FIRST_REST).await;
        assert!(!breaker.admit(Instant::now()), "it rests twice as long");
        tokio::time::advance(FIRST_REST).await;
        assert!(breaker.admit(Instant::now()));
        breaker.succeeded();
        assert!(breaker.admit(Instant::now()) && breaker.admit(Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_that_flaps_is_left_alone_too() {
        let mut breaker = Breaker::default();
        let mut opened = false;
        for count in 0..LEAST {
            if count % 2 == 0 {
                breaker.succeeded();
            } else {
                opened |= breaker.failed(Instant::now(), None);
            }
        }
        assert!(opened);
        assert!(!breaker.admit(Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_that_a_provider_names_is_kept() {
        let mut breaker = Breaker::default();
        for _ in 0..IN_A_ROW {
            breaker.failed(Instant::now(), Some(Duration::from_secs(30)));
        }
        tokio::time::advance(Duration::from_secs(29)).await;
        assert!(!breaker.would_admit(Instant::now()));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(breaker.admit(Instant::now()));
        breaker.undecided(Instant::now());
        assert!(breaker.admit(Instant::now()), "a trial that said nothing frees the place for the next");
    }
}
