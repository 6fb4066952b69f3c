//! The load generator: a closed loop of callers, latencies in full.

use std::future::Future;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

/// Calls before counting, as a part of the measured time.
const WARM_UP: f64 = 0.3;

/// What one measurement found.
pub struct Figures {
    /// Calls per second.
    pub rate: f64,
    /// Median latency.
    pub p50: Duration,
    /// 99th percentile.
    pub p99: Duration,
}

/// Runs callers in a closed loop. A call that fails ends the bench.
pub async fn run<C, F>(concurrency: usize, time: Duration, call: C) -> Figures
where
    C: Fn() -> F + Clone + Send + 'static,
    F: Future<Output = ()> + Send,
{
    let begin = Instant::now() + time.mul_f64(WARM_UP);
    let end = begin + time;
    let mut callers = JoinSet::new();
    for _ in 0..concurrency {
        let call = call.clone();
        callers.spawn(async move {
            let mut latencies = Vec::with_capacity(1 << 16);
            loop {
                let started = Instant::now();
                if started >= end {
                    return latencies;
                }
                call().await;
                if started >= begin {
                    latencies.push(started.elapsed());
                }
            }
        });
    }
    let mut all = Vec::new();
    while let Some(latencies) = callers.join_next().await {
        all.extend(latencies.unwrap());
    }
    all.sort_unstable();
    let at = |part: f64| all[((all.len() - 1) as f64 * part) as usize];
    Figures { rate: all.len() as f64 / time.as_secs_f64(), p50: at(0.5), p99: at(0.99) }
}
