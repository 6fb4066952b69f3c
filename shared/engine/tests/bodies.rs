//! Map, Loop, Retry and ErrorHandler: what is under way at a time, in which order things count, and what survives a
//! crash. What they come to in any graph is `against_model`'s.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may stop the test")]

mod support;

use std::sync::Arc;

use serde_json::{Value as Json, json};
use sre_engine::{
    Activation, Checkpoint, Limits, Outcome, PAUSE_INPUT, Plan, RequestData, Run, RunOptions, Status, Value,
};
use support::{Agent, Doubles, drive_run, execute, options};

/// EP(x) → F, F.<hands> → A of a type, F.Result → R.
fn bodied(type_name: &str, data: Json, hands: &str, body: &str) -> Agent {
    let outputs =
        json!([{"name": hands, "default": true}, {"name": "Result", "default": true}, {"name": "_error"}]);
    Agent::new()
        .ep(&["x"])
        .full("F", type_name, data, json!([{"name": "Input"}]), outputs)
        .add("A", body)
        .add("R", "E")
        .links(&[("e.x", "F.Input"), ("F.Result", "R.Input")])
        .link(&format!("F.{hands}"), "A.Input")
}

fn start(agent: &Agent, x: Json) -> (Arc<Plan>, Run) {
    let plan = agent.plan();
    let options = options(&plan);
    let run = Run::start(plan.clone(), plan.entry("e").unwrap(), request(x), options);
    (plan, run)
}

fn request(x: Json) -> RequestData {
    RequestData::post("/api/e", json!({ "x": x }).into())
}

fn elements(ready: &[Activation]) -> Vec<u32> {
    ready.iter().map(|it| it.key.path.first().map_or(u32::MAX, |step| step.index)).collect()
}

#[test]
fn a_map_has_so_many_under_way_and_no_more() {
    let map = bodied("Map", json!({"concurrency": "3"}), "Item", "E");
    let list: Vec<u32> = (0..8).collect();
    let (plan, mut run) = start(&map, json!(list));
    assert_eq!(plan.widest_map(), 3);
    let first = run.ready();
    assert_eq!(elements(&first), [0, 1, 2]);
    // Whichever ends, the next one starts; all elements have the round in which the map started.
    run.complete(&first[1].key, execute(&first[1])).unwrap();
    let next = run.ready();
    assert_eq!(elements(&next), [3]);
    assert_eq!(next[0].key.round, first[0].key.round);
    drive_run_with(&mut run, vec![first[2].clone(), next[0].clone(), first[0].clone()]);
    let answer = run.answer().legacy_json();
    let inputs: Vec<Json> = list.iter().map(|at| json!({ "Input": at })).collect();
    assert_eq!(answer["result"]["Input"], json!(inputs));
}

/// Ends what is under way, then the rest.
fn drive_run_with(run: &mut Run, under_way: Vec<Activation>) {
    for activation in under_way {
        run.complete(&activation.key, execute(&activation)).unwrap();
    }
    drive_run(run, 0);
}

#[test]
fn a_map_of_many_holds_no_more_scopes_than_are_under_way() {
    let map = bodied("Map", json!({"concurrency": 4}), "Item", "PICKY");
    let map = map.output("O", json!({"format": "minimal"}), &["r"]).link("F.Result", "O.r");
    let list: Vec<u32> = (0..20_000).collect();
    let (_, mut run) = start(&map, json!(list));
    let mut most = 0;
    loop {
        let ready = run.ready();
        if ready.is_empty() {
            break;
        }
        most = most.max(ready.len());
        // The last first, so that results wait for their turn.
        for activation in ready.iter().rev() {
            run.complete(&activation.key, execute(activation)).unwrap();
        }
    }
    assert_eq!(most, 4);
    assert_eq!(run.status(), Status::Finished);
    let answer = run.answer().legacy_json();
    let results = answer[1]["r"].as_array().unwrap();
    assert_eq!((results.len(), &results[19_999]), (20_000, &json!("ok-19999")));
}

#[test]
fn what_elements_send_outside_is_in_their_order() {
    let map = bodied("Map", json!({"concurrency": 3}), "Item", "PICKY");
    let map = map.with_inputs("Z", "E", json!([{"name": "p"}, {"name": "q"}]));
    let map = map.links(&[("A.Output", "Z.p"), ("F.Result", "Z.q")]);
    // `run` tries twenty orders, which must agree.
    let answer = map.run(json!({"x": ["a", "b", "c", "d"]}));
    let z = answer.as_array().unwrap().iter().find(|it| it["id"] == "Z").unwrap();
    assert_eq!(z["result"]["p"], json!(["ok-a", "ok-b", "ok-c", "ok-d"]));
}

#[test]
fn a_map_that_stops_counts_nothing_behind_the_failure() {
    let map = bodied("Map", json!({"concurrency": 3, "onError": "stop"}), "Item", "PICKY");
    let map = map.with_inputs("Z", "E", json!([{"name": "p"}, {"name": "q"}]));
    let map = map.links(&[("A.Output", "Z.p"), ("F._error", "Z.q")]);
    let answer = map.run(json!({"x": ["a", "bad", "c", "d", "e"]}));
    let z = answer.as_array().unwrap().iter().find(|it| it["id"] == "Z").unwrap();
    assert_eq!(z["result"]["p"], json!("ok-a"), "{answer}");
    assert_eq!(z["result"]["q"], json!("element 1: picky"));
    // What had not started does not start any more.
    let (_, mut run) = start(&map, json!(["bad", "b", "c", "d", "e"]));
    let first = run.ready();
    assert_eq!(elements(&first), [0, 1, 2]);
    run.complete(&first[0].key, execute(&first[0])).unwrap();
    assert!(run.ready().is_empty());
    drive_run_with(&mut run, first[1..].to_vec());
}

#[test]
fn a_map_goes_on_from_a_checkpoint_with_results_that_wait_for_their_turn() {
    let map = bodied("Map", json!({"concurrency": 5}), "Item", "PICKY");
    let list = json!(["a", "b", "bad", "d", "e", "f", "g"]);
    let (plan, mut run) = start(&map, list.clone());
    let mut chain = Vec::new();
    let mut under_way = run.ready();
    for _ in 0..4 {
        let last = under_way.pop().unwrap();
        run.complete(&last.key, execute(&last)).unwrap();
        under_way.extend(run.ready());
        chain.push(Checkpoint::decode(&run.checkpoint().encode()).unwrap());
    }
    drive_run_with(&mut run, under_way);
    let entry = plan.entry("e").unwrap();
    let mut again = Run::restore(plan.clone(), entry, request(list), options(&plan), chain).unwrap();
    drive_run(&mut again, 5);
    assert_eq!(again.answer(), run.answer());
    let expected = json!(["ok-a", "ok-b", {"_error": "picky"}, "ok-d", "ok-e", "ok-f", "ok-g"]);
    assert_eq!(run.answer().legacy_json()["result"]["Input"], expected);
}

#[test]
fn a_cancelled_map_starts_nothing_more() {
    let (_, mut run) = start(&bodied("Map", json!({}), "Item", "E"), json!([1, 2, 3]));
    let first = run.ready();
    run.cancel("enough");
    assert_eq!(run.complete(&first[0].key, execute(&first[0])), Ok(()));
    assert!(run.ready().is_empty());
    assert_eq!(run.answer().legacy_json(), json!({"error": "AGENT_KILLED", "reason": "enough"}));
}

#[test]
fn rounds_are_bounded_like_elements() {
    let limits = Limits { loop_iterations: 3, ..Limits::default() };
    let run = |agent: &Agent, x: Json| {
        let plan = agent.plan();
        let options = RunOptions { limits, ..options(&plan) };
        let mut run = Run::start(plan.clone(), plan.entry("e").unwrap(), request(x), options);
        drive_run(&mut run, 0);
        run.answer().legacy_json().to_string()
    };
    let map = run(&bodied("Map", json!({}), "Item", "E"), json!([1, 2, 3, 4]));
    assert!(map.contains("the loop has 4 elements, the limit is 3"), "{map}");
    let repeat = run(&bodied("Loop", json!({"maxIterations": 50}), "State", "E"), json!(1));
    assert!(repeat.contains("still holds after 3 rounds"), "{repeat}");
    // The rounds of a loop are no circle.
    let many = bodied("Loop", json!({"maxIterations": 500, "onLimit": "stop"}), "State", "RAW");
    assert!(!many.run(json!({"x": 1})).to_string().contains("Circular"));
}

#[test]
fn pauses_are_executed_and_have_names_of_their_own() {
    let retry = bodied("Retry", json!({"maxAttempts": 3, "delay": 250}), "Attempt", "PICKY");
    let (plan, mut run) = start(&retry, json!("bad"));
    let (mut names, mut pauses, mut reports) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        let Some(activation) = run.ready().pop() else { break };
        names.push(activation.key.to_string());
        pauses.extend(activation.input.get(PAUSE_INPUT).map(Value::to_text));
        reports.push((activation.key.clone(), execute(&activation)));
        run.complete(&activation.key, execute(&activation)).unwrap();
    }
    assert_eq!(names, ["F:0/A@2", "F@3", "F:1/A@5", "F@6", "F:2/A@8"]);
    assert_eq!(pauses, ["250", "500"]);
    let expected = json!({"_error": "picky", "Attempts": 3, "Errors": ["picky", "picky", "picky"]});
    assert_eq!(run.answer().legacy_json()["result"], expected);
    // Folding the journal in the middle of a pause comes to the same pause.
    let mut folded =
        Run::start(plan.clone(), plan.entry("e").unwrap(), request(json!("bad")), options(&plan));
    folded.complete(&reports[0].0, reports[0].1.clone()).unwrap();
    let pause = folded.ready().pop().unwrap();
    assert_eq!((pause.key.to_string(), pause.node.type_name.as_ref()), ("F@3".to_owned(), "Retry"));
    // A pause that fails ends it.
    folded.complete(&pause.key, Outcome::error("Agent killed")).unwrap();
    assert_eq!(folded.answer().legacy_json()["result"]["_error"], "Agent killed");
}

#[test]
fn jitter_is_the_same_whenever_it_is_folded() {
    let retry = bodied("Retry", json!({"delay": 10_000, "jitter": true}), "Attempt", "FAIL");
    let pause = || {
        let (_, mut run) = start(&retry, json!(1));
        let attempt = run.ready().pop().unwrap();
        run.complete(&attempt.key, execute(&attempt)).unwrap();
        run.ready().pop().unwrap().input[PAUSE_INPUT].as_f64().unwrap()
    };
    assert!((5_000.0..=10_000.0).contains(&pause()), "{}", pause());
    assert_eq!(pause(), pause());
}

#[test]
fn bodies_nest() {
    // A Map of a Retry of an ErrorHandler, each with the next in its body.
    let ports = |hands: &str, gives: &str| json!([{"name": hands, "default": true}, {"name": gives, "default": true}]);
    let input = || json!([{"name": "Input"}]);
    let agent = Agent::new()
        .ep(&["x"])
        .full("M", "Map", json!({"concurrency": 2}), input(), ports("Item", "Result"))
        .full("T", "Retry", json!({"maxAttempts": 2, "delay": 1}), input(), ports("Attempt", "Result"))
        .full("H", "ErrorHandler", json!({"fallback": "<{{message}}>"}), input(), ports("Try", "Result"))
        .add("A", "PICKY")
        .add("R", "E")
        .links(&[("e.x", "M.Input"), ("M.Item", "T.Input"), ("T.Attempt", "H.Input"), ("H.Try", "A.Input")])
        .link("M.Result", "R.Input");
    let answer = agent.run(json!({"x": ["a", "bad"]}));
    // The value of each is its result: what the handler made of a failure is what the attempt came to.
    assert_eq!(answer["result"]["Input"], json!(["ok-a", "<picky>"]), "{answer}");
}

#[test]
fn documents_are_compiled_as_ever() {
    let json = bodied("Map", json!({}), "Item", "E").json();
    assert!(sre_engine::compile(&json, &Doubles).is_ok());
}
