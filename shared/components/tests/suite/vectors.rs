//! The golden vectors of the agents that need nothing but components.

use std::collections::HashMap;
use std::path::PathBuf;

use serde_json::Value as Json;
use sre_engine::{RequestData, value::map_from_json};

use crate::context::Suite;
use crate::driver::Agent;
use crate::mock_http::MockHttp;

/// Agents whose every component is built and needs nothing outside this process.
const AGENTS: &[&str] = &[
    "async-await-foreach-tests",
    "functions-components",
    "own-binary",
    "own-http",
    "own-apioutput",
    "own-async",
    "own-byname",
    "own-circular",
    "own-crypto",
    "own-echo",
    "own-errors",
    "own-foreach",
    "own-jsonfilter",
    "own-llm-mock",
    "own-logic",
    "own-merge",
    "own-sleep",
    "own-types",
    "own-unknown",
    "own-vars",
    "own-waiting",
    "sre-echo-LLMPrompt",
    "sre-llm.echo",
];

/// Agents that call the HTTP fixture.
const NETWORK_AGENTS: &[&str] = &["own-apicall", "own-vault"];

/// Types that later parts build: vectors that reach them are left to those parts.
const UNBUILT: &[&str] = &["AgentPlugin"];

fn folder() -> Option<PathBuf> {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let folder = match std::env::var_os("SRE_CONFORMANCE") {
        Some(folder) => PathBuf::from(folder),
        None => here.join("../../../shared/conformance"),
    };
    folder.join("vectors.jsonl").exists().then_some(folder)
}

fn lines(path: PathBuf) -> Vec<Json> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The clock is paused, so that sleeping components take no time.
#[tokio::test(start_paused = true)]
async fn answers_are_the_recorded_ones() {
    check(AGENTS, 500).await;
}

/// The clock runs: a paused one would jump to the timeouts while a socket is waited for.
#[tokio::test]
async fn answers_over_the_network_are_the_recorded_ones() {
    check(NETWORK_AGENTS, 30).await;
}

/// Answers differ from the recorded ones exactly where `differences.jsonl` says so, and as it says.
async fn check(agents: &[&str], at_least: usize) {
    let Some(folder) = folder() else {
        eprintln!("skipped: no conformance folder; set SRE_CONFORMANCE");
        return;
    };
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let deliberate: HashMap<String, Json> = lines(here.join("../../tests/conformance/differences.jsonl"))
        .into_iter()
        .map(|line| (line["vector"].as_str().unwrap().to_owned(), line))
        .collect();
    let vectors = lines(folder.join("vectors.jsonl"));
    let http = MockHttp::start().await;
    let mut wrong = Vec::new();
    let mut checked = 0;
    for name in agents {
        let text = std::fs::read_to_string(folder.join(format!("agents/{name}.smyth"))).unwrap();
        // The fixture is on a port of its own.
        let text = text.replace("127.0.0.1:18099", &http.address.to_string());
        let allow = [http.address.to_string()];
        let agent = Agent::new(&serde_json::from_str(&text).unwrap(), Suite::new(&allow));
        for vector in vectors.iter().filter(|vector| vector["agent"] == format!("{name}.smyth")) {
            if reaches_unbuilt(vector) {
                continue;
            }
            let id = vector["id"].as_str().unwrap();
            let recorded = vector.get("normalized").unwrap_or(&vector["result"]);
            let difference = deliberate.get(id);
            let expected = difference.map_or(recorded, |difference| &difference["result"]);
            let found = agent.call(request(&vector["request"])).await;
            checked += 1;
            let stale = difference.is_some() && same(&found, recorded, &mut HashMap::new());
            if stale || !same(&found, expected, &mut HashMap::new()) {
                wrong.push(
                    serde_json::json!({"vector": id, "expected": expected, "found": found}).to_string(),
                );
            }
        }
    }
    assert!(checked >= at_least, "only {checked} vectors were checked");
    assert!(wrong.is_empty(), "{} of {checked} vectors differ:\n{}", wrong.len(), wrong.join("\n"));
}

fn reaches_unbuilt(vector: &Json) -> bool {
    let text = vector["result"].to_string();
    UNBUILT.iter().any(|name| text.contains(name))
}

fn request(json: &Json) -> RequestData {
    let map = |key: &str| json[key].as_object().cloned().map(map_from_json).unwrap_or_default();
    RequestData {
        method: json["method"].as_str().unwrap_or("POST").to_owned(),
        path: json["path"].as_str().unwrap().to_owned(),
        headers: map("headers"),
        query: map("query"),
        body: json["body"].clone().into(),
        session_id: json["sessionID"].as_str().map(str::to_owned),
        ..RequestData::default()
    }
}

/// Equal, with placeholders in the expectation; a placeholder stands for one value throughout.
fn same(found: &Json, expected: &Json, bound: &mut HashMap<String, String>) -> bool {
    match (found, expected) {
        (Json::Object(found), Json::Object(expected)) => {
            found.len() == expected.len()
                && found.iter().zip(expected).all(|((name, value), (wanted_name, wanted))| {
                    if wanted_name.contains("<UID") {
                        return same_text(name, wanted_name, bound) && same(value, wanted, bound);
                    }
                    found.get(wanted_name).is_some_and(|value| same(value, wanted, bound))
                })
        }
        (Json::Array(found), Json::Array(expected)) => {
            found.len() == expected.len()
                && found.iter().zip(expected).all(|(found, expected)| same(found, expected, bound))
        }
        (Json::Number(found), Json::String(expected)) if expected == "<MS>" => found.is_u64(),
        (Json::String(found), Json::String(expected)) => {
            same_text(found, expected, bound) || same_kind_of_error(found, expected)
        }
        (found, expected) => found == expected,
    }
}

fn same_text(found: &str, expected: &str, bound: &mut HashMap<String, String>) -> bool {
    if expected == "<DATE>" {
        return found.len() == 10;
    }
    let Some((prefix, rest)) = expected.split_once("<UID") else { return found == expected };
    let (number, suffix) = rest.split_once('>').unwrap();
    let middle = found.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(suffix));
    middle.is_some_and(|middle| bound.entry(number.to_owned()).or_insert_with(|| middle.to_owned()) == middle)
}

/// The wording of validation is free, and a type error may say more than the recorded one.
fn same_kind_of_error(found: &str, expected: &str) -> bool {
    let validation = "Schema Validation error: ";
    let type_error = expected.starts_with("Invalid ") && expected.contains(" value");
    (type_error && found.starts_with(expected))
        || (found.starts_with(validation) && expected.starts_with(validation))
}
