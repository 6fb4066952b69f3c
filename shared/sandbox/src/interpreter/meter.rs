//! What a call has taken so far.

use std::cell::Cell;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

use crate::limits::{Limit, Limits};

/// Counts what one call takes, and remembers the limit that it reached first.
#[derive(Debug)]
pub struct Meter {
    limits: Limits,
    began: Instant,
    cpu_before: Duration,
    logged: Cell<u64>,
    asked: Cell<u32>,
    exceeded: Cell<Option<Limit>>,
}

impl Meter {
    /// Begins to count.
    pub fn start(limits: Limits) -> Self {
        Self {
            limits,
            began: Instant::now(),
            cpu_before: processor_time(),
            logged: Cell::new(0),
            asked: Cell::new(0),
            exceeded: Cell::new(None),
        }
    }

    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What the call took of the processor.
    pub fn cpu(&self) -> Duration {
        processor_time().saturating_sub(self.cpu_before)
    }

    /// How long it has been.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// What is left by the clock on the wall.
    pub fn left(&self) -> Duration {
        self.limits.wall().saturating_sub(self.elapsed())
    }

    /// The limit that was reached.
    pub fn exceeded(&self) -> Option<Limit> {
        self.exceeded.get()
    }

    /// Notes that a limit was reached. The first one stays.
    pub fn exceed(&self, limit: Limit) {
        if self.exceeded.get().is_none() {
            self.exceeded.set(Some(limit));
        }
    }

    /// Looks at the clocks; true if the call must end. Asked by the interpreter every few thousand steps, in
    /// loops and in regular expressions.
    pub fn over(&self) -> bool {
        if self.exceeded.get().is_none() {
            if self.elapsed() >= self.limits.wall() {
                self.exceed(Limit::Wall);
            } else if self.cpu() >= self.limits.cpu() {
                self.exceed(Limit::Cpu);
            }
        }
        self.exceeded.get().is_some()
    }

    /// Counts logged bytes; false beyond the limit.
    pub fn log(&self, bytes: usize) -> bool {
        let logged = self.logged.get().saturating_add(bytes as u64);
        self.logged.set(logged);
        if logged > self.limits.log_bytes {
            self.exceed(Limit::Logs);
        }
        logged <= self.limits.log_bytes
    }

    /// Counts a request to the network; false beyond `most`.
    pub fn ask(&self, most: u32) -> bool {
        let asked = self.asked.get().saturating_add(1);
        self.asked.set(asked);
        if asked > most {
            self.exceed(Limit::Http);
        }
        asked <= most
    }
}

/// What this process took of the processor in its life.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_limit_that_is_reached_stays() {
        let meter = Meter::start(Limits { log_bytes: 3, ..Limits::DEFAULT });
        assert!(meter.log(3) && !meter.over());
        assert!(!meter.log(1));
        assert!(!meter.ask(0));
        assert!(meter.over());
        assert_eq!(meter.exceeded(), Some(Limit::Logs));
    }

    #[test]
    fn no_time_is_left_at_once() {
        let meter = Meter::start(Limits { wall_ms: 0, ..Limits::DEFAULT });
        assert!(meter.over());
        assert_eq!((meter.exceeded(), meter.left()), (Some(Limit::Wall), Duration::ZERO));
    }
}
