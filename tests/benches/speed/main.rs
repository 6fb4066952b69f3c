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

mod agents;
mod cache;
mod calls;
mod components;
mod durable;
mod echo;
mod external;
mod journal;
mod kv;
mod leaving;
mod llm;
mod load;
mod memory;
mod neighbour;
mod parked;
mod peer;
mod sandbox;
mod sink;
mod storage;
mod suite;
mod telemetry;
mod tokens;
mod trivial;
mod upstream;
mod vectors;

use std::time::Duration;

/// The suite's own allocator: the generator and the echo share the cores, and theirs is no part of a ratio.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One measurement's length; `BENCH_SECONDS` sets another.
fn seconds() -> Duration {
    Duration::from_secs(std::env::var("BENCH_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(5))
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    // `cargo bench` passes --bench.
    match arguments.next().as_deref() {
        Some("echo") => return echo::serve(&arguments.next().expect("the certificate folder")),
        Some("component") => return external::serve(&arguments.next().expect("the socket")),
        Some("peer") => return peer::serve(),
        Some("upstream") => return upstream::serve(),
        Some("noisy") => {
            let words: Vec<String> = arguments.collect();
            let [address, certs, seconds] = words.as_slice() else { panic!("noisy ADDRESS CERTS SECONDS") };
            return neighbour::noisy(address, certs, seconds);
        }
        _ => {}
    }
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(run());
}

/// The chapters in their order; `BENCH_ONLY=durable,parked` runs some of them.
async fn run() {
    let only = std::env::var("BENCH_ONLY").unwrap_or_default();
    let wanted = |chapter: &str| only.is_empty() || only.split(',').any(|name| name.trim() == chapter);
    if wanted("start") {
        suite::start_and_memory().await;
    }
    if wanted("trivial") {
        trivial::measure().await;
    }
    if wanted("telemetry") {
        telemetry::measure().await;
    }
    if wanted("durable") {
        durable::measure().await;
    }
    if wanted("journal") {
        journal::measure().await;
    }
    if wanted("kv") {
        kv::measure().await;
    }
    if wanted("cache") {
        cache::measure().await;
    }
    if wanted("storage") {
        storage::measure().await;
    }
    if wanted("parked") {
        parked::measure().await;
    }
    if wanted("tokens") {
        tokens::measure();
    }
    if wanted("neighbour") {
        neighbour::measure().await;
    }
    if wanted("vectors") {
        vectors::measure().await;
    }
    if wanted("llm") {
        llm::measure().await;
    }
    if wanted("asking") {
        llm::measure_asking().await;
    }
    if wanted("idle") {
        llm::measure_idle().await;
    }
    if wanted("leaving") {
        llm::measure_leaving().await;
    }
    if wanted("components") {
        components::measure().await;
    }
    if wanted("sandbox") {
        sandbox::measure().await;
    }
    if wanted("external") {
        external::measure().await;
    }
}

/// A time for tables.
fn micros(time: Duration) -> String {
    format!("{} µs", time.as_micros())
}
