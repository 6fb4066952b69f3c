//! The agent: one endpoint fans out to 36 pure components, ten calls and a Map of three calls, which three outputs
//! gather. Over fifty components, and an answer that can be told from the input and from what the servers answered.

use base64::Engine as _;
use serde_json::{Value, json};

use crate::harness::agents::{api_call, component, document, endpoint, output};
use crate::servers::Counting;

/// Its name.
pub const AGENT: &str = "teams/default/agents/chaos";
/// Its skill.
pub const SKILL: &str = "go";
/// Calls to the server that honours keys.
pub const HONOURED: usize = 8;
/// Calls to the server that does not.
pub const IGNORED: usize = 2;
/// Calls in the body of the Map, to the server that honours keys, two at a time.
pub const MAPPED: usize = 3;
const PURE: usize = 36;

/// The document.
pub fn chaos(honouring: &Counting, ignoring: &Counting) -> Value {
    let mut components = vec![endpoint(SKILL, "POST", &[("run", "Text")])];
    let mut wires: Vec<String> = Vec::new();
    let mut gathered: Vec<String> = Vec::new();
    for n in 0..PURE {
        let (id, input, out) = (pure(n), "Data", if hashes(n) { "Hash" } else { "Output" });
        let (kind, data) = if hashes(n) {
            ("FHash", json!({ "algorithm": "sha256", "encoding": "hex" }))
        } else {
            ("FEncDec", json!({ "action": "Encode", "encoding": "base64" }))
        };
        components.push(component(&id, kind, data, &[input], &[out]));
        wires.push(format!("{SKILL}.run > {id}.{input}"));
        wires.push(format!("{id}.{out} > answer.{id}"));
        gathered.push(id);
    }
    for n in 0..HONOURED {
        let id = honoured(n);
        components.push(call(&id, honouring));
        wires.push(format!("{SKILL}.run > {id}.run"));
        wires.push(format!("{id}.Response > answer.{id}"));
        gathered.push(id);
    }
    for n in 0..IGNORED {
        let (id, told) = (ignored(n), told(n));
        let mut risky = call(&id, ignoring);
        risky["data"]["onUncertain"] = json!("fail");
        components.push(risky);
        // Either comes, never both.
        components.push(output(&told, &["outcome"]));
        wires.push(format!("{SKILL}.run > {id}.run"));
        wires.push(format!("{id}.Response > {told}.outcome"));
        wires.push(format!("{id}._error > {told}.outcome"));
    }
    let names: Vec<String> = (0..MAPPED).map(mapped).collect();
    let mut map =
        component("map", "Map", json!({ "concurrency": "2" }), &["run", "Input"], &["Item", "Result"]);
    map["inputs"][1]["defaultVal"] = json!(names.join(","));
    components.push(map);
    let body = json!({ "run": "{{run}}", "component": "{{component}}" });
    components.push(api_call("mapped", &honouring.url(), json!({}), body, &["run", "component"]));
    wires.extend([format!("{SKILL}.run > map.run"), format!("{SKILL}.run > mapped.run")]);
    wires.extend(["map.Item > mapped.component", "map.Result > answer.map"].map(str::to_owned));
    gathered.push("map".to_owned());
    let gathered: Vec<&str> = gathered.iter().map(String::as_str).collect();
    components.push(output("answer", &gathered));
    let wires: Vec<&str> = wires.iter().map(String::as_str).collect();
    document("chaos", json!({}), &components, &wires)
}

fn call(id: &str, server: &Counting) -> Value {
    let body = json!({ "run": "{{run}}", "component": id });
    let mut call = api_call(id, &server.url(), json!({}), body, &["run"]);
    call["outputs"].as_array_mut().unwrap().push(json!({ "name": "_error" }));
    call
}

fn pure(n: usize) -> String {
    format!("pure{n}")
}

fn hashes(n: usize) -> bool {
    n.is_multiple_of(2)
}

/// The id of a call to the server that honours keys.
pub fn honoured(n: usize) -> String {
    format!("honoured{n}")
}

/// What a call in the body of the Map calls itself.
pub fn mapped(n: usize) -> String {
    format!("mapped{n}")
}

/// Whether an activation is that of a call, as it calls itself.
pub fn is_step_of(step: &str, call: &str) -> bool {
    if let Some(n) = call.strip_prefix("mapped") {
        return step.starts_with(&format!("map:{n}/"));
    }
    // `path/component@round`
    let last = step.rsplit('/').next().unwrap_or(step);
    last.split('@').next().unwrap_or(last) == call
}

/// The id of a call to the other.
pub fn ignored(n: usize) -> String {
    format!("ignored{n}")
}

fn told(n: usize) -> String {
    format!("told{n}")
}

/// What became of a call whose outcome nobody may know.
#[derive(Debug, Clone, PartialEq)]
pub enum Risky {
    /// It answered this number.
    Answered(u64),
    /// It failed, with this message.
    Failed(String),
}

/// An answer, taken apart. An error says what is not as it must be.
pub struct Answer {
    /// The numbers of the calls to the server that honours keys.
    pub honoured: Vec<u64>,
    /// Those of the calls in the body of the Map.
    pub mapped: Vec<u64>,
    /// What became of the others.
    pub ignored: Vec<Risky>,
}

impl Answer {
    /// Reads an answer and checks all that follows from the input.
    pub fn read(run: &str, answer: &Value) -> Result<Self, String> {
        let wrong = |what: &str| format!("{what}: {answer}");
        let entries = answer.as_array().ok_or_else(|| wrong("not a list"))?;
        if entries.len() != 1 + IGNORED {
            return Err(wrong("another number of results"));
        }
        // Of one round, so in the order of the document, whatever came first.
        let gathered = &entries[IGNORED];
        let sha = {
            use sha2::Digest as _;
            sha2::Sha256::digest(run.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        let encoded = base64::engine::general_purpose::STANDARD.encode(run);
        for n in 0..PURE {
            let expected = if hashes(n) { &sha } else { &encoded };
            if gathered[pure(n)] != expected.as_str() {
                return Err(wrong(&format!("{} is wrong", pure(n))));
            }
        }
        let number = |n| gathered[honoured(n)]["number"].as_u64().ok_or_else(|| wrong(&honoured(n)));
        let number_of =
            |n: usize| gathered["map"][n]["Response"]["number"].as_u64().ok_or_else(|| wrong(&mapped(n)));
        let mapped = (0..MAPPED).map(number_of).collect::<Result<_, _>>()?;
        let honoured = (0..HONOURED).map(number).collect::<Result<_, _>>()?;
        let mut ignored = Vec::new();
        for (n, entry) in entries[..IGNORED].iter().enumerate() {
            let outcome = &entry["outcome"];
            ignored.push(match (outcome["number"].as_u64(), outcome.as_str()) {
                (Some(number), _) => Risky::Answered(number),
                (None, Some(message)) => Risky::Failed(message.to_owned()),
                (None, None) => return Err(wrong(&told(n))),
            });
        }
        Ok(Self { honoured, mapped, ignored })
    }
}
