//! The conformance edge cases of `agent-execution.md` §12, as data: `tests/agents/rows.jsonl` says of every row
//! which agent is asked what and what the right answer is. Rows that need real components are vectors of
//! `tests/agents/vectors.jsonl`, which `sre test` runs; rows whose components do not exist yet say who brings them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may stop the test")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value as Json, json};
use sre_engine::{Map, Plan, RequestData, Run, UploadedFile, Value, compile};
use support::{Doubles, drive, execute, options};

/// Orders of completion in which every case must come to the same.
const ORDERS: u64 = 12;

/// One line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    row: String,
    /// File below `rows/`.
    #[serde(default)]
    agent: String,
    #[serde(default)]
    request: Asked,
    /// The `data` of the right answer; `<UID#n>` stands for an id.
    #[serde(default)]
    expected: Json,
    /// Of an answer without a route.
    status: Option<u32>,
    starved: Option<Json>,
    cancel: Option<Cancel>,
    repeat: Option<u32>,
    /// The part of the project that brings what the row needs.
    waiting: Option<String>,
    #[serde(default)]
    #[expect(dead_code, reason = "for readers")]
    note: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Asked {
    method: Option<String>,
    path: Option<String>,
    body: Json,
    headers: Map,
    query: Map,
    files: Vec<File>,
}

#[derive(Deserialize)]
struct File {
    field: String,
    name: String,
    mimetype: String,
    text: String,
}

#[derive(Deserialize)]
struct Cancel {
    during: String,
    reason: String,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/agents")
}

fn cases() -> Vec<Case> {
    let text = std::fs::read_to_string(folder().join("rows.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

impl Case {
    fn request(&self) -> RequestData {
        let asked = &self.request;
        let file = |file: &File| UploadedFile {
            field: file.field.as_str().into(),
            name: file.name.as_str().into(),
            mimetype: file.mimetype.as_str().into(),
            data: file.text.clone().into(),
        };
        RequestData {
            method: asked.method.clone().unwrap_or_else(|| "POST".into()),
            path: asked.path.clone().unwrap_or_else(|| "/api/e".into()),
            headers: asked.headers.clone(),
            query: asked.query.clone(),
            body: Value::from(&asked.body),
            files: asked.files.iter().map(file).collect(),
            ..RequestData::default()
        }
    }

    /// Runs it; says what is wrong.
    fn run(&self, plan: &Arc<Plan>) -> Result<(), String> {
        let request = self.request();
        let entry = match plan.route(&request.method, &request.path) {
            Ok(entry) => entry,
            Err(error) => {
                let answer = error.legacy_json();
                let status = answer["status"].as_u64().map(|status| status as u32);
                if status != self.status {
                    return Err(format!("status {status:?}"));
                }
                return self.compare(&answer["data"]);
            }
        };
        if let Some(cancel) = &self.cancel {
            let mut run = Run::start(plan.clone(), entry, request, options(plan));
            loop {
                let activation = run.ready().into_iter().next().ok_or("it is not reached")?;
                if activation.node.id.as_ref() == cancel.during {
                    run.cancel(&cancel.reason);
                    // A late report is no fault of the driver, and nothing follows from it.
                    run.complete(&activation.key, execute(&activation)).map_err(|e| e.to_string())?;
                    assert!(run.ready().is_empty());
                    return self.compare(&run.answer().legacy_json());
                }
                run.complete(&activation.key, execute(&activation)).map_err(|e| e.to_string())?;
            }
        }
        let first = drive(plan, &request, options(plan), 0);
        for seed in 1..ORDERS.max(self.repeat.unwrap_or(0).into()) {
            if first != drive(plan, &request, options(plan), seed) {
                return Err(format!("order {seed} gives another answer"));
            }
        }
        if let Some(starved) = &self.starved {
            let found = serde_json::to_value(&first.starved).unwrap();
            if found != *starved {
                return Err(format!("starved: {found}"));
            }
        }
        self.compare(&first.legacy_json())
    }

    fn compare(&self, answer: &Json) -> Result<(), String> {
        let mut ids = BTreeMap::new();
        if fits(&self.expected, answer, &mut ids) {
            return Ok(());
        }
        Err(format!("expected {}\n     got {answer}", self.expected))
    }
}

fn fits(expected: &Json, got: &Json, ids: &mut BTreeMap<String, String>) -> bool {
    match (expected, got) {
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len()
                && a.iter().all(|(key, value)| b.get(key).is_some_and(|got| fits(value, got, ids)))
        }
        (Json::Array(a), Json::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| fits(a, b, ids))
        }
        (Json::String(a), Json::String(b)) if a.contains("<UID#") => id_fits(a, b, ids),
        (Json::Number(a), Json::Number(b)) => a.as_f64() == b.as_f64(),
        (a, b) => a == b,
    }
}

/// One placeholder, the same id wherever it stands.
fn id_fits(expected: &str, got: &str, ids: &mut BTreeMap<String, String>) -> bool {
    let (before, rest) = expected.split_once('<').unwrap();
    let (name, after) = rest.split_once('>').unwrap();
    let id = got.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
    let id =
        id.filter(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()));
    id.is_some_and(|id| ids.entry(name.to_owned()).or_insert_with(|| id.to_owned()) == id)
}

#[test]
fn every_row_answers_right_in_every_order() {
    let mut plans: BTreeMap<String, Arc<Plan>> = BTreeMap::new();
    let mut wrong = Vec::new();
    let cases = cases();
    for case in cases.iter().filter(|case| case.waiting.is_none()) {
        let plan = plans.entry(case.agent.clone()).or_insert_with(|| {
            let text = std::fs::read_to_string(folder().join("rows").join(&case.agent));
            let text = text.unwrap_or_else(|e| panic!("{}: {e}", case.agent));
            let document: Json = serde_json::from_str(&text).unwrap();
            Arc::new(
                compile(&document, &Doubles).unwrap_or_else(|issues| panic!("{}: {issues:#?}", case.agent)),
            )
        });
        if let Err(why) = case.run(plan) {
            wrong.push(format!("row {} ({}): {why}", case.row, case.agent));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    // No file lies about unused.
    let used: BTreeSet<String> = plans.into_keys().collect();
    let files = std::fs::read_dir(folder().join("rows")).unwrap();
    let there: BTreeSet<String> =
        files.map(|f| f.unwrap().file_name().to_string_lossy().into_owned()).collect();
    assert_eq!(there, used);
}

#[test]
fn every_row_is_run_or_named() {
    let cases = cases();
    let mut seen: BTreeSet<String> = cases.iter().map(|case| case.row.clone()).collect();
    for case in &cases {
        if let Some(why) = &case.waiting {
            assert!(why.starts_with("part ") && case.agent.is_empty(), "row {}: {why}", case.row);
        }
    }
    let vectors = std::fs::read_to_string(folder().join("vectors.jsonl")).unwrap();
    for line in vectors.lines() {
        let vector: Json = serde_json::from_str(line).unwrap();
        let id = vector["id"].as_str().unwrap();
        // What shows a component instead of a row is named for it.
        if !id.starts_with("row-") && id.contains('#') {
            continue;
        }
        let row =
            id.strip_prefix("row-").and_then(|rest| rest.split_once('#')).unwrap_or_else(|| panic!("{id}")).0;
        seen.insert(row.to_owned());
    }
    let rows: BTreeSet<String> =
        (1..=120).map(|row: u32| row.to_string()).chain(["76a".to_owned(), "114a".to_owned()]).collect();
    let missing: Vec<&String> = rows.difference(&seen).collect();
    let unknown: Vec<&String> = seen.difference(&rows).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing {missing:?}, unknown {unknown:?}");
}

#[test]
fn a_wrong_answer_is_noticed() {
    let mut ids = BTreeMap::new();
    assert!(fits(&json!({"a": "x<UID#1>.t"}), &json!({"a": "xAB1.t"}), &mut ids));
    assert!(!fits(&json!("x<UID#1>"), &json!("xAB2"), &mut ids), "the id of before");
    assert!(!fits(&json!([1]), &json!([1, 2]), &mut ids) && !fits(&json!({}), &json!({"a": 1}), &mut ids));
}
