//! Runs that are cancelled around a component with a body, or around one that ends at once: what is under way is
//! called once, and nothing after it is called at all.

use serde_json::{Value, json};
use sre_proto::gateway::v1::{CancelRunRequest, RunState};

use super::documents::{component, document, endpoint, post};
use super::world::{World, at};

/// A component with an output for its failures, which are no part of a default answer.
fn flow(id: &str, type_name: &str, data: Value, inputs: &[&str], outputs: &[&str]) -> Value {
    let mut flow = component(id, type_name, data, inputs, outputs);
    let outputs = flow["outputs"].as_array_mut().unwrap();
    outputs.push(json!({"name": "_error", "default": false}));
    flow
}

/// Runs an agent whose `/held` does not answer, cancels it there, and lets `/held` answer after all.
async fn cancelled_at_held(components: Vec<Value>, links: &[&str]) -> World {
    let world = World::new().await;
    world.server.hold("/held");
    let mut all = vec![
        endpoint(),
        post("held", &world.server.url("/held"), json!({"retries": 0})),
        post("after", &world.server.url("/after"), json!({})),
    ];
    all.extend(components);
    let agent = world.put(&document("flow", all, links)).await;
    let run = world.start(0, &agent, json!(1)).await;
    world.server.called("/held", 1).await;
    let request = CancelRunRequest { name: run.name.clone(), reason: "enough".into() };
    let cancelled = world.runs("user/dev").cancel_run(at(1, request)).await.unwrap().into_inner();
    assert_eq!(cancelled.state(), RunState::Cancelled);
    let answer: Value = serde_json::from_slice(&cancelled.legacy_json).unwrap();
    assert_eq!(answer, json!({"error": "AGENT_KILLED", "reason": "enough"}), "no part of it is an answer");
    world.server.release("/held");
    assert!(world.nothing_lives(&run.name).await);
    assert_eq!((world.server.count("/held"), world.server.count("/after")), (1, 0));
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_loop_begins_no_further_round() {
    let settings = json!({"operator": "truthy", "maxIterations": 50, "onError": "continue"});
    let again = flow("again", "Loop", settings, &["Input"], &["State", "Result", "Iterations"]);
    let links = ["go.x > again.Input", "again.State > held.v", "again.Result > after.v"];
    cancelled_at_held(vec![again], &links).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_error_handler_handles_nothing() {
    let handler =
        flow("safe", "ErrorHandler", json!({"fallback": 0}), &["Input"], &["Try", "Result", "Error"]);
    let links = ["go.x > safe.Input", "safe.Try > held.v", "safe.Result > after.v"];
    cancelled_at_held(vec![handler], &links).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_run_fails_with_no_words_of_a_fail_behind_it() {
    let fail = flow("no", "Fail", json!({"message": "no"}), &["Input"], &[]);
    let links = ["go.x > held.v", "held.Response > no.Input", "no._error > after.v"];
    cancelled_at_held(vec![fail], &links).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_branch_ends_with_its_cancelled_run() {
    // The failure is told, and what it is told to is under way when the run is cancelled.
    let fail = flow("no", "Fail", json!({"message": "no"}), &["Input"], &[]);
    let links = ["go.x > no.Input", "no._error > held.v", "held.Response > after.v"];
    cancelled_at_held(vec![fail], &links).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_code_runs_once_its_run_is_cancelled() {
    let code = flow("code", "Code", json!({"code_body": "_output = v;"}), &["v"], &["Output"]);
    let links = ["go.x > held.v", "held.Response > code.v", "code.Output > after.v", "code._error > after.v"];
    cancelled_at_held(vec![code], &links).await;
}
