//! The run's own protocol: hand-out, reports, cancelling, keys.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may stop the test")]

mod support;

use serde_json::json;
use sre_engine::{ActivationKey, Outcome, RequestData, Run, RunError, Status};
use support::{Agent, options};

fn started(agent: &Agent) -> Run {
    let plan = agent.plan();
    let entry = plan.entry("e").unwrap();
    Run::start(plan.clone(), entry, RequestData::post("/api/e", json!({"x": 1}).into()), options(&plan))
}

fn chain() -> Agent {
    Agent::new().ep(&["x"]).add("A", "E").add("B", "E").links(&[("e.x", "A.Input"), ("A.Output", "B.Input")])
}

#[test]
fn an_activation_is_handed_out_once_and_reported_once() {
    let mut run = started(&chain());
    let first = run.ready();
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].key.to_string(), "A@1");
    assert!(run.ready().is_empty());
    assert_eq!(run.status(), Status::Running { waiting: 1 });
    run.complete(&first[0].key, support::execute(&first[0])).unwrap();
    let again = run.complete(&first[0].key, Outcome::default());
    assert_eq!(again, Err(RunError::Unknown(first[0].key.clone())));
    assert_eq!(run.ready()[0].key.to_string(), "B@2");
}

#[test]
fn row_48_a_cancelled_run_starts_nothing_more() {
    let mut run = started(&chain());
    let first = run.ready();
    run.cancel("why");
    assert_eq!(run.status(), Status::Finished);
    // A late report is no fault of the driver.
    run.complete(&first[0].key, support::execute(&first[0])).unwrap();
    assert!(run.ready().is_empty());
    assert_eq!(run.answer().legacy_json(), json!({"error": "AGENT_KILLED", "reason": "why"}));
}

#[test]
fn rows_49_to_53_routes() {
    let plan = Agent::new().ep(&["x"]).endpoint("e e", &["x"]).plan();
    let missing = |method: &str, path: &str| plan.route(method, path).unwrap_err().legacy_json();
    assert_eq!(missing("GET", "/api/e"), json!({"data": {"error": "Endpoint GET /api/e Not Found"}}));
    assert_eq!(missing("POST", "/v1/api/n"), json!({"data": {"error": "Endpoint POST /api/n Not Found"}}));
    assert_eq!(missing("POST", "/api/e/"), json!({"data": {"error": "Endpoint POST /api/e/ Not Found"}}));
    for path in ["/foo/e", "/foo/api/e", "api/e"] {
        assert_eq!(missing("POST", path), json!({"status": 404, "data": {"error": "Endpoint not found"}}));
    }
    for path in ["/api/e", "/v1/api/e", "/v1.2/api/e", "/v1.23/api/e"] {
        assert!(plan.route("post", path).is_ok(), "{path}");
    }
    let request = RequestData::post("/api/e e", json!({}).into());
    let answer = support::drive(&plan, &request, options(&plan), 0).legacy_json();
    assert!(answer["result"]["_error"].as_str().unwrap().contains("fails to match the required pattern"));
}

#[test]
fn skills_describe_the_endpoints() {
    let plan = chain().plan();
    let skills = plan.skills();
    assert_eq!(skills.len(), 1);
    assert_eq!((skills[0].endpoint.as_str(), skills[0].method.as_str()), ("e", "POST"));
    assert_eq!(skills[0].inputs[0].name.as_ref(), "x");
    assert!(skills[0].ai_exposed && !plan.has_effects(skills[0].entry));
    assert_eq!(plan.skill("e", Some("post")).unwrap().entry, skills[0].entry);
    assert!(plan.skill("e", Some("GET")).is_none());
}

#[test]
fn documents_are_refused_with_the_place_and_a_hint() {
    let mut document = chain().json();
    document["connections"][0]["targetId"] = json!("AA");
    document["connections"][1]["sourceIndex"] = json!(7);
    let issues = sre_engine::compile(&document, &support::Doubles).unwrap_err();
    let text: Vec<String> = issues.iter().filter(|i| i.is_error()).map(ToString::to_string).collect();
    assert_eq!(
        text,
        [
            "error: component AA: connections[0].targetId: there is no component 'AA' (did you mean 'A'?)",
            "error: component A: connections[1].sourceIndex: there is no output 7 (known: Output, _error)"
        ]
    );
    let check = sre_engine::check(&document, &support::Doubles);
    assert!(check[0].is_error());
}

#[test]
fn check_warns_of_what_will_not_work() {
    let document = chain().add("N", "Eb").add("Z", "E").for_each("FE", "x").json();
    let issues = sre_engine::check(&document, &support::Doubles);
    let text: Vec<String> = issues.iter().map(ToString::to_string).collect();
    assert!(
        text.iter().any(|t| t.contains("component N: name: component type 'Eb' is not known")),
        "{text:#?}"
    );
    assert!(text.iter().any(|t| t.contains("component Z: inputs: no skill leads to it")), "{text:#?}");
    assert!(text.iter().all(|t| t.starts_with("warning")), "{text:#?}");
    assert!(sre_engine::compile(&document, &support::Doubles).is_ok());
}

#[test]
fn the_digest_ignores_formatting_only() {
    let digest = |document: serde_json::Value| {
        sre_engine::compile(&document, &support::Doubles).unwrap().digest().to_owned()
    };
    let document = chain().json();
    let mut reordered = json!({});
    for key in ["variables", "connections", "components", "id", "version"] {
        reordered[key] = document[key].clone();
    }
    assert_eq!(digest(document.clone()), digest(reordered));
    let mut other = document.clone();
    other["components"][1]["title"] = json!("B2");
    assert_ne!(digest(document), digest(other));
}

#[test]
fn secrets_are_named_by_variables_and_settings() {
    let agent = chain().var("v", "{{KEY(one)}}").full(
        "C",
        "E",
        json!({"url": "x?{{KEY(two)}}", "deep": {"list": ["{{KEY(three)}}"]}}),
        json!([{"name": "Input"}]),
        json!([{"name": "Output", "default": true}]),
    );
    let plan = agent.link("B.Output", "C.Input").plan();
    let names: Vec<&str> = plan.secret_names(plan.entry("e").unwrap()).iter().map(AsRef::as_ref).collect();
    assert_eq!(names, ["one", "three", "two"]);
    assert_eq!(plan.variable_secret_names(), [std::sync::Arc::from("one")]);
}

#[test]
fn a_loop_iteration_has_its_own_key() {
    let agent = Agent::new().ep(&["x"]).for_each("F", "full").add("A", "E");
    let mut run = started(&agent.links(&[("e.x", "F.Input"), ("F.Loop", "A.Input")]));
    let first = run.ready();
    assert_eq!(first[0].key.to_string(), "F:0/A@2");
    let parsed: ActivationKey = "F:0/A@2".parse().unwrap();
    assert_eq!(parsed.idempotency_key("r"), first[0].key.idempotency_key("r"));
}
