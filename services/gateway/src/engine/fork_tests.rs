use serde_json::json;
use sre_engine::{Outcome, Status as RunStatus};

use super::*;
use crate::engine::journal::records::StoredRequest;
use crate::engine::plans;
use crate::engine::redact::Redactor;

const FROM: &str = "0123456789abcdef0123456789abcdef";
const TO: &str = "fedcba9876543210fedcba9876543210";

fn call(id: &str) -> serde_json::Value {
    let empty = [
        "headers",
        "body",
        "oauthService",
        "scope",
        "authorizationURL",
        "tokenURL",
        "clientID",
        "clientSecret",
        "oauth2CallbackURL",
        "callbackURL",
        "requestTokenURL",
        "accessTokenURL",
        "userAuthorizationURL",
        "consumerKey",
        "consumerSecret",
        "oauth1CallbackURL",
        "authenticate",
        "proxy",
    ];
    let mut data: serde_json::Map<String, serde_json::Value> =
        empty.iter().map(|name| ((*name).to_owned(), json!(""))).collect();
    data.extend([
        ("url".to_owned(), json!("http://127.0.0.1/")),
        ("method".to_owned(), json!("POST")),
        ("contentType".to_owned(), json!("none")),
        ("oauthService".to_owned(), json!("None")),
    ]);
    json!({"id": id, "name": "APICall", "title": "", "displayName": "", "data": data,
        "inputs": [{"name": "x", "type": "Any"}],
        "outputs": [{"name": "Response", "default": true}, {"name": "Headers", "default": true}]})
}

/// IN -> A -> B -> OUT, where A and B call out.
fn compiled() -> Compiled {
    let link = |from: &str, out: &str, to: &str, input: &str| json!({"sourceId": from, "sourceIndex": out, "targetId": to, "targetIndex": input});
    let document = json!({"id": "a", "name": "A", "components": [
        {"id": "IN", "name": "APIEndpoint", "title": "", "displayName": "",
         "data": {"endpoint": "go", "method": "POST"}, "inputs": [{"name": "x", "type": "Any"}],
         "outputs": [{"name": "body", "default": true}, {"name": "x", "expression": "body.x"}]},
        call("A"), call("B"),
        {"id": "OUT", "name": "APIOutput", "title": "", "displayName": "", "data": {"format": "minimal"},
         "inputs": [{"name": "said", "type": "Any"}], "outputs": [{"name": "Output", "default": true}]}],
        "connections": [link("IN", "x", "A", "x"), link("A", "Response", "B", "x"),
            link("B", "Response", "OUT", "said")]});
    plans::compile(document.to_string().as_bytes(), sre_components::registry()).unwrap()
}

fn said(text: &str) -> Outcome {
    Outcome::raw(json!({"Response": text, "Headers": {}}).into())
}

/// The journal of a run in which each call said its own name, A with a secret.
fn journal() -> Vec<JournalRecord> {
    let mut redactor = Redactor::new(FROM);
    redactor.learn("api", "supersecret");
    let request = RequestData::post("/api/go", json!({"x": "1 supersecret"}).into());
    let opened = Opened {
        entry_kind: EntryKind::Endpoint.into(),
        component: "IN".into(),
        request: Some(StoredRequest::of(&request, &redactor).unwrap()),
        marker: FROM.into(),
        ..Opened::default()
    };
    let finished = |step: &str, text: &str| {
        let body = Finished::of(&said(text), "APICall", &redactor).unwrap();
        record(RecordKind::Finished, Some(&step.parse().unwrap()), &body)
    };
    vec![
        record(RecordKind::Opened, None, &opened),
        finished("A@1", "from A, supersecret"),
        finished("B@2", "from B"),
    ]
}

fn forked(at: &str) -> Result<Forked, Status> {
    let compiled = compiled();
    let tape = Tape::of(&journal()).unwrap();
    let entry = entry_of(&compiled.plan, &tape.opened).unwrap();
    let origin = RunRecord { run_id: "00-origin".into(), ..RunRecord::default() };
    tape.forked(&compiled, entry, at, &origin, TO)
}

#[test]
fn what_ran_before_the_step_is_kept_with_the_new_runs_markers() {
    let forked = forked("B").unwrap();
    assert_eq!(forked.at.to_string(), "B@2");
    let steps: Vec<&str> = forked.kept.iter().map(|record| record.step.as_str()).collect();
    assert_eq!(steps, ["A@1"]);
    let body = Finished::decode(forked.kept[0].body.clone()).unwrap();
    assert_eq!(body.effect_key, "A@1".parse::<ActivationKey>().unwrap().idempotency_key("00-origin"));
    let mut redactor = Redactor::new(TO);
    redactor.learn("api", "supersecret");
    let output = redactor.restore(&body.outcome().unwrap().output.unwrap());
    assert_eq!(output.get("Response"), Some(&Value::from("from A, supersecret")));
    let request = forked.opened.request.unwrap().request().unwrap();
    assert_eq!(redactor.restore(&request.body), json!({"x": "1 supersecret"}).into());
}

#[test]
fn the_fork_goes_on_from_the_step_with_other_inputs() {
    let forked = forked("B").unwrap();
    let set: Map = [("x".into(), Value::from("changed"))].into();
    let opened =
        Opened { overrides: with_inputs(&forked.opened, &forked.at, set).unwrap(), ..forked.opened.clone() };
    let options = RunOptions { overrides: overrides(&opened).unwrap(), ..RunOptions::default() };
    let plan = compiled().plan;
    let request = opened.request.unwrap().request().unwrap();
    let mut run = Run::start(plan.clone(), plan.entry("IN").unwrap(), request, options);
    for record in &forked.kept {
        let body = Finished::decode(record.body.clone()).unwrap();
        run.complete(&record.step.parse().unwrap(), body.outcome().unwrap()).unwrap();
    }
    let ready = run.ready();
    assert_eq!(ready.len(), 1);
    assert_eq!((ready[0].key.to_string().as_str(), &ready[0].input["x"]), ("B@2", &Value::from("changed")));
    run.complete(&ready[0].key, said("again")).unwrap();
    assert_eq!(run.status(), RunStatus::Finished);
    assert_eq!(run.answer().legacy_json(), json!({"said": "again"}));
}

#[test]
fn at_the_first_step_nothing_is_kept_and_unknown_steps_are_refused() {
    assert!(forked("A@1").unwrap().kept.is_empty());
    assert!(forked("IN").unwrap().kept.is_empty());
    assert_eq!(forked("NOPE").err().unwrap().code(), Code::InvalidArgument);
    assert_eq!(forked("B@9").err().unwrap().code(), Code::FailedPrecondition);
}

#[test]
fn a_fork_of_a_fork_keeps_what_the_first_one_set() {
    let at = |key: &str| key.parse::<ActivationKey>().unwrap();
    let set = |value: i64| Map::from([("x".into(), Value::from(value))]);
    let first = Opened {
        overrides: with_inputs(&Opened::default(), &at("IN@0"), set(1)).unwrap(),
        ..Opened::default()
    };
    let second = Opened { overrides: with_inputs(&first, &at("B@2"), set(2)).unwrap(), ..Opened::default() };
    let all = overrides(&second).unwrap();
    assert_eq!((all[&at("IN@0")]["x"].as_i64(), all[&at("B@2")]["x"].as_i64()), (Some(1), Some(2)));
    assert_eq!(with_inputs(&Opened::default(), &at("A@1"), Map::new()).unwrap(), None);
}

#[test]
fn only_objects_of_inputs_can_be_set() {
    assert!(inputs(b"[1]").is_err());
    assert!(inputs(b"{").is_err());
    assert_eq!(inputs(b"").unwrap(), Map::new());
}
