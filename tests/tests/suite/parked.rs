//! Runs that sleep are parked: they hold no slot and no engine, and all of them wake, also in another process.

use std::time::Duration;

use serde_json::json;
use sre_proto::gateway::v1::RunState;
use sre_proto::memory::v1::RunState as Stored;

use crate::harness::agents::{hasher, sleeper};
use crate::harness::clients::json as parsed;
use crate::harness::journal::{Journal, run_id};
use crate::harness::{Mode, Options, Suite, eventually};

const SLEEPER: &str = "teams/default/agents/sleeper";
const HASHER: &str = "teams/default/agents/hasher";
const RUNS: usize = 40;
const SLOTS: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sleeping_runs_are_parked_and_all_wake() {
    let options = Options::default()
        .listen_everywhere()
        .set("gateway.max_running", SLOTS)
        .set("journal.team_running", SLOTS)
        .set("gateway.park_after_ms", 500)
        .set("journal.session_ttl_ms", 1_000);
    let mut suite = Suite::start("parked", Mode::AllInOne, options.clone()).await;
    let dev = suite.client("user/dev");
    dev.put(SLEEPER, &sleeper("sleeper", 12)).await.unwrap();
    dev.put(HASHER, &hasher("hasher")).await.unwrap();
    let mut runs = Vec::new();
    for n in 0..RUNS {
        runs.push(dev.start(SLEEPER, "sleep", &json!({ "text": format!("nap {n}") })).await.unwrap().name);
    }
    let journal = Journal::of(&suite);
    // With four slots, forty can only be parked if each gives its slot back.
    for name in &runs {
        eventually("the run is parked", Duration::from_secs(10), async || {
            let run = journal.run(run_id(name)).await.ok()?;
            (run.state() == Stored::Waiting && run.session.is_empty() && run.due_time.is_some()).then_some(())
        })
        .await;
    }
    assert_eq!(dev.get_run(&runs[0]).await.unwrap().state(), RunState::Waiting);
    let digest = dev.answer(HASHER, "hash", &json!({ "text": "meanwhile" })).await.unwrap();
    assert!(digest["sha256"].is_string(), "{digest}");

    // Nobody holds them: another process wakes them, at their time.
    suite.crash();
    drop(suite);
    let suite = Suite::start("parked", Mode::AllInOne, options.again()).await;
    let dev = suite.client("user/dev");
    for (n, name) in runs.iter().enumerate() {
        let ended = dev.reached(name, &[RunState::Done]).await;
        assert_eq!(parsed(&ended.legacy_json), json!({ "text": format!("nap {n}") }));
        let (from, to) = (ended.create_time.unwrap(), ended.end_time.unwrap());
        assert!(to.seconds - from.seconds >= 11, "{name} woke early: {from:?} to {to:?}");
    }
    suite.stop().await;
}
