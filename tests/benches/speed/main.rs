//! `make bench`: speed and memory, side by side in one run. Figures are printed and written, never asserted.
//!
//! The load generator, the suite and the bare echo share the machine's cores. The echo is a plain tonic server
//! over mTLS in a process of its own, driven by the same generator, so that ratios hold where digits do not.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a tool for developers"
)]

mod echo;
mod load;
mod memory;
mod suite;

use std::time::Duration;

/// One measurement's length; `BENCH_SECONDS` sets another.
fn seconds() -> Duration {
    Duration::from_secs(std::env::var("BENCH_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(5))
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    // `cargo bench` passes --bench.
    if let Some("echo") = arguments.next().as_deref() {
        return echo::serve(&arguments.next().expect("the certificate folder"));
    }
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(run());
}

async fn run() {
    println!("## Start and memory (`sre up`, release, median of 5)\n");
    suite::start_and_memory().await;
    for mode in [suite::Mode::AllInOne, suite::Mode::Split] {
        println!("\n## Trivial skill over mTLS gRPC, {}, beside a bare tonic mTLS echo\n", mode.title());
        let suite = suite::Running::start(mode).await;
        let echo = echo::Running::start(&suite.certs());
        let echo_channel = echo.connect(&suite.certs()).await;
        let channel = suite.connect().await;
        println!(
            "| concurrency | echo /s | echo p50 | echo p99 | skill /s | skill p50 | skill p99 | throughput ratio | added p50 |"
        );
        println!("|---|---|---|---|---|---|---|---|---|");
        for concurrency in [1, 16, 64] {
            // In turn, twice, so that a slow moment of the machine hits both.
            let mut pairs = Vec::new();
            for _ in 0..3 {
                let bare = load::run(concurrency, seconds(), echo::caller(&echo_channel)).await;
                let skill = load::run(concurrency, seconds(), suite::caller(&channel)).await;
                pairs.push((bare, skill));
            }
            pairs.sort_by(|a, b| (a.1.rate / a.0.rate).total_cmp(&(b.1.rate / b.0.rate)));
            let (bare, skill) = &pairs[1];
            println!(
                "| {concurrency} | {:.0} | {} | {} | {:.0} | {} | {} | {:.2} | {} |",
                bare.rate,
                micros(bare.p50),
                micros(bare.p99),
                skill.rate,
                micros(skill.p50),
                micros(skill.p99),
                skill.rate / bare.rate,
                micros(skill.p50.saturating_sub(bare.p50)),
            );
        }
        memory::show(&suite.processes());
    }
}

fn micros(time: Duration) -> String {
    format!("{} µs", time.as_micros())
}
