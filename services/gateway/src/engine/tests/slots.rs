//! Few slots, and parents that hold them while their children need one.

use serde_json::json;
use sre_service::Config;
use tokio::task::JoinSet;

use super::documents::{component, document, endpoint, post};
use super::world::World;

/// Eight parents, each with a job that it awaits.
async fn all_finish(change: impl FnOnce(&mut Config)) {
    let world = World::with(change).await;
    let mut agent = document(
        "parents",
        vec![
            endpoint(),
            component("fork", "Async", json!({}), &["v"], &["JobID"]),
            post("work", &world.server.url("/work"), json!({})),
            component("wait", "Await", json!({"jobs_count": "1", "max_time": "60"}), &["Jobs"], &["Results"]),
            component("out", "APIOutput", json!({"format": "minimal"}), &["r"], &["Output"]),
        ],
        &["go.x > fork.v", "fork.v > work.v", "fork.JobID > wait.Jobs", "wait.Results > out.r"],
    );
    agent["components"][1]["outputs"].as_array_mut().unwrap().push(json!({"name": "v"}));
    let agent = world.put(&agent).await;
    let world = std::sync::Arc::new(world);
    let mut parents = JoinSet::new();
    for number in 0..8 {
        let (world, agent) = (world.clone(), agent.clone());
        parents.spawn(async move { world.run(number % 2, &agent, json!(number)).await.unwrap() });
    }
    while let Some(answer) = parents.join_next().await {
        let answer = answer.unwrap();
        let legacy: serde_json::Value = serde_json::from_slice(&answer.legacy_json).unwrap();
        let jobs = legacy["r"].as_object().unwrap_or_else(|| panic!("{legacy}"));
        assert!(jobs.values().all(|job| job["status"] == "done"), "{legacy}");
    }
    assert_eq!(world.server.count("/work"), 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_parents_finish_in_eight_slots_of_the_store() {
    tokio::time::timeout(
        std::time::Duration::from_secs(60),
        all_finish(|config| config.journal.team_running = 8),
    )
    .await
    .expect("all finish");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_parents_finish_in_eight_slots_of_an_engine() {
    tokio::time::timeout(
        std::time::Duration::from_secs(60),
        all_finish(|config| config.gateway.max_running = 8),
    )
    .await
    .expect("all finish");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_waited_for_a_slot_starts_its_effect_whatever_its_policy() {
    let world = World::with(|config| config.journal.team_running = 1).await;
    world.server.hold("/long");
    let agent = |id: &str, path: &str| {
        let call = post("call", &world.server.url(path), json!({"onUncertain": "fail"}));
        document(id, vec![endpoint(), call], &["go.x > call.v"])
    };
    let long = world.put(&agent("long", "/long")).await;
    let next = world.put(&agent("next", "/next")).await;
    let first = world.start(0, &long, json!("x")).await;
    world.server.called("/long", 1).await;
    let second = world.start(0, &next, json!("x")).await;
    assert_eq!(second.state(), sre_proto::gateway::v1::RunState::Queued);
    world.server.release("/long");
    world.done(&first.name).await;
    let answer = world.done(&second.name).await;
    assert_eq!(answer["result"]["Status"], 200, "{answer}");
    assert_eq!(world.server.count("/next"), 1);
}
