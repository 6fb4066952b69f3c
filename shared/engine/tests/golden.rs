//! Golden vectors of the agents that need nothing but the engine's own types. The rest runs end to end.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may stop the test")]

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value as Json, json};
use sre_engine::data::binary::NeedsIo;
use sre_engine::{Map, RequestData, Run, RunOptions, Secrets, Value, compile};

/// Where the spec orders something else than the reference did: the full right answer.
fn differences() -> BTreeMap<&'static str, Json> {
    let type_error = |message: &str, port: &str, id: &str| format!("{message} for input {port} of {id}");
    let date = "Invalid Date value\nThe date string is expected to be in a format commonly used in \
                English-speaking countries.";
    let full = |output: Json| json!({"id": "APIOUT5", "name": "APIOutput", "result": {"Output": output}});
    BTreeMap::from([
        // A text field stays text (row 65).
        ("own-types#030", json!({"v": "{\"a\":1}"})),
        // JSON is not searched for in prose (ruling 16).
        ("own-types#131", json!(type_error("Invalid Object value", "v", "APIOUT32"))),
        // Days that do not exist are an error (ruling 15).
        (
            "own-types#160",
            json!({"id": "APIEND33", "name": "APIEndpoint", "result": {"_error": type_error(date, "v", "APIEND33")}}),
        ),
        ("own-types#161", json!(type_error(date, "v", "APIOUT36"))),
        // Lists and objects are written as JSON (ruling 23).
        ("own-apioutput#036", json!("{\"o\":1}[1,2]")),
        // Header names in lower case only (row 56).
        ("own-http#017", full(json!({"x": 1, "h": {"x-mixed-case": "V", "accept": "a"}, "q": {"z": "1"}}))),
    ])
}

fn folder() -> PathBuf {
    let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance");
    std::env::var_os("SRE_CONFORMANCE").map_or_else(default, PathBuf::from)
}

fn request(json: &Json) -> RequestData {
    let map = |key: &str| -> Map { serde_json::from_value(json[key].clone()).unwrap_or_default() };
    RequestData {
        method: json["method"].as_str().unwrap_or_default().into(),
        path: json["path"].as_str().unwrap_or_default().into(),
        headers: map("headers"),
        query: map("query"),
        body: Value::from(&json["body"]),
        ..RequestData::default()
    }
}

fn answer(document: &Json, request: RequestData) -> Json {
    let plan = std::sync::Arc::new(compile(document, &support::Doubles).unwrap());
    let entry = match plan.route(&request.method, &request.path) {
        Ok(entry) => entry,
        Err(error) => return error.legacy_json(),
    };
    let variables = plan.resolve_variables(&Secrets::new());
    let options = RunOptions { run_id: "golden".into(), variables, ..RunOptions::default() };
    let mut run = Run::start(plan, entry, request, options);
    support::drive_run(&mut run, 1);
    json!({"data": run.answer().legacy_json()})
}

/// The recorded text of a type error is a prefix of ours.
fn same(expected: &Json, got: &Json) -> bool {
    match (expected, got) {
        (Json::String(expected), Json::String(got)) if expected.starts_with("Invalid ") => {
            got.starts_with(expected)
        }
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, value)| b.get(key).is_some_and(|got| same(value, got)))
        }
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (a, b) => a == b,
    }
}

#[test]
fn agents_of_the_engines_own_types_answer_as_recorded() {
    let Ok(vectors) = std::fs::read_to_string(folder().join("vectors.jsonl")) else {
        eprintln!("skipped: no vectors in {} (set SRE_CONFORMANCE)", folder().display());
        return;
    };
    let differences = differences();
    let mut wrong = Vec::new();
    let mut checked = 0;
    let mut deliberate = 0;
    for line in vectors.lines().filter(|line| !line.trim().is_empty()) {
        let vector: Json = serde_json::from_str(line).unwrap();
        let agent = vector["agent"].as_str().unwrap();
        if !["own-types", "own-apioutput", "own-http"].iter().any(|own| agent == format!("{own}.smyth")) {
            continue;
        }
        let id = vector["id"].as_str().unwrap();
        let text = std::fs::read_to_string(folder().join("agents").join(agent)).unwrap();
        let document: Json = serde_json::from_str(&text).unwrap();
        let got = answer(&document, request(&vector["request"]));
        let recorded = vector.get("normalized").unwrap_or(&vector["result"]);
        checked += 1;
        match differences.get(id) {
            Some(right) => {
                deliberate += 1;
                if got["data"] != *right || same(recorded, &got) {
                    wrong.push(format!("{id}: deliberate {right}\n  got {got}"));
                }
            }
            None if !same(recorded, &got) => wrong.push(format!("{id}: expected {recorded}\n  got {got}")),
            None => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked >= 150, "only {checked} vectors were checked");
    assert_eq!(deliberate, differences.len(), "a difference names no vector");
}

#[test]
fn every_agent_compiles() {
    let Ok(agents) = std::fs::read_dir(folder().join("agents")) else {
        eprintln!("skipped: no agents in {} (set SRE_CONFORMANCE)", folder().display());
        return;
    };
    for file in agents {
        let path = file.unwrap().path();
        let document: Json = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        if let Err(issues) = compile(&document, &support::Doubles) {
            let errors: Vec<String> =
                issues.iter().filter(|i| i.is_error()).map(ToString::to_string).collect();
            panic!("{}: {errors:#?}", path.display());
        }
    }
}

#[test]
fn the_binary_agent_names_its_file_as_ruled() {
    let text = std::fs::read_to_string(folder().join("agents/own-binary.smyth"));
    let Ok(text) = text else { return };
    let document: Json = serde_json::from_str(&text).unwrap();
    let plan = std::sync::Arc::new(compile(&document, &support::Doubles).unwrap());
    let entry = plan.route("POST", "/api/bin").unwrap();
    let body = json!({"f": "aGVsbG8gd29ybGQ="}).into();
    let mut run = Run::start(plan, entry, RequestData::post("/api/bin", body), RunOptions::default());
    let ready = run.ready();
    let sre_engine::ActivationKind::Resolve(needs) = &ready[0].kind else { panic!("{ready:?}") };
    let NeedsIo::Store { binary } = &needs[0] else { panic!("{needs:?}") };
    let binary = binary.as_binary().unwrap();
    assert_eq!((binary.mimetype.as_ref(), binary.data.len()), ("application/octet-stream", 11));
    assert!(binary.name.ends_with("-f"), "{}", binary.name);
}
