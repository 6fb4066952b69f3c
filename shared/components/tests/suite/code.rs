//! Code and ECMASandbox: the contracts of an author's JavaScript.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use crate::context::Suite;
use crate::driver::{lone, result_of};

async fn code(settings: Json, body: Json) -> Json {
    run(&Suite::new(&[]), "Code", settings, body).await
}

async fn run(suite: &Arc<Suite>, type_name: &str, settings: Json, body: Json) -> Json {
    let names = body.as_object().unwrap().keys();
    let inputs: Json = names.map(|name| json!({"name": name, "type": "Any"})).collect();
    let outputs = json!([{"name": "Output", "default": true}, {"name": "_error"}]);
    result_of(suite, &lone(type_name, settings, inputs, outputs), body).await
}

#[tokio::test]
async fn code_sets_its_output_or_returns_it() {
    for (body, output) in [
        ("_output = a + b;", json!(3)),
        ("return a + b;", json!(3)),
        ("let a = 5; _output = { a, b };", json!({"a": 5, "b": 2})),
        ("_output = await new Promise(done => setTimeout(() => done([a]), 1));", json!([1])),
        ("_output = null;", json!(null)),
        ("_output = Object.keys($inputs);", json!(["a", "b"])),
    ] {
        assert_eq!(
            code(json!({"code_body": body}), json!({"a": 1, "b": 2})).await,
            json!({"Output": output}),
            "{body}"
        );
    }
    assert_eq!(code(json!({"code_body": "a;"}), json!({"a": 1})).await, json!({}));
    assert_eq!(code(json!({}), json!({"a": 1})).await, json!({}));
}

#[tokio::test]
async fn what_comes_in_is_never_source_text() {
    let settings = json!({
        "code_vars": "const bare = {{x}};\nconst quoted = \"<{{x}}>\";\nconst more = `{{greet}} {{x}}`;",
        "code_body": "_output = [bare, quoted, more, x];",
    });
    for text in ["it's", "\"; throw 1; //", "`${process}`", "two\nlines", "*/ {{greet}} /*"] {
        let found = code(settings.clone(), json!({"x": text})).await;
        let expected = json!([text, format!("<{text}>"), format!("Hello {text}"), text]);
        assert_eq!(found, json!({"Output": expected}), "{text}");
    }
    let object = json!({"k": [1, {"n": null}]});
    let found = code(settings, json!({"x": object})).await;
    let written = object.to_string();
    let expected = json!([object, format!("<{written}>"), format!("Hello {written}"), object]);
    assert_eq!(found, json!({"Output": expected}));
}

#[tokio::test]
async fn a_name_that_is_no_variable_is_a_member_of_the_inputs() {
    let found = code(
        json!({"code_body": "_output = $inputs['a b'] + $inputs.await;"}),
        json!({"a b": 1, "await": 2}),
    );
    assert_eq!(found.await, json!({"Output": 3}));
}

#[tokio::test]
async fn a_vault_key_is_a_value_of_its_own() {
    let settings = json!({"code_vars": "const key = {{KEY(my-key)}};", "code_body": "_output = key.length;"});
    assert_eq!(code(settings, json!({"x": "{{KEY(my-key)}}"})).await, json!({"Output": 11}));
    let settings = json!({"code_vars": "const key = {{KEY(nope)}};", "code_body": "_output = key;"});
    assert_eq!(code(settings, json!({"x": 1})).await, json!({"_error": "Vault key 'nope' not found"}));
}

#[tokio::test]
async fn what_goes_wrong_is_a_text() {
    for (body, error) in [
        ("_error = 'too much';", "too much"),
        ("_error = { code: 7 };", "{\"code\":7}"),
        ("_error = new TypeError('of a type');", "of a type"),
        ("throw new RangeError('out');", "RangeError: out"),
        ("_output = missing;", "ReferenceError: "),
        ("_output = ;", "Failed to parse code: "),
        ("require('fs');", "ReferenceError: "),
        ("while (true) {}", "the code reached its limit"),
    ] {
        let found = code(json!({"code_body": body, "timeout": "300"}), json!({"a": 1})).await;
        let told = found["_error"].as_str().unwrap_or_default();
        assert!(told.starts_with(error), "{body}: {found}");
    }
    // What is more than a text is there in its own shape.
    let found = code(json!({"code_body": "_error = { code: 7 };"}), json!({"a": 1})).await;
    assert_eq!(found["_error_details"], json!({"code": 7}));
    let found = code(json!({"code_body": "throw new RangeError('out');"}), json!({"a": 1})).await;
    assert_eq!(found, json!({"_error": "RangeError: out"}));
    // What it set beside the error is there.
    let found = code(json!({"code_body": "_output = 1; _error = 'half'"}), json!({"a": 1})).await;
    assert_eq!(found, json!({"Output": 1, "_error": "half"}));
}

#[tokio::test]
async fn code_ends_with_its_run() {
    let suite = Suite::new(&[]);
    // It would go on until its limit.
    let settings = json!({"code_body": "while (true) {} _output = 1;", "timeout": "3000"});
    let began = Instant::now();
    let ran = run(&suite, "Code", settings, json!({"a": 1}));
    let (found, ()) = tokio::join!(ran, async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        suite.cancelled.cancel();
    });
    assert_eq!(found, json!({"_error": "Agent killed"}));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test]
async fn settings_are_bounded() {
    for (settings, why) in [
        (json!({"code_vars": "x".repeat(1_001)}), "\"Variables\" length must be less than"),
        (json!({"code_body": "x".repeat(500_001)}), "\"Code\" length must be less than"),
        (json!({"timeout": "60001"}), "\"Timeout (ms)\" must be less than"),
        (json!({"memoryLimit": 0}), "\"Memory (MB)\" must be greater than"),
    ] {
        let found = code(settings, json!({"a": 1})).await;
        assert!(found["_error"].as_str().unwrap().contains(why), "{found}");
    }
}

#[tokio::test]
async fn the_sandbox_binds_inputs_by_name() {
    let suite = Suite::new(&[]);
    let main = "async function main(b, a, c) { return { a, b, c: c === undefined } }";
    let found = run(&suite, "ECMASandbox", json!({"code": main}), json!({"a": "it's", "b": [1]})).await;
    assert_eq!(found, json!({"Output": {"a": "it's", "b": [1], "c": true}}));
    for (source, error) in [
        ("function other() {}", "No main function found at root level"),
        ("function main() {}", "Main function exists but is not async"),
        ("async function main( {", "Failed to parse code: "),
        ("async function main() { throw new Error('own') }", "Error: own"),
    ] {
        let found = run(&suite, "ECMASandbox", json!({"code": source}), json!({"a": 1})).await;
        assert!(found["_error"].as_str().unwrap().starts_with(error), "{found}");
    }
}
