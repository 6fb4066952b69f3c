//! A skill without effects beside a bare echo.

use super::suite::{Mode, Running};
use super::{echo, load, memory, micros, seconds, suite};

/// Measures both modes at three levels of concurrency.
pub async fn measure() {
    for mode in [Mode::AllInOne, Mode::Split] {
        println!("\n## Trivial skill over mTLS gRPC, {}, beside a bare tonic mTLS echo\n", mode.title());
        let suite = Running::start(mode).await;
        let echo = echo::Running::start(&suite.certs());
        let echo_channel = echo.connect(&suite.certs()).await;
        let channel = suite.connect().await;
        println!(
            "| concurrency | echo /s | echo p50 | echo p99 | skill /s | skill p50 | skill p99 | throughput ratio | added p50 |"
        );
        println!("|---|---|---|---|---|---|---|---|---|");
        for concurrency in [1, 16, 64] {
            // In turn, so that a slow moment of the machine hits both.
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
