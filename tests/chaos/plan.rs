//! How much is run, and for how long.

use std::time::Duration;

/// The length of everything. `CHAOS_RUNS`, `CHAOS_SECONDS`, `CHAOS_IN_FLIGHT`, `CHAOS_ONLY` (a list of `split`,
/// `takeover`, `sqlite`), `CHAOS_STORE` (`postgres` or `sqlite`) change it.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Runs of each phase.
    pub runs: usize,
    /// Runs that are under way at a time.
    pub in_flight: usize,
    /// Kills stop after so long in one phase; what is under way then ends undisturbed.
    pub phase: Duration,
    /// How long runs may take to end once nobody is killed any more.
    pub settle: Duration,
    /// Kills that takeovers are measured over. None on a machine that builds and tests meanwhile: the limit is one
    /// of time.
    pub takeovers: usize,
    /// Where the journal of the split suite lies.
    pub store: Store,
    /// The parts that are run; all where absent.
    pub only: Option<String>,
}

/// Where a journal lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// A cluster made for this.
    Postgres,
    /// A file.
    Sqlite,
}

impl Plan {
    /// From the arguments and the environment.
    pub fn from_process() -> Self {
        let small = std::env::args().nth(1).as_deref() == Some("small");
        let mut plan = if small { Self::small() } else { Self::full() };
        plan.runs = number("CHAOS_RUNS").unwrap_or(plan.runs);
        plan.in_flight = number("CHAOS_IN_FLIGHT").unwrap_or(plan.in_flight);
        plan.phase =
            number("CHAOS_SECONDS").map_or(plan.phase, |seconds| Duration::from_secs(seconds as u64));
        plan.takeovers = number("CHAOS_TAKEOVERS").unwrap_or(plan.takeovers);
        plan.only = std::env::var("CHAOS_ONLY").ok();
        if std::env::var("CHAOS_STORE").as_deref() == Ok("sqlite") {
            plan.store = Store::Sqlite;
        }
        plan
    }

    fn full() -> Self {
        Self {
            runs: 1_000,
            in_flight: 64,
            phase: Duration::from_secs(300),
            settle: Duration::from_secs(600),
            takeovers: 12,
            store: Store::Postgres,
            only: None,
        }
    }

    fn small() -> Self {
        Self { runs: 40, in_flight: 16, phase: Duration::from_secs(12), takeovers: 0, ..Self::full() }
    }

    /// Whether a part is to run.
    pub fn wants(&self, part: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.split(',').any(|name| name.trim() == part))
    }
}

fn number(name: &str) -> Option<usize> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}: write a number")))
}
