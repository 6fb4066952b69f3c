//! Told to stop, a suite ends what it has begun.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::agents::{hasher, sleeper};
use crate::harness::load::Load;
use crate::harness::{Mode, Options, Suite, eventually, in_both_modes, process};

in_both_modes!(drain);

const HASHER: &str = "teams/default/agents/hasher";
const SLEEPER: &str = "teams/default/agents/sleeper";

async fn drain(mode: Mode) {
    let suite = Suite::start("drain", mode, Options::default()).await;
    let dev = suite.client("user/dev");
    dev.put(HASHER, &hasher("hasher")).await.unwrap();
    dev.put(SLEEPER, &sleeper("sleeper", 2)).await.unwrap();

    let begun = Instant::now();
    let mut load = Load::new();
    for _ in 0..4 {
        // Each caller has a connection of its own.
        load.add("hash", suite.client("user/dev"), Duration::from_millis(5), |client, number| async move {
            client.answer(HASHER, "hash", &json!({ "text": format!("text {number}") })).await
        });
        load.add("sleep", suite.client("user/dev"), Duration::from_millis(5), |client, number| async move {
            client.answer(SLEEPER, "sleep", &json!({ "text": format!("text {number}") })).await
        });
    }
    eventually("calls are answered", Duration::from_secs(20), async || {
        (load.since(begun).await.len() >= 20).then_some(())
    })
    .await;
    let told = Instant::now();
    process::signal(suite.pid(), "TERM");
    // The sleepers' calls in flight need up to two seconds more.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let outcomes = load.finish().await;
    let failed: Vec<_> = outcomes.iter().filter(|outcome| outcome.begun < told && outcome.failed()).collect();
    assert!(failed.is_empty(), "{} of {} calls failed: {:?}", failed.len(), outcomes.len(), failed[0]);
    let over = |outcome: &&crate::harness::load::Outcome| {
        outcome.what == "sleep" && outcome.begun < told && outcome.begun + outcome.took > told
    };
    assert!(
        outcomes.iter().filter(over).count() >= 4,
        "no call was in flight when the suite was told to stop"
    );
    suite.stop().await;
}
