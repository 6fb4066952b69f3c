//! Small components by the vectors of the specification: JSONFilter, the logic components, and what never runs.

use std::sync::Arc;

use serde_json::{Value as Json, json};
use sre_components::registry;
use sre_engine::{RequestData, spec::Flow};

use crate::context::Suite;
use crate::driver::{Agent, lone, result_of};

async fn run(type_name: &str, settings: Json, body: Json) -> Json {
    let names = body.as_object().unwrap().keys();
    let inputs: Json = names.map(|name| json!({"name": name, "type": "Any", "optional": true})).collect();
    let outputs = json!([{"name": "Output", "default": true}]);
    let suite: Arc<Suite> = Suite::new(&[]);
    result_of(&suite, &lone(type_name, settings, inputs, outputs), body).await
}

#[tokio::test]
async fn json_filter_keeps_what_is_listed() {
    let person = json!({"name": "N", "email": "E", "age": 3,
        "profile": {"bio": "b", "location": {"city": "C", "state": "S", "zip": 1}}});
    let fields = json!({"fields": "name, email,profile,location,city,state"});
    let kept = json!({"name": "N", "email": "E", "profile": {"location": {"city": "C", "state": "S"}}});
    for (input, output) in [
        (person.clone(), kept.clone()),
        (json!([person, person]), json!([kept, kept])),
        (json!("text"), json!("text")),
        (json!(5), json!(5)),
    ] {
        assert_eq!(
            run("JSONFilter", fields.clone(), json!({ "Input": input })).await,
            json!({ "Output": output })
        );
    }
    assert_eq!(run("JSONFilter", json!({"fields": ""}), json!({"Input": {}})).await, json!({"Output": {}}));
    let found = run("JSONFilter", json!({}), json!({"Input": {"a": 1}})).await;
    assert!(found["_error"].as_str().unwrap().contains("`fields` is missing"), "{found}");
    let found = run("JSONFilter", json!({"fields": "x".repeat(30_001)}), json!({"Input": {}})).await;
    assert!(found["_error"].as_str().unwrap().contains("length must be less than"), "{found}");
}

#[tokio::test]
async fn logic_counts_what_is_set() {
    let (yes, no, neither) =
        (json!({"Output": true, "Verified": true}), json!({"Unverified": true}), json!({}));
    let three = |a: Json, b: Json, c: Json| json!({"a": a, "b": b, "c": c});
    for (type_name, settings, body, verdict) in [
        ("LogicAND", json!({}), three(json!(1), json!("x"), json!(true)), &yes),
        ("LogicAND", json!({}), three(json!(1), json!(""), json!(true)), &no),
        ("LogicOR", json!({}), three(json!(0), json!(""), json!([])), &yes),
        ("LogicOR", json!({}), three(json!(0), json!(""), json!(null)), &no),
        ("LogicXOR", json!({}), three(json!(0), json!("x"), json!(false)), &yes),
        ("LogicXOR", json!({}), three(json!(1), json!("x"), json!(false)), &no),
        ("LogicAtLeast", json!({"minSetInputs": 2}), three(json!(true), json!(true), json!("")), &yes),
        ("LogicAtLeast", json!({"minSetInputs": "3"}), three(json!(true), json!(true), json!("")), &no),
        ("LogicAtLeast", json!({"minSetInputs": "9"}), three(json!(1), json!(1), json!(1)), &neither),
        ("LogicAtMost", json!({"maxSetInputs": "2"}), three(json!(true), json!(true), json!(true)), &no),
        ("LogicAtMost", json!({"maxSetInputs": 3}), three(json!(true), json!(true), json!(true)), &yes),
        ("LogicAtMost", json!({"maxSetInputs": "x"}), three(json!(1), json!(1), json!(1)), &neither),
    ] {
        assert_eq!(
            run(type_name, settings.clone(), body.clone()).await,
            *verdict,
            "{type_name} {settings} {body}"
        );
    }
    for (type_name, setting) in [("LogicAtLeast", "minSetInputs"), ("LogicAtMost", "maxSetInputs")] {
        for wrong in [json!(10), json!("-1"), json!("")] {
            let found = run(type_name, json!({ setting: wrong }), json!({"a": 1})).await;
            assert!(found["_error"].as_str().unwrap().starts_with("Schema Validation error: "), "{found}");
        }
    }
}

#[tokio::test]
async fn a_note_and_a_bare_component_are_no_part_of_the_workflow() {
    for type_name in ["Note", "Component"] {
        assert_eq!(registry().spec(type_name).unwrap().flow, Flow::Inert, "{type_name}");
        let document = lone(type_name, json!({"text": "{{KEY(nope)}}"}), json!([{"name": "x"}]), json!([]));
        let agent = Agent::new(&document, Suite::new(&[]));
        let answer = agent.call(RequestData::post("/api/e", json!({"x": 1}).into())).await;
        // Nothing lies behind the endpoint, so that it is what the run ends with; the note gives nothing.
        assert!(!answer.to_string().contains("\"C\""), "{type_name}: {answer}");
        assert!(!answer.to_string().contains("nope"), "{type_name}: {answer}");
    }
}
