//! Sessions against the rows of §12, the recorded shapes of §6.3, and runs.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::testing::support::{Agent, drive, execute, options, resolve};
use crate::{ActivationKind, Limits};

const SESSION: &str = "dbg-1";

fn started(agent: &Agent, body: Json) -> DebugRun {
    let plan = agent.plan();
    let entry = plan.entry("e").unwrap();
    let options = options(&plan);
    DebugRun::start(plan, entry, RequestData::post("/api/e", body.into()), options)
}

fn empty(agent: &Agent) -> DebugRun {
    let plan = agent.plan();
    let options = options(&plan);
    DebugRun::empty(plan, options)
}

/// One cycle, after the session went through its written form.
fn step(run: &mut DebugRun) -> StepReport {
    let text = serde_json::to_string(&run.state()).unwrap();
    let state: DebugState = serde_json::from_str(&text).unwrap();
    *run = DebugRun::restore(run.plan.clone(), state, run.options.clone()).unwrap();
    let mut ready = run.cycle();
    while !ready.is_empty() {
        for activation in ready {
            match &activation.kind {
                ActivationKind::Execute => run.complete(&activation.key, execute(&activation)).unwrap(),
                ActivationKind::Resolve(needs) => {
                    run.resolve(&activation.key, needs.iter().map(resolve).collect()).unwrap();
                }
            }
        }
        ready = run.ready();
    }
    run.finish_cycle().unwrap()
}

fn json_step(run: &mut DebugRun) -> Json {
    step(run).legacy_step_json(SESSION)
}

fn to_end(run: &mut DebugRun) -> (Json, usize) {
    for cycles in 1..3_000 {
        if let Some(answer) = step(run).answer {
            return (answer.legacy_json(), cycles);
        }
    }
    panic!("the session does not end");
}

fn ran(report: &StepReport) -> Vec<&str> {
    report.executed.iter().map(|it| it.component.as_ref()).collect()
}

fn chain() -> Agent {
    Agent::new().ep(&["x"]).add("A", "E").add("B", "E").links(&[("e.x", "A.Input"), ("A.Output", "B.Input")])
}

#[test]
fn row_111_start_and_steps() {
    let mut run = started(&chain(), json!({"x": 1}));
    let first = json_step(&mut run);
    let request = json!({"headers": {}, "body": {"x": 1}, "query": {}, "params": {}, "_debug": ""});
    assert_eq!(
        first,
        json!({"state": [{"id": "A", "name": "E", "inputs": {"Input": 1}},
                {"id": "e", "name": "APIEndpoint", "result": request}],
            "dbgSession": SESSION, "sessionResults": [], "errorResults": [], "sessionClosed": false})
    );
    assert_eq!(ran(&step(&mut run)), ["A"]);
    let last = json_step(&mut run);
    let b = json!({"Output": {"Input": {"Input": 1}}, "Input": {"Input": 1}});
    let mut shown = b.clone();
    shown["_debug"] = json!("");
    let (leaf, entry) = (
        json!({"id": "B", "name": "E", "result": shown}),
        json!({"id": "B", "name": "E label", "result": shown}),
    );
    assert_eq!(
        last,
        json!({"state": [leaf, entry], "dbgSession": SESSION, "sessionResult": true,
            "sessionResults": [leaf, entry], "errorResults": [], "sessionClosed": true,
            "finalResult": {"id": "B", "name": "E", "result": b}})
    );
    // A step on a closed session runs nothing and tells the result again.
    let again = json_step(&mut run);
    assert_eq!((&again["state"], &again["finalResult"]), (&json!([]), &last["finalResult"]));
}

/// The recorded session: every step calls the endpoint again.
#[test]
fn steps_on_the_endpoints_path_call_it_again() {
    let agent = Agent::new().ep(&["x"]).add("H", "E").output("O", json!({"format": "minimal"}), &["v"]);
    let agent = agent.links(&[("e.x", "H.Input"), ("H.Input", "O.v")]);
    let outputs = json!([{"name": "Output", "default": true}, {"name": "Input"}]);
    let mut document = agent.json();
    document["components"][1]["outputs"] = outputs;
    document["connections"][1]["sourceIndex"] = json!(1);
    let plan = Arc::new(crate::compile(&document, &crate::testing::support::Doubles).unwrap());
    let entry = plan.entry("e").unwrap();
    let request = RequestData::post("/api/e", json!({"x": "v"}).into());
    let mut run = DebugRun::empty(plan.clone(), options(&plan));
    let mut steps = Vec::new();
    for _ in 0..4 {
        run.call_again(entry, request.clone());
        steps.push(step(&mut run));
    }
    let executed: Vec<_> = steps.iter().map(ran).collect();
    assert_eq!(executed, [vec!["e"], vec!["e", "H"], vec!["e", "O"], vec!["e", "H"]]);
    let third = steps[2].legacy_step_json(SESSION);
    let shown = json!({"Output": {"v": "v"}, "_debug": ""});
    let entry = json!({"id": "O", "name": "APIOutput label", "result": shown});
    let leaf = json!({"id": "O", "name": "APIOutput", "result": shown});
    assert_eq!(third["state"][1], json!([leaf, entry]));
    assert_eq!(third["state"][0][0], json!({"id": "H", "name": "E", "inputs": {"Input": "v"}}));
    assert_eq!(third["sessionResults"], json!([leaf, entry]));
    assert_eq!(third["sessionClosed"], false);
    assert_eq!(third.get("finalResult"), None);
    assert_eq!(steps[3].legacy_step_json(SESSION)["sessionResults"], json!([]));
}

#[test]
fn row_112_sessions_that_are_gone() {
    assert_eq!(legacy_expired_json("x")["expiredDbgSession"], "x");
    assert_eq!(
        legacy_stopped_json("x"),
        json!({"sessionClosed": true, "dbgSession": null, "expiredDbgSession": "x"})
    );
    let mut run = started(&chain(), json!({"x": 1}));
    step(&mut run);
    run.stop();
    assert!(run.cycle().is_empty() && run.due().is_empty());
    assert!(run.finish_cycle().unwrap().closed);
}

fn injected(run: &mut DebugRun, body: Json) -> Result<StepReport, DebugError> {
    run.inject(Injection::from_legacy(&body.into())?)?;
    Ok(step(run))
}

#[test]
fn rows_113_114_injected_outputs_stand_for_executions() {
    let mut run = empty(&chain());
    let body =
        json!([{"id": "A", "ctx": {"active": true, "input": {"Input": 5}, "output": {"Output": "INJ"}}}]);
    let report = injected(&mut run, body).unwrap();
    assert!(report.executed[0].mocked && !report.closed);
    assert_eq!(report.legacy_step_json(SESSION)["state"][0]["inputs"], json!({"Input": "INJ"}));
    assert_eq!(step(&mut run).answer.unwrap().legacy_json()["result"]["Input"], "INJ");
    for (output, mocked) in [
        (json!({"Output": 0, "z": false}), true),
        (json!({"Output": null}), true),
        (json!({"Output": "", "z": []}), false),
        (json!({}), false),
    ] {
        let body = json!([{"id": "A", "ctx": {"active": true, "input": {"Input": 5}, "output": output}}]);
        let report = injected(&mut empty(&chain()), body).unwrap();
        assert_eq!(report.executed[0].mocked, mocked, "{output}");
    }
}

#[test]
fn row_114a_an_injected_input_replaces_what_is_held() {
    let mut run = started(&chain(), json!({"x": 1}));
    step(&mut run);
    let report =
        injected(&mut run, json!([{"id": "A", "ctx": {"active": true, "input": {"Input": 5}}}])).unwrap();
    assert_eq!(report.executed[0].output.get("Input"), Some(&5.into()));
}

#[test]
fn what_is_not_injected_waits() {
    let agent = chain().add("C", "E").link("e.x", "C.Input");
    let mut run = started(&agent, json!({"x": 1}));
    step(&mut run);
    assert_eq!(run.due().len(), 2);
    let report = injected(&mut run, json!([{"id": "C", "ctx": {"active": true}}])).unwrap();
    assert_eq!(ran(&report), ["C"]);
    assert_eq!(ran(&step(&mut run)), ["A"]);
    // Mocks alone run nothing and end nothing.
    let report =
        injected(&mut run, json!([{"id": "B", "ctx": {"active": false, "output": {"Output": "M"}}}]));
    assert!(report.as_ref().is_ok_and(|it| it.executed.is_empty() && !it.closed), "{report:?}");
    let last = step(&mut run);
    assert!(last.executed[0].mocked);
    let answer = last.answer.unwrap().legacy_json();
    assert_eq!(answer[1]["result"], json!({"Output": "M"}));
}

#[test]
fn what_is_injected_without_its_inputs_says_so() {
    let report = injected(&mut empty(&chain()), json!([{"id": "A", "ctx": {"active": true}}])).unwrap();
    let told = report.legacy_step_json(SESSION);
    assert_eq!(
        told["state"],
        json!([[], {"id": "A", "name": "E label", "result": {
            "_error": "Missing inputs : [\"Input\"]", "_missing_inputs": ["Input"]}}])
    );
    assert_eq!((&told["sessionResult"], &told["sessionClosed"]), (&json!(true), &json!(false)));
    assert_eq!(told["sessionResults"], json!([]));
    let body = json!([{"id": "e", "ctx": {"active": true, "input": {"x": 3}}}]);
    let report = injected(&mut empty(&chain()), body).unwrap();
    assert_eq!(report.executed[0].output.path("body.x"), Some(3.into()));
    assert_eq!(report.executed[0].activated(), ["A".into()]);
}

#[test]
fn injections_of_another_shape_are_refused_with_the_reason() {
    let mut run = empty(&chain());
    for (body, reason) in [
        (json!({"id": "A"}), "the body is a object"),
        (json!([{"ctx": {}}]), "item 0 has no id"),
        (json!([{"id": "A", "ctx": 5}]), "ctx of A is a number"),
        (json!([{"id": "A", "ctx": {"input": []}}]), "input of A is a array"),
    ] {
        let error = Injection::from_legacy(&body.into()).unwrap_err().to_string();
        assert!(error.starts_with(reason), "{error}");
    }
    let unknown = injected(&mut run, json!([{"id": "Z", "ctx": {"active": true}}])).unwrap_err();
    assert_eq!(unknown, DebugError::NoComponent("Z".into()));
    assert_eq!(run.set_mocks([("Z".into(), 1.into())].into()), Err(DebugError::NoComponent("Z".into())));
}

#[test]
fn failures_and_their_handlers() {
    let handled =
        Agent::new().ep(&["x"]).add("A", "FAIL").add("H", "E").links(&[("e.x", "A.0"), ("A._error", "H.0")]);
    let mut run = started(&handled, json!({"x": 1}));
    step(&mut run);
    let told = json_step(&mut run);
    assert_eq!(told["state"][0]["inputs"], json!({"Input": "boom"}));
    assert_eq!(told["errorResults"][0]["result"]["_error_handled"], true);
    assert_eq!(to_end(&mut run).0["id"], "H");
    let hard =
        Agent::new().ep(&["x"]).add("A", "HARD").add("B", "E").links(&[("e.x", "A.0"), ("A.Output", "B.0")]);
    let mut run = started(&hard, json!({"x": 1}));
    step(&mut run);
    let told = json_step(&mut run);
    assert_eq!(
        told["state"][1],
        json!({"id": "A", "name": "HARD label", "result": null, "error": "hard", "_debug": ""})
    );
    assert_eq!(
        told["finalResult"],
        json!({"id": "A", "name": "HARD label", "result": null, "error": "hard"})
    );
}

#[test]
fn a_read_tells_what_the_last_cycle_touched() {
    let mut run = started(&chain(), json!({"x": 1}));
    step(&mut run);
    let told = run.legacy_read_json(SESSION);
    assert_eq!(told["step"], 1);
    let state = told["state"].as_object().unwrap();
    assert_eq!(state.keys().collect::<Vec<_>>(), ["e", "A"]);
    assert_eq!((&state["A"]["active"], &state["A"]["input"]), (&json!(true), &json!({"Input": 1})));
    assert_eq!((&state["e"]["active"], &state["A"]["sourceId"]), (&json!(false), &json!("e")));
    let components: Vec<DebugComponent> = run.components().collect();
    assert_eq!(components.len(), 3);
    assert_eq!(components[1].standing, Standing::Ready);
}

#[test]
fn circles_are_stopped() {
    let agent = chain().link("B.Output", "A.Input");
    let mut run = started(&agent, json!({"x": 1}));
    let (answer, _) = to_end(&mut run);
    let message = "Circular Calls Limit Reached on A. Current circular limit is 100";
    assert_eq!(answer, json!({ "error": message }));
    assert_eq!(json_step(&mut run), json!({ "error": message }));
    assert_eq!(run.legacy_read_json(SESSION)["error"], message);
}

#[test]
fn a_loop_takes_a_cycle_per_round_and_component() {
    let agent = Agent::new().ep(&["x"]).for_each("F", "minimal").add("A", "E").add("R", "E");
    let agent = agent.links(&[("e.x", "F.Input"), ("F.Loop", "A.Input"), ("F.Result", "R.Input")]);
    let mut run = started(&agent, json!({"x": ["a", "b"]}));
    let mut seen = Vec::new();
    while !run.is_closed() {
        seen.push(step(&mut run).executed.iter().map(|it| it.component.to_string()).collect::<String>());
    }
    assert_eq!(seen, ["e", "F", "A", "F", "A", "F", "R"]);
    let many: Vec<u32> = (0..150).collect();
    let (answer, _) = to_end(&mut started(&agent, json!({ "x": many })));
    assert_eq!(answer["result"]["Input"].as_array().unwrap().len(), 150);
}

#[test]
fn a_state_of_another_agent_or_release_is_refused() {
    let run = started(&chain(), json!({"x": 1}));
    let other = Agent::new().ep(&["x"]).plan();
    let mut state = run.state();
    state.session.origins = vec!["Z".into()];
    assert!(DebugRun::restore(other.clone(), state, options(&other)).is_err());
    let mut state = run.state();
    state.format = 2;
    assert_eq!(DebugRun::restore(other.clone(), state, options(&other)).unwrap_err(), DebugError::Format(2));
}

/// Agents in which every input is connected once, to something before it: no component runs twice at the
/// same place, so that sessions and runs must agree.
fn orderly() -> impl Strategy<Value = Agent> {
    const KINDS: [&str; 13] = [
        "E",
        "E",
        "E",
        "PICKY",
        "FAIL",
        "HARD",
        "IS",
        "ForEach",
        "ForEach",
        "Map",
        "Loop",
        "Retry",
        "ErrorHandler",
    ];
    let component = (0..KINDS.len(), 0..100usize, 0..2usize, 0..100usize, 0..2usize, any::<bool>());
    proptest::collection::vec(component, 1..9).prop_map(|components| {
        let mut agent = Agent::new().ep(&["x", "y"]);
        for (index, (kind, ..)) in components.iter().enumerate() {
            let inputs = json!([{"name": "Input"}, {"name": "q"}]);
            let outputs = match KINDS[*kind] {
                "ForEach" => json!([{"name": "Loop", "default": true}, {"name": "Result", "default": true}]),
                "Map" => json!([{"name": "Item", "default": true}, {"name": "Result", "default": true}]),
                "Loop" => json!([{"name": "State", "default": true}, {"name": "Result", "default": true}]),
                "Retry" => json!([{"name": "Attempt", "default": true}, {"name": "Attempts", "default": true}]),
                "ErrorHandler" => json!([{"name": "Try", "default": true}, {"name": "Message", "default": true}]),
                "IS" => json!([{"name": "Yes", "default": true}, {"name": "No", "default": true}]),
                _ => json!([{"name": "Output", "default": true}, {"name": "_error"}]),
            };
            let data = json!({"format": "minimal", "maxIterations": 1 + index % 3, "maxAttempts": 1 + index % 3,
                "onError": if KINDS[*kind] == "Map" && index % 2 == 0 { "collect" } else { "stop" }});
            agent =
                agent.full(&format!("N{index}"), KINDS[*kind], data, inputs, outputs);
        }
        for (index, (_, first, output, second, other, joins)) in components.iter().enumerate() {
            let source = |pick: usize, output: usize| match pick % (index + 1) {
                0 => format!("e.{}", 3 + output),
                node => format!("N{}.{output}", node - 1),
            };
            agent = agent.link(&source(*first, *output), &format!("N{index}.Input"));
            if *joins {
                agent = agent.link(&source(*second, *other), &format!("N{index}.q"));
            }
        }
        agent
    })
}

fn sorted(answer: Json) -> Vec<String> {
    let entries = match answer {
        Json::Array(entries) => entries,
        single => vec![single],
    };
    let mut texts: Vec<String> = entries.iter().map(Json::to_string).collect();
    texts.sort();
    texts
}

/// The agent in a line.
fn outline(agent: &Agent) -> String {
    let document = agent.json();
    let text = |json: &Json| json.as_str().map_or_else(|| json.to_string(), str::to_owned);
    let nodes = document["components"].as_array().unwrap().iter();
    let nodes = nodes.map(|it| format!("{}:{}", text(&it["id"]), text(&it["name"])));
    let links = document["connections"].as_array().unwrap().iter().map(|it| {
        let end = |id: &str, port: &str| format!("{}.{}", text(&it[id]), text(&it[port]));
        format!("{}->{}", end("sourceId", "sourceIndex"), end("targetId", "targetIndex"))
    });
    nodes.chain(links).collect::<Vec<_>>().join(" ")
}

/// Bodies that share components without one lying in the other: what such a component gets when is open.
fn loops_cross(plan: &Plan) -> bool {
    let graph = Graph::of(plan);
    let all = || 0..plan.nodes.len() as u32;
    all().any(|node| {
        let around: Vec<u32> = all().filter(|of| graph.is_in_body(*of, node)).collect();
        around
            .iter()
            .any(|a| around.iter().any(|b| a != b && !graph.is_in_body(*a, *b) && !graph.is_in_body(*b, *a)))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_session_comes_to_the_answer_of_a_run(agent in orderly()) {
        let body = json!({"x": [1, "bad", [2, 3]], "y": "k"});
        let plan = agent.plan();
        prop_assume!(!loops_cross(&plan));
        let answer = drive(&plan, &RequestData::post("/api/e", body.clone().into()), options(&plan), 0);
        let (session, _) = to_end(&mut started(&agent, body));
        // In which cycle a loop that waits for others goes on differs, and with it the order of results.
        prop_assert_eq!(sorted(session), sorted(answer.legacy_json()), "{}", outline(&agent));
    }

    #[test]
    fn any_session_ends(agent in crate::testing::agents(), pick in any::<usize>()) {
        let plan = agent.plan();
        let mut options = options(&plan);
        // Loops in loops over large lists end too, after minutes.
        options.limits = Limits { circular: 8, loop_iterations: 50, output_bytes: 4_000 };
        let mut run = DebugRun::empty(plan.clone(), options);
        let nodes = plan.nodes();
        let body = json!([{"id": &*nodes[pick % nodes.len()].id, "ctx": {"active": true, "input":
            {"Input": [1, 2], "q": "k", "x": ["a", [1]]}}}]);
        prop_assert!(injected(&mut run, body).is_ok());
        to_end(&mut run);
        let entry = plan.entry("e").unwrap();
        run.call_again(entry, RequestData::post("/api/e", json!({"x": [1, "bad"], "y": "k"}).into()));
        to_end(&mut run);
    }
}
