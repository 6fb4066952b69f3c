use prost::Message as _;
use serde_json::json;
use sre_engine::RequestData;
use sre_proto::memory::v1::{RunKind, RunRecord};

use super::*;
use crate::engine::journal::records::{EntryKind, Finished, Opened, Spec, StoredRequest};
use crate::engine::recording::export::Tape;
use crate::engine::redact::Redactor;

const SECRET: &str = "supersecret";
const RUN: &str = "00-0190a000-0000-7000-8000-000000000001";

/// `POST /api/go` with `x`: a call out, of which the answer names what it gave and a variable.
fn document() -> serde_json::Value {
    json!({"id": "a", "name": "A", "variables": {"TOKEN": "{{KEY(api)}}"}, "components": [
        {"id": "IN", "name": "APIEndpoint", "title": "", "displayName": "",
         "data": {"endpoint": "go", "method": "POST"}, "inputs": [{"name": "x", "type": "Any"}],
         "outputs": [{"name": "body", "default": true}, {"name": "x", "expression": "body.x"}]},
        {"id": "CALL", "name": "APICall", "title": "", "displayName": "",
         "data": {"url": "http://127.0.0.1/", "method": "POST", "headers": "", "contentType": "none",
                  "body": "{{x}}", "oauthService": "None", "scope": "", "authorizationURL": "", "tokenURL": "",
                  "clientID": "", "clientSecret": "", "oauth2CallbackURL": "", "callbackURL": "",
                  "requestTokenURL": "", "accessTokenURL": "", "userAuthorizationURL": "", "consumerKey": "",
                  "consumerSecret": "", "oauth1CallbackURL": "", "authenticate": "", "proxy": ""},
         "inputs": [{"name": "x", "type": "Any"}],
         "outputs": [{"name": "Response", "default": true}, {"name": "Headers", "default": true}]},
        {"id": "OUT", "name": "APIOutput", "title": "", "displayName": "", "data": {"format": "minimal"},
         "inputs": [{"name": "said", "type": "Any"}],
         "outputs": [{"name": "Output", "default": true}]}],
     "connections": [
        {"sourceId": "IN", "sourceIndex": "x", "targetId": "CALL", "targetIndex": "x"},
        {"sourceId": "CALL", "sourceIndex": "Response", "targetId": "OUT", "targetIndex": "said"}]})
}

/// What an engine would have written of a run whose call out gave `gave`, as a recording.
fn recorded(gave: Value) -> serde_json::Value {
    let document = document();
    let plan = Arc::new(sre_engine::compile(&document, sre_components::registry()).unwrap());
    let mut redactor = Redactor::new("n");
    redactor.learn("api", SECRET);
    let mut secrets = Secrets::new();
    secrets.insert("api", SECRET);
    let request = RequestData::post("/api/go", json!({"x": "1"}).into());
    let options = RunOptions {
        run_id: RUN.into(),
        variables: plan.resolve_variables(&secrets),
        ..RunOptions::default()
    };
    let entry = plan.entry("IN").unwrap();
    let mut run = Run::start(plan, entry, request.clone(), options);
    let opened = Opened {
        agent: "teams/t/agents/a".into(),
        entry_kind: EntryKind::Endpoint.into(),
        component: "IN".into(),
        request: Some(StoredRequest::of(&request, &redactor).unwrap()),
        ..Opened::default()
    };
    let shown = Redactor::new("n");
    let mut tape = Tape::of(opened, &shown).unwrap();
    let ready = run.ready();
    assert_eq!(ready.len(), 1, "{ready:?}");
    let outcome = Outcome::raw(gave);
    let finished = Finished::of(&outcome, "APICall", &redactor).unwrap();
    tape.take(&ready[0].key.to_string(), finished.encode_to_vec().into(), &shown).unwrap();
    run.complete(&ready[0].key, outcome).unwrap();
    assert_eq!(run.status(), Status::Finished);
    let ending = Ending::Answered(run.answer());
    let row = RunRecord {
        run_id: RUN.into(),
        team: "t".into(),
        agent: "a".into(),
        kind: RunKind::Skill.into(),
        state: ending.state().into(),
        spec: Spec { marker: "n".into() }.encode_to_vec().into(),
        outcome: ending.closed(Some(&redactor)).encode_to_vec().into(),
        ..RunRecord::default()
    };
    serde_json::to_value(tape.recording(&row, document).unwrap()).unwrap()
}

fn of(recording: &serde_json::Value) -> Result<Replayed, ReplayError> {
    replay(&serde_json::to_vec(recording).unwrap())
}

fn gave(text: &str) -> Value {
    json!({"Response": {"said": text}, "Headers": {}}).into()
}

#[test]
fn a_replay_gives_what_the_run_gave_and_no_secret() {
    let recording = recorded(gave(&format!("hello {SECRET}")));
    assert!(!recording.to_string().contains(SECRET));
    let replayed = of(&recording).unwrap();
    assert!(replayed.same, "{:?}", replayed.differences);
    assert_eq!(replayed.legacy, json!({"said": {"said": "hello {{KEY(api)}}"}}));
    assert_eq!((replayed.state.as_str(), replayed.result.results.len()), ("DONE", 1));
}

#[test]
fn bytes_survive_the_recording() {
    let binary = Value::Binary(Arc::new(sre_engine::Binary {
        name: "a.bin".into(),
        mimetype: "application/octet-stream".into(),
        data: bytes::Bytes::from_static(&[0, 159, 146]),
    }));
    let value = Value::object([(Arc::from("file"), binary)].into());
    let recorded = super::super::RecordedValue::of(&value).unwrap();
    let text = serde_json::to_string(&recorded).unwrap();
    let read: super::super::RecordedValue = serde_json::from_str(&text).unwrap();
    assert_eq!(read.value().unwrap(), value);
}

#[test]
fn another_outcome_is_another_answer() {
    let mut recording = recorded(gave("hello"));
    recording["completions"][0]["output"]["json"]["Response"]["said"] = json!("bye");
    let replayed = of(&recording).unwrap();
    assert!(!replayed.same);
    assert!(replayed.differences.iter().any(|text| text.contains("hello") && text.contains("bye")));
}

#[test]
fn what_was_not_recorded_cannot_be_replayed() {
    let mut recording = recorded(gave("hello"));
    let all = recording["completions"].as_array_mut().unwrap();
    all.clear();
    let refused = of(&recording).unwrap_err();
    assert!(matches!(&refused, ReplayError::NotRecorded(keys) if keys[0].starts_with("CALL@")), "{refused}");
    recording["answer"]["result"]["failure"] = json!(["DEADLINE_EXCEEDED", "it took too long"]);
    assert!(matches!(of(&recording), Err(ReplayError::EndedFromOutside { .. })));
    recording["answer"]["state"] = json!("CANCELLED");
    recording["answer"]["result"] = json!({"failure": ["CANCELLED", "why"]});
    recording["answer"]["legacy"] = json!({"error": "AGENT_KILLED", "reason": "why"});
    assert!(of(&recording).unwrap().same);
}

#[test]
fn other_documents_are_refused() {
    assert!(matches!(replay(b"{"), Err(ReplayError::Malformed(_))));
    let mut recording = recorded(gave("hello"));
    recording["components"]["CALL"] = json!("Unheard");
    assert!(matches!(of(&recording), Err(ReplayError::UnknownType { .. })));
    recording["format"] = json!("sre.recording/9");
    assert!(matches!(of(&recording), Err(ReplayError::Format(_))));
}
