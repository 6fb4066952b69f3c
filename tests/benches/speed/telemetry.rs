//! What telemetry costs: a trivial skill with every span exported over OTLP to a sink on this machine, with no
//! exporter, and with nothing counted at all.

use std::time::Duration;

use super::suite::{Mode, Running};
use super::{load, micros, seconds, sink, suite};

const CONCURRENCY: usize = 64;
const ROUNDS: usize = 8;

fn setting(key: &str, value: &str) -> (String, String) {
    (format!("SRE__TELEMETRY__{key}"), value.to_owned())
}

/// Measures them in turn.
pub async fn measure() {
    let (unread, _unread) = sink::start(false).await;
    let (read, _read) = sink::start(true).await;
    let all = |to: &str| vec![setting("OTLP_ENDPOINT", to), setting("SAMPLE_RATIO", "1.0")];
    let kinds = [
        ("nothing counted", vec![setting("METRICS", "false")]),
        // What differs between these two is the measurement's own error.
        ("nothing counted, a second suite", vec![setting("METRICS", "false")]),
        ("off: metrics, no exporter", Vec::new()),
        ("on: all spans to a local sink", all(&unread)),
        ("on, and the sink reads them on the same cores", all(&read)),
    ];
    println!("\n## Telemetry: a trivial skill, all in one, {CONCURRENCY} callers\n");
    let mut suites = Vec::new();
    for (name, settings) in kinds {
        let running = Running::start_with(Mode::AllInOne, &settings).await;
        let channel = running.connect().await;
        suites.push((name, running, channel, Vec::new()));
    }
    // In turn, so that a slow moment of the machine hits all; each round begins with another one, and what a suite still
    // has to put away is put away before the next.
    for round in 0..ROUNDS {
        let count = suites.len();
        for turn in 0..count {
            let (_, _, channel, figures) = &mut suites[(round + turn) % count];
            figures.push(load::run(CONCURRENCY, seconds(), suite::caller(channel)).await);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    println!("| telemetry | skill /s | p50 | p99 | of nothing counted |");
    println!("|---|---|---|---|---|");
    let mut whole = 0.0;
    for (name, _, _, figures) in &mut suites {
        figures.sort_by(|a, b| a.rate.total_cmp(&b.rate));
        let median = &figures[ROUNDS / 2];
        if whole == 0.0 {
            whole = median.rate;
        }
        println!(
            "| {name} | {:.0} | {} | {} | {:.3} |",
            median.rate,
            micros(median.p50),
            micros(median.p99),
            median.rate / whole
        );
    }
}
