//! Test doubles and a little driver that completes what is ready in any order.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may stop the test")]

use std::sync::Arc;

use serde_json::{Value as Json, json};
use sre_engine::spec::{ComponentSpec, Effect, Flow, SettingSpec, TypeEntry, Types};
use sre_engine::{
    Activation, ActivationKind, Answer, Map, Outcome, Plan, RequestData, Run, RunOptions, Secrets, Status,
    Value, builtin, compile,
};

static E: ComponentSpec = ComponentSpec::new("E", "echo").effect(Effect::Pure).unchecked();
static FAIL: ComponentSpec = ComponentSpec::new("FAIL", "fails").effect(Effect::Pure).unchecked();
static SOFT: ComponentSpec = ComponentSpec::new("SOFT", "soft error").effect(Effect::Pure).unchecked();
static HARD: ComponentSpec = ComponentSpec::new("HARD", "hard error").effect(Effect::Pure).unchecked();
static RAW: ComponentSpec =
    ComponentSpec::new("RAW", "returns its setting v").effect(Effect::Pure).unchecked();
static NONE: ComponentSpec = ComponentSpec::new("NONE", "returns nothing").effect(Effect::Pure).unchecked();
/// Fails when its input is the text `bad`, else echoes `ok-<input>`.
static PICKY: ComponentSpec = ComponentSpec::new("PICKY", "fails on bad").effect(Effect::Pure).unchecked();
static IS: ComponentSpec = ComponentSpec::new("IS", "Yes or No").effect(Effect::Pure).unchecked();
static MODEL: ComponentSpec = ComponentSpec::new("MODEL", "has a model")
    .effect(Effect::Effect)
    .settings(&[SettingSpec::text("model", "Model", 200).required()])
    .unchecked();
static ASYNC: ComponentSpec = ComponentSpec::new("Async", "starts a job")
    .effect(Effect::Effect)
    .flow(Flow::Async)
    .scopes(&["sre.gateway.v1.Runs"])
    .unchecked();

static DOUBLES: [TypeEntry; 10] = [
    TypeEntry::new(&E),
    TypeEntry::new(&FAIL),
    TypeEntry::new(&SOFT),
    TypeEntry::new(&HARD),
    TypeEntry::new(&RAW),
    TypeEntry::new(&NONE),
    TypeEntry::new(&PICKY),
    TypeEntry::new(&IS),
    TypeEntry::new(&MODEL),
    TypeEntry::new(&ASYNC),
];

pub struct Doubles;

impl Types for Doubles {
    fn lookup(&self, name: &str) -> Option<&TypeEntry> {
        DOUBLES.iter().chain(builtin::types()).find(|entry| entry.spec.name == name)
    }

    fn names(&self) -> Vec<&str> {
        DOUBLES.iter().chain(builtin::types()).map(|entry| entry.spec.name).collect()
    }
}

/// An agent written in a few words: `link("e.x", "A.Input")`.
#[derive(Clone, Debug, Default)]
pub struct Agent {
    components: Vec<Json>,
    connections: Vec<Json>,
    variables: serde_json::Map<String, Json>,
}

impl Agent {
    pub fn new() -> Self {
        Self::default()
    }

    /// The endpoint `EP(x,y)`: outputs headers, body, query and one per input.
    pub fn ep(self, inputs: &[&str]) -> Self {
        self.endpoint("e", inputs)
    }

    pub fn endpoint(self, id: &str, inputs: &[&str]) -> Self {
        let ports: Vec<Json> = inputs.iter().map(|name| json!({"name": name, "type": "Any"})).collect();
        let mut outputs = vec![
            json!({"name": "headers", "default": true}),
            json!({"name": "body", "default": true}),
            json!({"name": "query", "default": true}),
        ];
        outputs.extend(inputs.iter().map(|name| json!({"name": name, "expression": format!("body.{name}")})));
        self.component(json!({"id": id, "name": "APIEndpoint", "displayName": "APIEndpoint", "title": id,
            "data": {"endpoint": id, "method": "POST"}, "inputs": ports, "outputs": outputs}))
    }

    pub fn component(mut self, record: Json) -> Self {
        self.components.push(record);
        self
    }

    /// A component with the input `Input` and the outputs `Output` and `_error`.
    pub fn add(self, id: &str, kind: &str) -> Self {
        self.with_inputs(id, kind, json!([{"name": "Input"}]))
    }

    pub fn with_inputs(self, id: &str, kind: &str, inputs: Json) -> Self {
        self.full(
            id,
            kind,
            json!({}),
            inputs,
            json!([{"name": "Output", "default": true}, {"name": "_error"}]),
        )
    }

    pub fn full(self, id: &str, kind: &str, data: Json, inputs: Json, outputs: Json) -> Self {
        self.component(json!({"id": id, "name": kind, "displayName": format!("{kind} label"), "title": id,
            "data": data, "inputs": inputs, "outputs": outputs}))
    }

    pub fn raw(self, id: &str, value: Json) -> Self {
        let outputs = json!([{"name": "Output", "default": true}, {"name": "_error"}]);
        self.full(id, "RAW", json!({"v": value}), json!([{"name": "Input"}]), outputs)
    }

    pub fn output(self, id: &str, data: Json, inputs: &[&str]) -> Self {
        let ports: Vec<Json> = inputs.iter().map(|name| json!({"name": name, "type": "Any"})).collect();
        self.full(id, "APIOutput", data, Json::from(ports), json!([{"name": "Output", "default": true}]))
    }

    pub fn for_each(self, id: &str, format: &str) -> Self {
        let outputs = json!([{"name": "Loop", "default": true}, {"name": "Result", "default": true}]);
        self.full(
            id,
            "ForEach",
            json!({"format": format}),
            json!([{"name": "Input", "type": "Any"}]),
            outputs,
        )
    }

    pub fn asynchronous(self, id: &str, inputs: &[&str]) -> Self {
        let ports: Vec<Json> = inputs.iter().map(|name| json!({"name": name})).collect();
        let mut outputs = vec![json!({"name": "JobID", "default": true})];
        outputs.extend(inputs.iter().map(|name| json!({"name": name})));
        self.full(id, "Async", json!({}), Json::from(ports), Json::from(outputs))
    }

    pub fn var(mut self, name: &str, text: &str) -> Self {
        self.variables.insert(name.to_owned(), text.into());
        self
    }

    pub fn link(mut self, from: &str, to: &str) -> Self {
        let (source, output) = from.split_once('.').unwrap();
        let (target, input) = to.split_once('.').unwrap();
        let port = |text: &str| text.parse::<i64>().map_or_else(|_| Json::from(text), Json::from);
        self.connections.push(json!({"sourceId": source, "sourceIndex": port(output),
            "targetId": target, "targetIndex": port(input)}));
        self
    }

    pub fn links(self, links: &[(&str, &str)]) -> Self {
        links.iter().fold(self, |agent, (from, to)| agent.link(from, to))
    }

    pub fn json(&self) -> Json {
        json!({"version": "1.0.0", "id": "test", "components": self.components,
            "connections": self.connections, "variables": self.variables})
    }

    pub fn plan(&self) -> Arc<Plan> {
        Arc::new(compile(&self.json(), &Doubles).unwrap_or_else(|issues| panic!("{issues:#?}")))
    }

    /// Runs endpoint `e` in several orders of completion, which must agree, and gives the legacy answer.
    pub fn run(&self, body: Json) -> Json {
        self.answer("e", body).legacy_json()
    }

    pub fn answer(&self, endpoint: &str, body: Json) -> Answer {
        let plan = self.plan();
        let request = RequestData::post(format!("/api/{endpoint}"), Value::from(body));
        let first = drive(&plan, &request, options(&plan), 0);
        for seed in 1..20 {
            assert_eq!(first, drive(&plan, &request, options(&plan), seed), "order {seed}");
        }
        first
    }
}

pub fn options(plan: &Plan) -> RunOptions {
    let mut secrets = Secrets::new();
    secrets.insert("TK", "tval");
    secrets.insert("K1", "{{V}}");
    RunOptions { run_id: "r".into(), variables: plan.resolve_variables(&secrets), ..RunOptions::default() }
}

/// Drives a run to its end, completing what is under way in an order drawn from `seed`.
pub fn drive(plan: &Arc<Plan>, request: &RequestData, options: RunOptions, seed: u64) -> Answer {
    let entry = plan.route(&request.method, &request.path).unwrap();
    let mut run = Run::start(plan.clone(), entry, request.clone(), options);
    drive_run(&mut run, seed);
    run.answer()
}

pub fn drive_run(run: &mut Run, seed: u64) {
    let mut random = seed;
    let mut pool: Vec<Activation> = Vec::new();
    loop {
        pool.extend(run.ready());
        if pool.is_empty() {
            assert_eq!(run.status(), Status::Finished);
            return;
        }
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let pick = if seed == 0 { 0 } else { (random >> 33) as usize % pool.len() };
        let activation = pool.remove(pick);
        match &activation.kind {
            ActivationKind::Execute => run.complete(&activation.key, execute(&activation)).unwrap(),
            ActivationKind::Resolve(needs) => {
                let values = needs.iter().map(resolve).collect();
                run.resolve(&activation.key, values).unwrap();
            }
        }
    }
}

pub fn resolve(need: &sre_engine::data::binary::NeedsIo) -> Result<Value, String> {
    use sre_engine::data::binary::{NeedsIo, binary};
    match need {
        NeedsIo::Store { binary } => {
            let mut map = binary.as_binary().unwrap().members();
            let url = format!("smythfs://default.team/test/_temp/{}", map["name"].to_text());
            map.insert("url".into(), Value::from(url));
            Ok(Value::object(map))
        }
        NeedsIo::Fetch { url, name } if !url.contains("missing") => {
            Ok(binary(name, Some("text/html"), "<p>".into()).into())
        }
        NeedsIo::Fetch { url, .. } | NeedsIo::Stat { url } => Err(format!("{url} cannot be read")),
        NeedsIo::DataUrl { .. } => Ok(Value::from("data:a/b;base64,eA==")),
    }
}

pub fn execute(activation: &Activation) -> Outcome {
    let input = &activation.input;
    let node = &activation.node;
    let declared: Map = node
        .inputs
        .iter()
        .filter_map(|port| Some((port.name.clone(), shortened(input.get(&port.name)?))))
        .collect();
    match node.type_name.as_ref() {
        "E" => {
            let mut out: Map = [("Output".into(), Value::object(declared.clone()))].into();
            out.extend(declared);
            Outcome::output(out)
        }
        "FAIL" => Outcome::error("boom"),
        "SOFT" => Outcome::error("soft"),
        "HARD" => Outcome::output([("error".into(), Value::from("hard"))].into()),
        "RAW" => Outcome::raw(node.setting("v").cloned().unwrap_or_default()),
        "NONE" => Outcome::default(),
        "PICKY" => match input.get("Input") {
            Some(value) if value.as_str() == Some("bad") => Outcome::error("picky"),
            value => {
                let text = format!("ok-{}", value.map(Value::to_text).unwrap_or_default());
                Outcome::output([("Output".into(), Value::from(text))].into())
            }
        },
        "IS" => {
            let yes = input.get("Input").is_some_and(Value::truthy);
            Outcome::output([(if yes { "Yes" } else { "No" }.into(), Value::from(true))].into())
        }
        "Async" => {
            let id = format!("{}-{}", node.id, activation.key.to_string().replace('/', "_"));
            Outcome::output([("JobID".into(), Value::from(id))].into())
        }
        // A pause between attempts.
        "Retry" => Outcome::output(Map::new()),
        other => panic!("no double for {other}"),
    }
}

/// E gives what it gets twice; in circles that would double each time, and be endless when written out.
fn shortened(value: &Value) -> Value {
    let text = Json::from(value).to_string();
    if text.len() < 20_000 { value.clone() } else { Value::from(format!("#{}", text.len())) }
}
