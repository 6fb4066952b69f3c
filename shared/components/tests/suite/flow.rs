//! Components with a body, with real components in it: Map, Loop, Retry, ErrorHandler; and Fail.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};
use sre_engine::RequestData;

use crate::context::Suite;
use crate::driver::Agent;

/// `demo(x)` → F, F.<hands> → the body B, F's outputs → the answer.
fn agent(type_name: &str, settings: Json, hands: &[&str], gives: &[&str], body: (&str, Json)) -> Json {
    let names = |names: &[&str]| -> Vec<Json> {
        names.iter().map(|name| json!({"name": name, "type": "Any", "optional": true})).collect()
    };
    let outputs: Vec<Json> =
        hands.iter().chain(gives).map(|name| json!({"name": name, "default": *name != "_error"})).collect();
    let mut links =
        vec![json!({"sourceId": "E", "sourceIndex": "x", "targetId": "F", "targetIndex": "Input"})];
    links.extend(
        hands
            .iter()
            .map(|name| json!({"sourceId": "F", "sourceIndex": name, "targetId": "B", "targetIndex": name})),
    );
    links.extend(
        gives
            .iter()
            .map(|name| json!({"sourceId": "F", "sourceIndex": name, "targetId": "A", "targetIndex": name})),
    );
    json!({"version": "1.0.0", "id": "flow", "components": [
        {"id": "E", "name": "APIEndpoint", "data": {"endpoint": "e", "method": "POST"},
         "inputs": [{"name": "x", "type": "Any"}],
         "outputs": [{"name": "body", "default": true}, {"name": "x", "expression": "body.x"}]},
        {"id": "F", "name": type_name, "data": settings, "inputs": [{"name": "Input", "type": "Any"}], "outputs": outputs},
        {"id": "B", "name": body.0, "data": body.1, "inputs": names(hands),
         "outputs": [{"name": "Output", "default": true}, {"name": "_error"}]},
        {"id": "A", "name": "APIOutput", "data": {"format": "minimal"}, "inputs": names(gives),
         "outputs": [{"name": "Output", "default": true}]},
    ], "connections": links})
}

async fn answer(document: &Json, x: Json) -> Json {
    answer_in(&Suite::new(&[]), document, x).await
}

async fn answer_in(suite: &Arc<Suite>, document: &Json, x: Json) -> Json {
    let agent = Agent::new(document, suite.clone());
    agent.call(RequestData::post("/api/e", json!({ "x": x }).into())).await["data"].clone()
}

/// A body that fails for odd numbers.
fn even() -> (&'static str, Json) {
    ("Code", json!({"code_body": "if (Item % 2) _error = `${Item} is odd`; else _output = Item * 10;"}))
}

#[tokio::test]
async fn a_map_keeps_the_order_and_collects_what_fails() {
    for concurrency in ["1", "3", "1000"] {
        let map = agent(
            "Map",
            json!({"concurrency": concurrency}),
            &["Item", "Index"],
            &["Result", "Errors"],
            even(),
        );
        let found = answer(&map, json!([2, 3, 4, 6])).await;
        let errors = json!([{"index": 1, "message": "3 is odd", "component": "B"}]);
        let results = json!([20, {"_error": "3 is odd"}, 40, 60]);
        assert_eq!(found, json!({"Result": results, "Errors": errors}), "{concurrency}");
        assert_eq!(answer(&map, json!([])).await, json!({"Result": [], "Errors": []}));
    }
}

#[tokio::test]
async fn a_map_stops_where_it_shall() {
    for concurrency in [1, 2, 10] {
        let settings = json!({"concurrency": concurrency, "onError": "stop"});
        let map = agent("Map", settings, &["Item"], &["_error", "Result", "Errors"], even());
        let found = answer(&map, json!([2, 3, 4, 5])).await;
        assert_eq!(found["_error"], "element 1: 3 is odd", "{concurrency}");
        assert_eq!(found["Result"], json!([20, {"_error": "3 is odd"}]));
        assert_eq!(found["Errors"].as_array().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn the_formats_of_a_map_are_those_of_for_each_and_one_more() {
    let of = |format: &str| agent("Map", json!({"format": format}), &["Item"], &["Result"], even());
    for (format, result) in [
        ("value", json!([20])),
        ("minimal", json!([{"Output": 20}])),
        ("results-array", json!([20])),
        ("full", json!([{"id": "B", "name": "Code", "result": {"Output": 20}}])),
    ] {
        assert_eq!(answer(&of(format), json!([2])).await["Result"], result, "{format}");
    }
}

#[tokio::test]
async fn settings_out_of_their_bounds_are_told() {
    for (type_name, settings, why) in [
        ("Map", json!({"concurrency": 0}), "\"Concurrency\" must be greater than or equal to 1"),
        ("Map", json!({"concurrency": "1001"}), "\"Concurrency\" must be less than or equal to 1000"),
        ("Map", json!({"onError": "x"}), "\"On Error\" must be one of [collect, stop]"),
        ("Loop", json!({"maxIterations": 100_001}), "\"Maximum Iterations\" must be less than"),
        ("Loop", json!({"operator": "like"}), "\"Operator\" must be one of [truthy"),
        ("Retry", json!({"maxAttempts": 101}), "\"Maximum Attempts\" must be less than"),
        ("Retry", json!({"pattern": "("}), "is no regular expression"),
        ("ErrorHandler", json!({"mappings": "nothing"}), "\"Mappings\" must be a list"),
    ] {
        let found = answer(&agent(type_name, settings, &["Item"], &["_error"], even()), json!([1])).await;
        assert!(found["_error"].as_str().unwrap().contains(why), "{type_name}: {found}");
    }
}

#[tokio::test]
async fn a_loop_carries_its_state() {
    let body = ("Code", json!({"code_body": "_output = State * 2;"}));
    let of = |settings: Json, gives: &[&str]| agent("Loop", settings, &["State"], gives, body.clone());
    let all = ["Result", "Iterations", "_error"];
    let found = answer(&of(json!({"operator": "lt", "value": "100"}), &all), json!(3)).await;
    assert_eq!(found, json!({"Result": 192, "Iterations": 6}));
    let found = answer(&of(json!({"operator": "lt", "value": 100}), &all), json!(100)).await;
    assert_eq!(found, json!({"Result": 100, "Iterations": 0}));
    let after = json!({"operator": "lt", "value": 100, "test": "after"});
    assert_eq!(answer(&of(after, &all), json!(100)).await, json!({"Result": 200, "Iterations": 1}));
    let found =
        answer(&of(json!({"operator": "gt", "value": 0, "maxIterations": "5"}), &all), json!(1)).await;
    assert_eq!(found["Result"], 32);
    assert!(found["_error"].as_str().unwrap().contains("after 5 rounds"), "{found}");
    let settings = json!({"operator": "gt", "value": 0, "maxIterations": "5", "onLimit": "stop"});
    assert_eq!(answer(&of(settings, &all), json!(1)).await, json!({"Result": 32, "Iterations": 5}));
}

#[tokio::test]
async fn a_loop_looks_at_a_part_of_its_state() {
    let code = "_output = { page: State.page + 1, more: State.page < 2 };";
    let settings = json!({"path": "more", "operator": "eq", "value": "true", "test": "after"});
    let of =
        agent("Loop", settings, &["State"], &["Result", "Iterations"], ("Code", json!({"code_body": code})));
    let found = answer(&of, json!({"page": 0})).await;
    assert_eq!(found, json!({"Result": {"page": 3, "more": false}, "Iterations": 3}));
}

#[tokio::test]
async fn a_failure_ends_a_loop_or_does_not() {
    let body = ("Code", json!({"code_body": "if (Index == 1) _error = 'no'; else _output = State + 1;"}));
    let of = |settings: Json| {
        agent("Loop", settings, &["State", "Index"], &["_error", "Result", "Iterations"], body.clone())
    };
    let found = answer(&of(json!({"operator": "lt", "value": 3})), json!(1)).await;
    assert_eq!(found, json!({"_error": "round 2: no", "Result": 2, "Iterations": 2}));
    let found = answer(&of(json!({"operator": "lt", "value": 3, "onError": "continue"})), json!(1)).await;
    assert_eq!(found, json!({"Result": 3, "Iterations": 3}));
}

/// A body that succeeds with its third attempt.
fn third() -> (&'static str, Json) {
    ("Code", json!({"code_body": "if (Number < 3) _error = `503 at ${Number}`; else _output = Attempt;"}))
}

const ATTEMPTS: [&str; 2] = ["Attempt", "Number"];
const RETRIED: [&str; 4] = ["Result", "Attempts", "Errors", "_error"];

#[tokio::test(start_paused = true)]
async fn a_retry_pauses_between_its_attempts() {
    let suite = Suite::new(&[]);
    let settings = json!({"maxAttempts": 5, "delay": 100});
    let retry = agent(
        "Retry",
        settings,
        &ATTEMPTS,
        &RETRIED,
        (
            "PromptGenerator",
            json!({"model": "mock-gpt",
        "prompt": "{{Attempt}}"}),
        ),
    );
    let found = answer_in(&suite, &retry, json!("ERR500: x")).await;
    assert!(found["_error"].as_str().unwrap().contains("500 mock error"), "{found}");
    assert_eq!(found["Attempts"], 5);
    assert_eq!(found["Errors"].as_array().unwrap().len(), 5);
    let slept: Vec<u64> = suite.slept.lock().iter().map(|it| it.as_millis() as u64).collect();
    assert_eq!(slept, [100, 200, 400, 800]);
}

#[tokio::test]
async fn a_retry_gives_what_succeeded_in_the_end() {
    let retry = agent("Retry", json!({"delay": 1}), &ATTEMPTS, &RETRIED, third());
    let found = answer(&retry, json!("tea")).await;
    assert_eq!(found, json!({"Result": "tea", "Attempts": 3, "Errors": ["503 at 1", "503 at 2"]}));
}

#[tokio::test]
async fn a_retry_is_only_for_what_is_worth_it() {
    for (settings, attempts) in [
        (json!({"delay": 0}), 3),
        (json!({"delay": 0, "retryOn": "unavailable"}), 3),
        (json!({"delay": 0, "retryOn": "transient", "pattern": "at \\d"}), 3),
        (json!({"delay": 0, "retryOn": "timeout"}), 1),
        (json!({"delay": 0, "pattern": "at 1"}), 2),
        (json!({"delay": 0, "unless": "AT 2"}), 2),
        (json!({"delay": 0, "maxAttempts": 1}), 1),
    ] {
        let found =
            answer(&agent("Retry", settings.clone(), &ATTEMPTS, &RETRIED, third()), json!("tea")).await;
        assert_eq!(found["Attempts"], attempts, "{settings}: {found}");
        assert_eq!(found["_error"].is_string(), attempts < 3, "{settings}: {found}");
    }
}

#[tokio::test]
async fn a_pause_ends_with_its_run() {
    let suite = Suite::new(&[]);
    let retry =
        agent("Retry", json!({"delay": 80_000_000, "maxDelay": 80_000_000}), &ATTEMPTS, &RETRIED, third());
    suite.cancelled.cancel();
    let found =
        tokio::time::timeout(Duration::from_secs(20), answer_in(&suite, &retry, json!(1))).await.unwrap();
    assert_eq!(found["_error"], "Agent killed", "{found}");
    assert_eq!(suite.slept.lock().len(), 1);
}

const HANDLED: [&str; 3] = ["Result", "Error", "Message"];

#[tokio::test]
async fn a_handler_tells_maps_or_replaces_a_failure() {
    let body = || ("Fail", json!({"message": "404 for {{Try}}"}));
    let of = |settings: Json| agent("ErrorHandler", settings, &["Try"], &HANDLED, body());
    let error = json!({"message": "404 for \"a\"", "component": "B", "type": "Fail", "title": ""});
    let found = answer(&of(json!({})), json!("\"a\"")).await;
    assert_eq!(found, json!({"Error": error, "Message": "404 for \"a\""}));
    for (settings, result) in [
        (
            json!({"fallback": "{\"why\": \"{{message}}\", \"of\": \"{{input}}\"}"}),
            json!({"why": "404 for \"a\"", "of": "\"a\""}),
        ),
        (json!({"fallback": "sorry: {{type}}"}), json!("sorry: Fail")),
        (json!({"fallback": [1]}), json!([1])),
        (
            json!({"mappings": [{"match": "^404", "value": {"found": false}}], "fallback": 1}),
            json!({"found": false}),
        ),
        (json!({"mappings": "[{\"match\": \"^500\", \"value\": null}]", "fallback": 1}), json!(1)),
    ] {
        assert_eq!(answer(&of(settings.clone()), json!("\"a\"")).await["Result"], result, "{settings}");
    }
}

/// What a failure says beside its message is the handler's, too.
#[tokio::test]
async fn a_handler_has_the_details_of_a_failure() {
    let body = ("Code", json!({"code_body": "_error = {message: 'no', code: 404, of: Try};"}));
    let settings = json!({"fallback": "{\"code\": \"{{details.code}}\", \"all\": \"{{details}}\"}"});
    let found = answer(&agent("ErrorHandler", settings, &["Try"], &HANDLED, body), json!(5)).await;
    let details = json!({"message": "no", "code": 404, "of": 5});
    assert_eq!(found["Error"]["details"], details, "{found}");
    assert_eq!(found["Result"], json!({"code": "404", "all": details}), "{found}");
    let plain = ("Fail", json!({"message": "no"}));
    let found = answer(&agent("ErrorHandler", json!({}), &["Try"], &HANDLED, plain), json!(5)).await;
    assert_eq!(found["Error"].get("details"), None, "{found}");
}

#[tokio::test]
async fn a_handler_passes_on_what_succeeds() {
    let body = ("Code", json!({"code_body": "_output = [Try];"}));
    let found =
        answer(&agent("ErrorHandler", json!({"fallback": 0}), &["Try"], &HANDLED, body), json!(5)).await;
    assert_eq!(found, json!({"Result": [5]}));
}

#[tokio::test]
async fn fail_ends_its_branch_with_its_words() {
    let document = |message: &str| {
        crate::driver::lone(
            "Fail",
            json!({ "message": message }),
            json!([{"name": "x"}]),
            json!([{"name": "_error"}]),
        )
    };
    let suite = Suite::new(&[]);
    let told = async |message: &str| {
        crate::driver::result_of(&suite, &document(message), json!({"x": "{{greet}}"})).await["_error"]
            .clone()
    };
    assert_eq!(told("{{greet}}: no {{x}}").await, "Hello: no {{greet}}");
    assert_eq!(told("  ").await, "stopped, without a reason");
    assert_eq!(told("{{KEY(nope)}}").await, "Vault key 'nope' not found");
    assert!(told("").await.as_str().unwrap().contains("not allowed to be empty"));
}
