//! `make chaos`: processes of a suite are killed while it works, and nothing may be lost, repeated or wrong.
//!
//! The suite is the real binary: nine processes over PostgreSQL with two gateways, then one process over
//! SQLite. Agents of fifty components call two counting servers. What was promised is compared with what the
//! servers saw, what the journal holds and what the engines logged; see `checks`.
//!
//! `chaos` runs everything, `chaos small` a minute of it. Figures: [`plan::Plan`].

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a tool for developers: a mistake in it ends it"
)]

mod agent;
mod checks;
mod evidence;
mod executions;
mod kills;
mod load;
mod phases;
mod plan;
mod postgres;
mod processes;
mod report;
mod servers;
mod takeover;
mod topology;

#[expect(dead_code, unused_macros, unused_imports, reason = "the tests use the rest")]
#[path = "../tests/suite/harness/mod.rs"]
mod harness;

use std::process::ExitCode;

use plan::Plan;
use report::Report;

fn main() -> ExitCode {
    let plan = Plan::from_process();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let report = runtime.block_on(async {
        tokio::select! {
            report = everything(&plan) => report,
            // Dropped, the suite's processes end.
            _ = tokio::signal::ctrl_c() => Report::interrupted(),
        }
    });
    report.print();
    if report.is_fine() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn everything(plan: &Plan) -> Report {
    let mut report = Report::default();
    if plan.wants("split") {
        phases::split(plan, &mut report).await;
    }
    if plan.wants("takeover") && plan.takeovers > 0 {
        phases::takeover(plan, &mut report).await;
    }
    if plan.wants("sqlite") {
        phases::all_in_one(plan, &mut report).await;
    }
    report
}
