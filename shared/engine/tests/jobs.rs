//! Async: rows 92 to 101 of `agent-execution.md` §12, as far as the engine has to do with them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may stop the test")]

mod support;

use serde_json::json;
use sre_engine::{ActivationKind, Run, RunOptions};
use support::Agent;

fn agent() -> Agent {
    Agent::new()
        .ep(&["x"])
        .asynchronous("J", &["x"])
        .add("A", "E")
        .links(&[("e.x", "J.x"), ("J.x", "A.Input")])
}

fn job(agent: &Agent, input: serde_json::Value) -> serde_json::Value {
    let plan = agent.plan();
    let serde_json::Value::Object(input) = input else { panic!("an object") };
    let options = RunOptions {
        job_id: "J-1".into(),
        job_input: sre_engine::value::map_from_json(input),
        ..support::options(&plan)
    };
    let mut run =
        Run::start(plan.clone(), plan.fork("J").unwrap(), sre_engine::RequestData::default(), options);
    support::drive_run(&mut run, 0);
    run.answer().legacy_json()
}

#[test]
fn rows_92_93_the_main_flow_knows_only_the_id() {
    assert_eq!(agent().run(json!({"x": 1})), json!([]));
    let leaf = agent().add("K", "E").link("J.JobID", "K.Input");
    assert_eq!(leaf.run(json!({"x": 1}))["result"]["Input"], json!("J-J@1"));
}

#[test]
fn rows_94_97_the_job_runs_the_branch() {
    let a = json!({"id": "A", "name": "E", "result": {"Output": {"Input": 1}, "Input": 1}});
    assert_eq!(job(&agent(), json!({"x": 1})), a);
    let with_id = agent().add("K", "E").link("J.JobID", "K.Input");
    assert_eq!(job(&with_id, json!({"x": 1})), a);
    let fails = Agent::new().ep(&["x"]).asynchronous("J", &["x"]).add("A", "FAIL");
    let fails = fails.links(&[("e.x", "J.x"), ("J.x", "A.Input")]);
    assert_eq!(
        job(&fails, json!({"x": 1})),
        json!({"id": "A", "name": "FAIL", "result": {"_error": "boom"}})
    );
}

#[test]
fn the_id_reaches_the_branch_itself() {
    let both = agent().with_inputs("B", "E", json!([{"name": "a"}, {"name": "id"}]));
    let both = both.links(&[("A.Output", "B.a"), ("J.JobID", "B.id")]);
    assert_eq!(job(&both, json!({"x": 1}))["result"]["id"], json!("J-1"));
}

#[test]
fn row_98_a_loop_collects_ids() {
    let agent =
        Agent::new().ep(&["x"]).for_each("F", "results-array").asynchronous("J", &["x"]).add("A", "E");
    let agent = agent.add("K", "E").links(&[
        ("e.x", "F.Input"),
        ("F.Loop", "J.x"),
        ("J.x", "A.Input"),
        ("F.Result", "K.Input"),
    ]);
    let ids = agent.run(json!({"x": [1, 2]}))["result"]["Input"].clone();
    assert_eq!(ids, json!(["J-F:0_J@2", "J-F:1_J@4"]));
}

#[test]
fn row_101_sync_values_alone_start_a_component() {
    let shared = agent().link("e.x", "A.Input");
    assert_eq!(shared.run(json!({"x": 1}))["result"]["Input"], json!(1));
}

#[test]
fn a_job_within_a_job_is_handed_to_the_driver() {
    let nested =
        agent().asynchronous("K", &["y"]).add("B", "E").links(&[("A.Output", "K.y"), ("K.y", "B.Input")]);
    let plan = nested.plan();
    let options = RunOptions { job_id: "J-1".into(), ..support::options(&plan) };
    let mut run =
        Run::start(plan.clone(), plan.fork("J").unwrap(), sre_engine::RequestData::default(), options);
    assert!(run.ready().is_empty(), "without input nothing runs");
    let options = RunOptions {
        job_id: "J-1".into(),
        job_input: [("x".into(), 1.into())].into(),
        ..support::options(&plan)
    };
    run = Run::start(plan.clone(), plan.fork("J").unwrap(), sre_engine::RequestData::default(), options);
    let first = run.ready();
    run.complete(&first[0].key, support::execute(&first[0])).unwrap();
    let second = run.ready();
    assert_eq!(second[0].node.id.as_ref(), "K");
    assert_eq!(second[0].kind, ActivationKind::Execute);
    assert!(plan.fork("K").is_some());
    assert!(plan.has_effects(plan.entry("e").unwrap()));
    assert_eq!(plan.scopes(plan.entry("e").unwrap()), ["sre.gateway.v1.Runs"]);
}
