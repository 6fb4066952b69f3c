//! Checkpoints: what recovery reads, and what a loop's element costs. A Map and a Retry are taken over in the middle.

use serde_json::{Value, json};
use sre_proto::memory::v1::RecordKind;

use super::documents::{component, document, endpoint, post};
use super::world::World;
use crate::engine::checkpoints;

/// A loop of so many elements, and then a call.
async fn looping(world: &World, id: &str) -> String {
    let each =
        component("each", "ForEach", json!({"format": "results-array"}), &["Input"], &["Loop", "Result"]);
    let hash =
        component("hash", "FHash", json!({"algorithm": "sha256", "encoding": "hex"}), &["Data"], &["Hash"]);
    let call = post("after", &world.server.url("/after"), json!({"body": "x"}));
    let links = ["go.x > each.Input", "each.Loop > hash.Data", "each.Result > after.v"];
    world.put(&document(id, vec![endpoint(), each, hash, call], &links)).await
}

fn elements(count: usize) -> Value {
    (0..count).map(|number| format!("element {number:06}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recovery_reads_checkpoints_and_what_follows() {
    let world = World::with(|config| config.gateway.checkpoint_records = 50).await;
    let agent = looping(&world, "looper").await;
    world.server.hold("/after");
    let run = world.start(0, &agent, elements(400)).await;
    world.server.called("/after", 1).await;
    let id = run.name.rsplit('/').next().unwrap();
    let needed = checkpoints::records(&world.engines[0].journal, id).await.unwrap();
    let all = world.records(&run.name).await;
    let kinds = |kind: RecordKind| needed.iter().filter(|record| record.kind() == kind).count();
    assert_eq!(needed[0].kind(), RecordKind::Opened);
    assert!(kinds(RecordKind::Checkpoint) >= 6, "{} of {} records", needed.len(), all.len());
    assert!(needed.len() < 70, "{} of {} records", needed.len(), all.len());
    world.kill(0).await;
    world.server.called("/after", 2).await;
    world.server.release("/after");
    let answer = world.done(&run.name).await;
    assert_eq!(answer["result"]["Status"], 200, "{answer}");
    // No element was executed again, and the effect has one key.
    let again = world.records(&run.name).await;
    let finished = again
        .iter()
        .filter(|record| record.kind() == RecordKind::Finished && record.step.contains("/hash@"))
        .count();
    assert_eq!(finished, 400);
    let keys = world.server.keys("/after");
    assert_eq!(keys[0], keys[1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_element_costs_the_same_however_many_there_are() {
    let world = World::with(|config| config.gateway.checkpoint_records = 1_000).await;
    let agent = looping(&world, "measured").await;
    let mut costs = Vec::new();
    for count in [1_000, 20_000] {
        let run = world.start(0, &agent, elements(count)).await;
        world.done(&run.name).await;
        let records = world.records(&run.name).await;
        let bytes: usize = records
            .iter()
            .filter(|record| record.step.contains("each:") || record.kind() == RecordKind::Checkpoint)
            .map(|record| record.body.len() + record.step.len())
            .sum();
        costs.push(bytes as f64 / count as f64);
    }
    println!("bytes per element: {costs:?}");
    assert!((costs[1] / costs[0] - 1.0).abs() < 0.1, "{costs:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_map_is_taken_over_with_calls_under_way() {
    let world = World::with(|config| config.gateway.checkpoint_records = 20).await;
    let map = component("map", "Map", json!({"concurrency": "4"}), &["Input"], &["Item", "Result", "Errors"]);
    let call = post("call", &world.server.url("/call"), json!({"body": "{{v}}"}));
    let hash =
        component("hash", "FHash", json!({"algorithm": "sha256", "encoding": "hex"}), &["Data"], &["Hash"]);
    let last = post("last", &world.server.url("/last"), json!({"body": "x"}));
    let links = ["go.x > map.Input", "map.Item > hash.Data", "hash.Hash > call.v", "map.Result > last.v"];
    let agent = world.put(&document("mapper", vec![endpoint(), map, hash, call, last], &links)).await;
    world.server.hold("/call");
    let run = world.start(0, &agent, elements(12)).await;
    // Four are under way, and no fifth.
    world.server.called("/call", 4).await;
    world.kill(0).await;
    world.server.called("/call", 8).await;
    world.server.release("/call");
    let answer = world.done(&run.name).await;
    assert_eq!(answer["result"]["Status"], 200, "{answer}");
    let keys = world.server.keys("/call");
    let distinct: std::collections::BTreeSet<&String> = keys.iter().collect();
    assert_eq!((keys.len(), distinct.len()), (16, 12), "what was under way is repeated under its key");
    let records = world.records(&run.name).await;
    let hashed = records
        .iter()
        .filter(|record| record.kind() == RecordKind::Finished && record.step.contains("/hash@"))
        .count();
    assert_eq!(hashed, 12);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_sleeps_on_under_its_next_owner() {
    let world = World::with(|config| config.gateway.checkpoint_records = 5).await;
    let settings = json!({"maxAttempts": "2", "delay": "2000"});
    let retry =
        component("retry", "Retry", settings, &["Input"], &["Attempt", "Number", "Result", "Attempts"]);
    let stop = component("stop", "Fail", json!({"message": "not {{n}}"}), &["n"], &["_error"]);
    let links = ["go.x > retry.Input", "retry.Number > stop.n"];
    let agent = world.put(&document("retrier", vec![endpoint(), retry, stop], &links)).await;
    let run = world.start(0, &agent, json!("x")).await;
    let is_first = |record: &sre_proto::memory::v1::JournalRecord| record.step.contains("retry:0/stop@");
    for _ in 0..500 {
        if world.records(&run.name).await.iter().any(is_first) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    world.kill(0).await;
    let answer = world.done(&run.name).await;
    let expected = json!({"_error": "not 2", "Attempts": 2, "Errors": ["not 1", "not 2"]});
    assert_eq!(answer["result"], expected, "{answer}");
    let records = world.records(&run.name).await;
    let of = |part: &str| {
        let finished = records.iter().filter(|record| record.kind() == RecordKind::Finished);
        finished.filter(|record| record.step.contains(part)).count()
    };
    assert_eq!((of("retry:0/stop@"), of("retry:1/stop@")), (1, 1));
    // The pause, and the whole.
    assert_eq!(of("retry@"), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_map_may_have_more_under_way_than_a_run_usually_has() {
    let world = World::new().await;
    let map =
        component("map", "Map", json!({"concurrency": "100"}), &["Input"], &["Item", "Result", "Errors"]);
    let call = post("call", &world.server.url("/wide"), json!({"body": "{{v}}"}));
    let agent = world
        .put(&document("wide", vec![endpoint(), map, call], &["go.x > map.Input", "map.Item > call.v"]))
        .await;
    world.server.hold("/wide");
    let run = world.start(0, &agent, elements(120)).await;
    world.server.called("/wide", 100).await;
    assert_eq!(world.server.count("/wide"), 100);
    world.server.release("/wide");
    let answer = world.done(&run.name).await;
    assert_eq!(answer["result"]["Result"].as_array().map(Vec::len), Some(120), "{answer}");
}
