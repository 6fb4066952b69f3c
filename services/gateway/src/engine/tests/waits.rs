//! Waiting without memory.

use std::time::{Duration, Instant};

use serde_json::json;
use sre_proto::gateway::v1::RunState;
use sre_proto::memory::v1::RecordKind;

use super::documents::{component, document, endpoint, post};
use super::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sleeping_run_leaves_memory_and_wakes_in_time() {
    let world = World::new().await;
    let nap = component("nap", "FSleep", json!({"delay": "1"}), &["Input"], &["Output"]);
    let agent = document(
        "sleeper",
        vec![endpoint(), nap, post("after", &world.server.url("/after"), json!({}))],
        &["go.x > nap.Input", "nap.Output > after.v"],
    );
    let agent = world.put(&agent).await;
    let began = Instant::now();
    let run = world.start(0, &agent, json!("far")).await;
    world.until(&run.name, RunState::Waiting).await;
    assert!(world.nothing_lives(&run.name).await, "a run that sleeps is in memory");
    assert_eq!(world.engines[0].admission.free(), 1_000, "it holds a slot");
    assert_eq!(world.server.count("/after"), 0);
    world.done(&run.name).await;
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert_eq!(world.server.count("/after"), 1);
    assert_eq!(world.count(&run.name, RecordKind::Waiting).await, 1, "a wait is written once");
    assert_eq!(world.count(&run.name, RecordKind::TakenOver).await, 0, "nothing was interrupted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_sleep_stays_in_memory() {
    let world = World::with(|config| config.gateway.park_after_ms = 5_000).await;
    let nap = component("nap", "FSleep", json!({"delay": "1"}), &["Input"], &["Output"]);
    let call = post("after", &world.server.url("/after"), json!({}));
    let agent = document("short", vec![endpoint(), nap, call], &["go.x > nap.Input", "nap.Output > after.v"]);
    let agent = world.put(&agent).await;
    world.run(0, &agent, json!("x")).await.unwrap();
    assert_eq!(world.server.count("/after"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_awaits_jobs_is_woken_by_any_of_them() {
    let world = World::new().await;
    world.server.hold("/slow");
    world.server.hold("/never");
    let job = |id: &str| component(id, "Async", json!({}), &["v"], &["JobID"]);
    let agent = document(
        "awaiting",
        vec![
            endpoint(),
            job("one"),
            post("slow", &world.server.url("/slow"), json!({})),
            job("two"),
            post("never", &world.server.url("/never"), json!({})),
            component(
                "wait",
                "Await",
                json!({"jobs_count": "1", "max_time": "600"}),
                &["Jobs"],
                &["Results"],
            ),
            component("out", "APIOutput", json!({"format": "minimal"}), &["r"], &["Output"]),
        ],
        &[
            "go.x > one.v",
            "one.v > slow.v",
            "go.x > two.v",
            "two.v > never.v",
            "one.JobID > wait.Jobs",
            "two.JobID > wait.Jobs",
            "wait.Results > out.r",
        ],
    );
    // What an Async component passes to its branch are its inputs.
    let mut agent = agent;
    for id in [1, 3] {
        agent["components"][id]["outputs"].as_array_mut().unwrap().push(json!({"name": "v"}));
    }
    let agent = world.put(&agent).await;
    let run = world.start(0, &agent, json!("x")).await;
    world.server.called("/slow", 1).await;
    world.server.called("/never", 1).await;
    world.until(&run.name, RunState::Waiting).await;
    assert!(world.nothing_lives(&run.name).await);
    world.server.release("/slow");
    let answer = world.done(&run.name).await;
    let statuses: Vec<&str> = answer["r"]
        .as_object()
        .unwrap_or_else(|| panic!("{answer}"))
        .values()
        .map(|job| job["status"].as_str().unwrap())
        .collect();
    assert_eq!(statuses.iter().filter(|status| **status == "done").count(), 1, "{answer}");
    assert_eq!(statuses.iter().filter(|status| **status == "pending").count(), 1, "{answer}");
    world.server.release("/never");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_waits_ends_at_its_deadline() {
    let world = World::new().await;
    let nap = component("nap", "FSleep", json!({"delay": "600"}), &["Input"], &["Output"]);
    let call = post("after", &world.server.url("/after"), json!({}));
    let agent = document("late", vec![endpoint(), nap, call], &["go.x > nap.Input", "nap.Output > after.v"]);
    let agent = world.put(&agent).await;
    let run = world.start_for(&agent, Duration::from_secs(1)).await;
    world.until(&run.name, RunState::Waiting).await;
    let ended = world.until(&run.name, RunState::Failed).await;
    assert_eq!(ended.result.unwrap().failure.unwrap().reason, "DEADLINE_EXCEEDED");
    assert_eq!(world.server.count("/after"), 0);
}
