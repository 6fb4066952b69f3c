//! Loops: rows 78 to 91 of `agent-execution.md` §12, rulings 19 and 20, and bodies of any shape.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may stop the test")]

mod support;

use serde_json::{Value as Json, json};
use support::Agent;

/// EP(x,y)→F, F.Result→R, with components to hang into the body.
fn looped(format: &str) -> Agent {
    let agent = Agent::new().ep(&["x", "y"]).for_each("F", format);
    agent.output("R", json!({"format": "minimal"}), &["r"]).links(&[("e.x", "F.Input"), ("F.Result", "R.r")])
}

fn simple(format: &str) -> Agent {
    looped(format).add("A", "E").link("F.Loop", "A.Input")
}

fn results(agent: &Agent, body: Json) -> Json {
    agent.run(body)["r"].clone()
}

fn echo(input: Json) -> Json {
    json!({"Output": {"Input": input}, "Input": input})
}

#[test]
fn rows_78_to_80_formats() {
    let body = json!({"x": ["a", "b"]});
    assert_eq!(results(&simple("minimal"), body.clone()), json!([echo(json!("a")), echo(json!("b"))]));
    let entry = |input: &str| json!({"id": "A", "name": "E", "result": echo(json!(input))});
    assert_eq!(results(&simple("full"), body.clone()), json!([entry("a"), entry("b")]));
    assert_eq!(results(&simple("weird"), body.clone()), json!([entry("a"), entry("b")]));
    let flat = json!([{"Input": "a"}, "a", {"Input": "b"}, "b"]);
    assert_eq!(results(&simple("results-array"), body), flat);
    let nested = looped("results-array").raw("A", json!({"Output": [1, [2, [3]]], "_error": null}));
    assert_eq!(results(&nested.link("F.Loop", "A.0"), json!({"x": [0]})), json!([1, 2, 3]));
}

#[test]
fn row_81_elements() {
    for (input, elements) in [
        (json!("a, b"), json!(["a", " b"])),
        (json!("[1,2]"), json!([1, 2])),
        (json!({"a": 1, "b": 2}), json!([{"a": 1, "b": 2}])),
        (json!([]), json!([])),
        (json!(["a", null, "c"]), json!(["a", null, "c"])),
        (json!(null), json!([null])),
        (json!(5), json!([5])),
        (json!("[broken"), json!(["broken"])),
    ] {
        let expected: Vec<Json> = elements.as_array().unwrap().iter().cloned().map(echo).collect();
        assert_eq!(results(&simple("minimal"), json!({"x": input})), Json::from(expected), "{input}");
    }
}

#[test]
fn rows_82_83_failures_in_the_body() {
    let body = json!({"x": ["a", "bad", "c"]});
    let picky = |format: &str| looped(format).add("A", "PICKY").link("F.Loop", "A.Input");
    let ok = |text: &str| json!({"Output": text});
    assert_eq!(
        picky("minimal").run(body.clone()),
        json!({"r": [ok("ok-a"), {"_error": "picky"}, ok("ok-c")]})
    );
    let full = results(&picky("full"), body.clone());
    assert_eq!(full[1], json!({"id": "A", "name": "PICKY", "result": {"_error": "picky"}}));
    assert_eq!(results(&picky("results-array"), body.clone()), json!(["ok-a", "ok-c"]));
    let handled = picky("minimal").add("H", "E").link("A._error", "H.Input");
    assert_eq!(results(&handled, body), json!([ok("ok-a"), echo(json!("picky")), ok("ok-c")]));
}

#[test]
fn row_84_external_inputs_are_there_in_every_round() {
    let ports = json!([{"name": "Input"}, {"name": "q"}]);
    let agent = looped("minimal").with_inputs("A", "E", ports).link("F.Loop", "A.Input");
    let direct = agent.clone().link("e.y", "A.q");
    let expected: Vec<Json> = ["a", "b", "c"]
        .iter()
        .map(|x| json!({"Output": {"Input": x, "q": "k"}, "Input": x, "q": "k"}))
        .collect();
    let mut got = results(&direct, json!({"x": ["a", "b", "c"], "y": "k"}));
    assert_eq!(got, Json::from(expected));
    assert_eq!(direct.run(json!({"x": ["a", "b"]})), json!({"r": []}));
    // The external value may take its time: the loop waits for it.
    let slow = agent.raw("S", json!({"Output": "k"})).add("T", "E").raw("U", json!({"Output": "k"}));
    let slow = slow.links(&[("e.y", "S.0"), ("S.Output", "T.0"), ("T.Output", "U.0"), ("U.Output", "A.q")]);
    got = results(&slow, json!({"x": ["a", "b"], "y": "k"}));
    assert_eq!(got.as_array().unwrap().len(), 2);
    assert_eq!(got[1]["q"], "k");
}

#[test]
fn row_85_nested_loops() {
    let inner = looped("minimal").for_each("G", "minimal").add("A", "E");
    let inner = inner.links(&[("F.Loop", "G.Input"), ("G.Loop", "A.Input")]);
    let body = json!({"x": [["a", "b"], ["c"]]});
    let a = |x: &str| echo(json!(x));
    assert_eq!(results(&inner, body.clone()), json!([{"Result": [a("a"), a("b")]}, {"Result": [a("c")]}]));
    let chained = inner.add("S", "E").link("G.Result", "S.Input");
    assert_eq!(results(&chained, body), json!([echo(json!([a("a"), a("b")])), echo(json!([a("c")]))]));
}

#[test]
fn nested_loops_take_external_inputs_at_every_depth() {
    let ports = json!([{"name": "Input"}, {"name": "q"}, {"name": "p"}]);
    let agent =
        looped("results-array").for_each("G", "results-array").with_inputs("A", "E", ports).add("M", "IS");
    // q comes from the request, p from the outer loop's body.
    let agent = agent.full(
        "P",
        "RAW",
        json!({"v": {"Output": "p"}}),
        json!([{"name": "Input"}]),
        json!([{"name": "Output", "default": true}]),
    );
    let agent = agent.links(&[
        ("F.Loop", "G.Input"),
        ("F.Loop", "P.Input"),
        ("P.Output", "A.p"),
        ("e.y", "A.q"),
        ("G.Loop", "A.Input"),
    ]);
    let got = results(&agent, json!({"x": [[1, 2], [3]], "y": "Q"}));
    let one = |x: i32| [json!({"Input": x, "q": "Q", "p": "p"}), json!(x), json!("Q"), json!("p")];
    let flat: Vec<Json> = [1, 2, 3].into_iter().flat_map(one).collect();
    let sorted = |list: &Json| {
        let mut texts: Vec<String> = list.as_array().unwrap().iter().map(canonical).collect();
        texts.sort();
        texts
    };
    assert_eq!(sorted(&got), sorted(&Json::from(flat)));
}

fn canonical(json: &Json) -> String {
    match json.as_object() {
        Some(map) => {
            let mut members: Vec<String> = map.iter().map(|(k, v)| format!("{k}={v}")).collect();
            members.sort();
            members.join(",")
        }
        None => json.to_string(),
    }
}

#[test]
fn rows_86_to_88_bodies_of_any_shape() {
    let body = json!({"x": [1, 2]});
    let two = simple("minimal").add("B", "E").link("F.Loop", "B.Input");
    let x = |n: i32| echo(json!(n));
    assert_eq!(results(&two, body.clone()), json!([x(1), x(1), x(2), x(2)]));

    let ids = |agent: &Agent| -> Vec<String> {
        let list = results(agent, json!({"x": [1, 2]}));
        list.as_array().unwrap().iter().map(|entry| entry["id"].as_str().unwrap().to_owned()).collect()
    };
    let fan_in = simple("full").add("B", "E").with_inputs("C", "E", json!([{"name": "a"}, {"name": "b"}]));
    let fan_in = fan_in.links(&[("F.Loop", "B.0"), ("A.Output", "C.a"), ("B.Output", "C.b")]);
    assert_eq!(ids(&fan_in), ["C", "C"]);
    let uneven = simple("full").add("B", "E").add("C", "E").add("D", "E");
    let uneven = uneven.links(&[("A.Output", "B.0"), ("A.Output", "C.0"), ("C.Output", "D.0")]);
    assert_eq!(ids(&uneven), ["B", "D", "B", "D"]);
}

#[test]
fn row_89_hard_errors_do_not_hold_the_loop() {
    let agent = looped("minimal").add("A", "HARD").link("F.Loop", "A.Input");
    assert_eq!(results(&agent, json!({"x": [1, 2]})), json!([{"_error": "hard"}, {"_error": "hard"}]));
}

#[test]
fn row_90_many_elements() {
    for n in [99, 100, 1000] {
        let list: Vec<i32> = (0..n).collect();
        let agent = simple("results-array").plan();
        let request = sre_engine::RequestData::post("/api/e", json!({"x": list}).into());
        let answer = support::drive(&agent, &request, support::options(&agent), 0).legacy_json();
        assert_eq!(answer["r"].as_array().unwrap().len(), 2 * n as usize);
    }
    let plan = simple("minimal").plan();
    let request = sre_engine::RequestData::post("/api/e", json!({"x": [1, 2, 3]}).into());
    let mut options = support::options(&plan);
    options.limits.loop_iterations = 2;
    let answer = support::drive(&plan, &request, options, 0).legacy_json();
    assert_eq!(answer["result"]["_error"], "the loop has 3 elements, the limit is 2");
}

#[test]
fn row_91_and_ruling_19_loops_without_body_or_result() {
    let body = json!({"x": ["a", "b"]});
    let base = || Agent::new().ep(&["x"]).for_each("F", "minimal").link("e.x", "F.Input");
    let entry = |list: Json| json!({"id": "F", "name": "ForEach", "result": {"Result": list}});
    assert_eq!(base().run(body.clone()), entry(json!(["a", "b"])));
    assert_eq!(base().run(json!({"x": []})), entry(json!([])));
    let unread = base().add("A", "E").link("F.Loop", "A.Input");
    assert_eq!(unread.run(body.clone()), entry(json!([echo(json!("a")), echo(json!("b"))])));
    assert_eq!(unread.run(json!({"x": []})), entry(json!([])));
    assert_eq!(results(&looped("minimal"), body), json!(["a", "b"]));
}

#[test]
fn an_element_that_delivers_nothing_contributes_nothing() {
    let outputs = json!([{"name": "Loop", "default": true}, {"name": "Result", "default": true},
        {"name": "nm", "expression": "Loop.name"}]);
    let agent = Agent::new()
        .ep(&["x"])
        .full("F", "ForEach", json!({"format": "minimal"}), json!([{"name": "Input"}]), outputs)
        .add("A", "E")
        .output("R", json!({"format": "minimal"}), &["r"])
        .links(&[("e.x", "F.Input"), ("F.2", "A.Input"), ("F.Result", "R.r")]);
    let body = json!({"x": [{"name": "x"}, {"other": 1}, {"name": "z"}]});
    assert_eq!(results(&agent, body), json!([echo(json!("x")), echo(json!("z"))]));
}

#[test]
fn a_minimal_output_in_the_body_contributes_its_bare_object() {
    let agent = looped("minimal").output("O", json!({"format": "minimal"}), &["it"]).link("F.Loop", "O.it");
    assert_eq!(results(&agent, json!({"x": ["a", "b"]})), json!([{"it": "a"}, {"it": "b"}]));
}

#[test]
fn a_join_behind_the_loop_gets_what_the_body_sent_in_order() {
    // A sends to Z, which also needs the loop's result: Z stands behind the loop.
    let ports = json!([{"name": "p"}, {"name": "q"}]);
    let agent =
        Agent::new().ep(&["x"]).for_each("F", "minimal").add("A", "PICKY").with_inputs("Z", "E", ports);
    let agent =
        agent.links(&[("e.x", "F.Input"), ("F.Loop", "A.0"), ("A.Output", "Z.p"), ("F.Result", "Z.q")]);
    let got = agent.run(json!({"x": ["a", "b"]}));
    assert_eq!(got["result"]["p"], json!(["ok-a", "ok-b"]));
}

#[test]
fn loops_that_wait_for_each_other_do_not_hang() {
    let ports = || json!([{"name": "Input"}, {"name": "q", "optional": true}]);
    let agent = Agent::new()
        .ep(&["x"])
        .for_each("F", "minimal")
        .for_each("G", "minimal")
        .with_inputs("A", "E", ports())
        .with_inputs("B", "E", ports());
    let agent = agent.links(&[
        ("e.x", "F.Input"),
        ("e.x", "G.Input"),
        ("F.Loop", "A.Input"),
        ("G.Loop", "B.Input"),
        ("F.Result", "B.q"),
        ("G.Result", "A.q"),
    ]);
    // Whatever it comes to, it comes to the same in every order, and it ends.
    agent.run(json!({"x": [1, 2]}));
}

#[test]
fn a_cycle_through_a_loop_is_stopped() {
    let agent = Agent::new().ep(&["x"]).for_each("F", "minimal").add("A", "E").add("B", "E");
    let agent = agent.links(&[
        ("e.x", "F.Input"),
        ("F.Loop", "A.Input"),
        ("F.Result", "B.Input"),
        ("B.Output", "F.Input"),
    ]);
    let error = agent.run(json!({"x": [1]}));
    assert!(error["error"].as_str().unwrap().starts_with("Circular Calls Limit Reached on "), "{error}");
}
