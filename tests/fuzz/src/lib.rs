//! What is fuzzed: each target takes bytes and must neither panic, nor hang, nor take memory without bound.
//!
//! The engine's tests run the same targets over the seeds and what mutations make of them, so that `make test`
//! keeps what `make fuzz` once found.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use serde_json::{Map as JsonMap, Value as Json, json};
use sre_engine::data::binary::{NeedsIo, recognise};
use sre_engine::data::typing::{InputType, convert};
use sre_engine::data::{dates, permissive_json};
use sre_engine::spec::{ComponentSpec, Effect, Flow, SettingSpec, TypeEntry, Types};
use sre_engine::template::{self, Escape, Secrets, WithSecrets};
use sre_engine::{
    Activation, ActivationKey, ActivationKind, Environment, Map, Outcome, RequestData, Run, RunOptions,
    Value, builtin, check_in, compile, needs,
};

/// Executions of one component, elements of a loop: low, so that circles and loops end.
const CIRCULAR: u32 = 5;
const ELEMENTS: usize = 20;
/// Reports that a run takes in before it is cancelled. Circles of loops can be long, but not endless.
const STEPS: usize = 2000;

static STEP: ComponentSpec = ComponentSpec::new("Step", "passes its input on")
    .effect(Effect::Effect)
    .settings(&[SettingSpec::text("model", "Model", 200), SettingSpec::integer("n", "N", 0.0, 9.0)]);
static JOB: ComponentSpec = ComponentSpec::new("Async", "starts a job").flow(Flow::Async).unchecked();
static KNOWN: [TypeEntry; 2] = [TypeEntry::new(&STEP), TypeEntry::new(&JOB)];

struct Library;

impl Types for Library {
    fn lookup(&self, name: &str) -> Option<&TypeEntry> {
        KNOWN.iter().chain(builtin::types()).find(|entry| entry.spec.name == name)
    }

    fn names(&self) -> Vec<&str> {
        KNOWN.iter().chain(builtin::types()).map(|entry| entry.spec.name).collect()
    }
}

struct Empty;

impl Environment for Empty {
    fn secret_exists(&self, _: &str) -> Option<bool> {
        Some(false)
    }

    fn model_exists(&self, _: &str) -> Option<bool> {
        Some(false)
    }
}

/// The document parser: any bytes; what compiles is also run.
pub fn document(data: &[u8]) {
    let Ok(json) = serde_json::from_slice::<Json>(data) else { return };
    let issues = check_in(&json, &Library, &Empty);
    let _ = needs(&json, &Library);
    let compiled = compile(&json, &Library);
    // What a check calls an error is refused, and nothing else.
    assert!(compiled.is_ok() || issues.iter().any(sre_engine::Issue::is_error), "refused without an error");
    let Ok(plan) = compiled else { return };
    let plan = Arc::new(plan);
    for skill in plan.skills().into_iter().take(4) {
        let mut request =
            RequestData::post(format!("/api/{}", skill.endpoint), json!({"x": [1, "a"]}).into());
        request.method = skill.method;
        let options = RunOptions { variables: plan.resolve_variables(&Secrets::new()), ..limited() };
        drive(Run::start(plan.clone(), skill.entry, request, options), &mut Bytes(data));
    }
}

/// The template parser and the other readers of text: the text, a zero byte, and a value for the tokens.
pub fn template(data: &[u8]) {
    let mut halves = data.splitn(2, |byte| *byte == 0);
    let text = String::from_utf8_lossy(halves.next().unwrap_or_default()).into_owned();
    let value = String::from_utf8_lossy(halves.next().unwrap_or_default()).into_owned();
    let nested = json!({"b": [value, {"c": value}], "n": 1.5});
    let map: Map = [("a".into(), Value::from(value.as_str())), ("o".into(), nested.into())].into();
    let mut secrets = Secrets::new();
    secrets.insert("K", "secret");
    for escape in [Escape::Prose, Escape::Json, Escape::LegacyQuotes] {
        let _ = template::render(&text, &WithSecrets { data: &map, secrets: &secrets }, escape);
    }
    let rendered = template::parse(&text, &map);
    assert!(template::is_template(&text) || rendered == text, "text without placeholders changed");
    assert!(!template::clean(&text).is_empty() || template::is_template(&text) || text.is_empty());
    let _ = template::parse_raw(&text, &map);
    let _ = template::keys(&text).chain(template::tokens(&text)).count();
    let _ = permissive_json::parse(&text);
    let _ = dates::parse(&text);
    let _ = recognise(&Value::from(text.as_str()), "n");
    let _ = Value::object(map).path(&text);
    if let Ok(key) = text.parse::<ActivationKey>() {
        assert_eq!(
            key.to_string().parse::<ActivationKey>().as_ref(),
            Ok(&key),
            "a key that does not read back"
        );
    }
    for kind in ["Text", "Number", "Integer", "Boolean", "Array", "Object", "Date", "Binary"] {
        let _ = convert(&Value::from(text.as_str()), InputType::parse(kind), || "n".into());
    }
    // Variables that name each other.
    let variables = json!({"version": "1", "components": [], "connections": [],
        "variables": {"a": text, "b": value, "c": format!("{{{{a}}}}{text}")}});
    if let Ok(plan) = compile(&variables, &Library) {
        let _ = plan.resolve_variables(&secrets).values();
    }
}

/// The run loop: a graph, and completions in an order, of outcomes, and with folds, all drawn from the bytes.
pub fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let document = graph(&mut bytes);
    let Ok(plan) = compile(&document, &Library) else { return };
    let plan = Arc::new(plan);
    let Some(entry) = plan.entry("e") else { return };
    let body = json!({"x": [1, [2, 3], "a"], "y": bytes.next()});
    let start =
        || Run::start(plan.clone(), entry, RequestData::post("/api/e", body.clone().into()), limited());
    let rest = bytes.0;
    let (journal, whole) = drive(start(), &mut Bytes(rest));
    // A fold of any prefix, ended in any other order, comes to the same answer.
    let Some(whole) = whole else { return };
    let cut = usize::from(Bytes(rest).next()) % (journal.len() + 1);
    let executes = |report: &Report| matches!(report, Report::Finished(_));
    // An activation may be resolved in several steps, of which each is told once.
    let mut reports: HashMap<_, VecDeque<_>> = HashMap::new();
    for (key, report) in &journal[cut..] {
        reports.entry((key.clone(), executes(report))).or_default().push_back(report);
    }
    let mut folded = start();
    for (key, report) in &journal[..cut] {
        assert_eq!(report.clone().tell(&mut folded, key), Ok(()), "the journal names what is not under way");
    }
    loop {
        let mut ready = folded.ready();
        if ready.is_empty() {
            break;
        }
        ready.reverse();
        for activation in ready {
            let executes = activation.kind == ActivationKind::Execute;
            let told = reports.get_mut(&(activation.key.clone(), executes)).and_then(VecDeque::pop_front);
            let Some(report) = told else { return };
            let _ = report.clone().tell(&mut folded, &activation.key);
        }
    }
    // Failures that a circle hides depend on when it is noticed; the reason does not.
    assert_eq!(folded.answer().legacy_json(), whole.answer().legacy_json(), "a fold gives another answer");
}

/// What a journal says of an activation: what it was given, or what it came to.
#[derive(Clone)]
enum Report {
    Resolved(Vec<Result<Value, String>>),
    Finished(Outcome),
}

impl Report {
    fn tell(self, run: &mut Run, key: &ActivationKey) -> Result<(), sre_engine::RunError> {
        match self {
            Self::Resolved(values) => run.resolve(key, values),
            Self::Finished(outcome) => run.complete(key, outcome),
        }
    }
}

fn limited() -> RunOptions {
    let mut options = RunOptions { run_id: "fuzz".into(), ..RunOptions::default() };
    options.limits.circular = CIRCULAR;
    options.limits.loop_iterations = ELEMENTS;
    options
}

/// Drives a run to its end; the finished run, unless it was too long and was cancelled.
fn drive(mut run: Run, bytes: &mut Bytes<'_>) -> (Vec<(ActivationKey, Report)>, Option<Run>) {
    let (mut journal, mut pool) = (Vec::new(), Vec::<Activation>::new());
    for _ in 0..STEPS {
        pool.extend(run.ready());
        if pool.is_empty() {
            assert_eq!(run.status(), sre_engine::Status::Finished, "nothing is ready, yet it runs");
            return (journal, Some(run));
        }
        let activation = pool.swap_remove(usize::from(bytes.next()) % pool.len());
        let report = match &activation.kind {
            ActivationKind::Execute => Report::Finished(outcome(&activation, bytes)),
            ActivationKind::Resolve(needs) => {
                Report::Resolved(needs.iter().map(|need| resolved(need, bytes)).collect())
            }
        };
        let _ = report.clone().tell(&mut run, &activation.key);
        journal.push((activation.key, report));
    }
    run.cancel("too long");
    let _ = run.answer().legacy_json();
    (journal, None)
}

fn resolved(need: &NeedsIo, bytes: &mut Bytes<'_>) -> Result<Value, String> {
    match (bytes.next() % 3, need) {
        (0, _) => Err("not there".into()),
        (1, NeedsIo::Store { binary }) => Ok(binary.clone()),
        _ => Ok(json!({"url": "smythfs://t.team/a/f"}).into()),
    }
}

fn outcome(activation: &Activation, bytes: &mut Bytes<'_>) -> Outcome {
    let input = activation.input.get("Input").cloned().unwrap_or_default();
    match bytes.next() % 12 {
        0 => Outcome::default(),
        1 => Outcome::error("boom"),
        2 => Outcome::output([("error".into(), Value::from("hard"))].into()),
        3 => Outcome::raw(Value::from(5)),
        4 => Outcome::output([("Output".into(), Value::Null), ("_error".into(), Value::from("soft"))].into()),
        5 => Outcome::output(Map::new()),
        6 => Outcome::output([("Output".into(), json!([1, [2]]).into())].into()),
        _ => Outcome::output([("Output".into(), input)].into()),
    }
}

/// A graph of up to 16 components and 40 connections of any kind.
fn graph(bytes: &mut Bytes<'_>) -> Json {
    let count = 1 + usize::from(bytes.next() % 16);
    let mut components = vec![json!({"id": "e", "name": "APIEndpoint", "data": {"endpoint": "e"},
        "inputs": [{"name": "x"}, {"name": "y"}],
        "outputs": [{"name": "body", "default": true}, {"name": "x", "expression": "body.x"}, {"name": "y", "expression": "body.y"}]})];
    let kinds = [
        "Step",
        "Step",
        "Step",
        "ForEach",
        "ForEach",
        "APIOutput",
        "Async",
        "Note",
        "Nope",
        "APIEndpoint",
        "Map",
        "Loop",
        "Retry",
        "ErrorHandler",
    ];
    for at in 0..count {
        let shape = bytes.next();
        let kind = kinds[usize::from(shape) % kinds.len()];
        let outputs = match kind {
            "ForEach" => {
                json!([{"name": "Loop", "default": true}, {"name": "Result", "default": true}, {"name": "_error"}])
            }
            "Map" => {
                json!([{"name": "Item", "default": true}, {"name": "Result", "default": true}, {"name": "_error"}])
            }
            "Loop" => {
                json!([{"name": "State", "default": true}, {"name": "Result", "default": true}, {"name": "_error"}])
            }
            "Retry" => json!([{"name": "Attempt"}, {"name": "Result"}, {"name": "_error"}]),
            "ErrorHandler" => json!([{"name": "Try"}, {"name": "Result"}, {"name": "Message"}]),
            "Async" => json!([{"name": "JobID", "default": true}, {"name": "Input"}, {"name": "_error"}]),
            _ => {
                json!([{"name": "Output", "default": true}, {"name": "_error"}, {"name": "o", "expression": "Output[1]"}])
            }
        };
        let mut data = JsonMap::new();
        data.insert(
            "format".into(),
            ["minimal", "full", "results-array", "raw"][usize::from(shape >> 4) % 4].into(),
        );
        data.insert("endpoint".into(), format!("e{at}").into());
        // Of components with a body; the others pass them over.
        data.insert("concurrency".into(), (1 + shape % 5).into());
        data.insert("onError".into(), ["collect", "stop", "continue"][usize::from(shape >> 5) % 3].into());
        data.insert("maxIterations".into(), (1 + (shape >> 4)).into());
        data.insert("maxAttempts".into(), (1 + (shape >> 5)).into());
        data.insert("delay".into(), (shape % 2).into());
        data.insert("fallback".into(), json!({"told": "{{message}}", "input": "{{input}}"}));
        let types = ["Any", "Text", "Array", "Binary", "Number"];
        let input = json!([{"name": "Input", "type": types[usize::from(shape >> 3) % 5]},
            {"name": "q", "optional": shape & 1 == 0, "defaultVal": if shape & 6 == 6 { json!("{{v}}") } else { json!(null) }}]);
        components.push(
            json!({"id": format!("N{at}"), "name": kind, "data": data, "inputs": input, "outputs": outputs}),
        );
    }
    let mut connections = Vec::new();
    for _ in 0..bytes.next() % 40 {
        let (from, to, ports) = (bytes.next(), bytes.next(), bytes.next());
        connections.push(json!({
            "sourceId": components[usize::from(from) % components.len()]["id"], "sourceIndex": ports % 3,
            "targetId": components[usize::from(to) % components.len()]["id"], "targetIndex": (ports >> 2) % 2}));
    }
    json!({"version": "1", "id": "fuzz", "components": components, "connections": connections, "variables": {"v": "w"}})
}

/// Bytes to draw from; zeros when there are no more.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }
}
