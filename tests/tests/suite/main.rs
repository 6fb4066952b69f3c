//! Everything that crosses a boundary: the real binary as people start it, in one process and split.
//!
//! `harness` starts suites and talks to them; every other module is about one promise.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a mistake in a test ends the test"
)]

mod harness;

mod architecture;
mod authz_fuzz;
mod backup;
mod budgets;
mod canary;
mod conformance_groups;
mod conformance_llm;
mod conformance_numbers;
mod conversations;
mod end_to_end;
mod faults;
mod histories;
mod journal_fixture;
mod journal_formats;
mod limits;
mod matrix;
mod metrics;
mod model_components;
mod outages;
mod parked;
mod replicas;
mod revocation;
mod sandbox_syscalls;
mod slots;
mod takeover;
mod takeover_during_effect;
mod telemetry;
mod usage;
mod vectors_crash;
mod watchers;
