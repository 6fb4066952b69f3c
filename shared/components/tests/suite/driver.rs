//! A small driver: compiles a document, runs it, executes what is ready.

use std::sync::Arc;

use futures::future::join_all;
use serde_json::Value as Json;
use sre_components::{Call, binary_io, registry};
use sre_engine::{
    Activation, ActivationKind, EntryId, Map, Outcome, Plan, RequestData, Run, RunOptions, Secrets, Status,
    Value, compile,
};

use super::context::{Suite, TestContext};

/// A compiled agent and the world it runs in.
#[derive(Clone)]
pub struct Agent {
    pub plan: Arc<Plan>,
    /// As they are written.
    pub variables: Map,
    pub suite: Arc<Suite>,
}

impl Agent {
    pub fn new(document: &Json, suite: Arc<Suite>) -> Self {
        let plan = compile(document, registry()).unwrap_or_else(|issues| panic!("{issues:?}"));
        let variables = Value::from(document["variables"].clone()).as_object().cloned().unwrap_or_default();
        Self { plan: Arc::new(plan), variables, suite }
    }

    /// The whole answer as the reference gives it, `{data}` or `{status, data}`.
    pub async fn call(&self, request: RequestData) -> Json {
        if let Err(error) = request.validate() {
            return serde_json::json!({ "data": { "error": error.to_string() } });
        }
        match self.plan.route(&request.method, &request.path) {
            Err(error) => error.legacy_json(),
            Ok(entry) => {
                serde_json::json!({ "data": self.run(entry, request, String::new(), Map::new()).await })
            }
        }
    }

    pub async fn run(&self, entry: EntryId, request: RequestData, job_id: String, job_input: Map) -> Json {
        let mut secrets = Secrets::new();
        for name in self.plan.variable_secret_names() {
            if let Some(secret) = self.suite.vault.get(name.as_ref()) {
                secrets.insert(name.to_string(), secret.as_str());
            }
        }
        let options = RunOptions {
            run_id: "run".into(),
            variables: self.plan.resolve_variables(&secrets),
            job_id,
            job_input,
            ..RunOptions::default()
        };
        let mut run = Run::start(self.plan.clone(), entry, request, options);
        while run.status() != Status::Finished {
            let ready = run.ready();
            assert!(!ready.is_empty(), "a run that is not finished has something ready");
            let done = join_all(ready.into_iter().map(|activation| self.perform(activation))).await;
            for done in done {
                match done {
                    Done::Executed(key, outcome) => run.complete(&key, outcome).unwrap(),
                    Done::Resolved(key, values) => run.resolve(&key, values).unwrap(),
                }
            }
        }
        run.answer().legacy_json()
    }

    /// Opens the tools of the first component that has some, as the turn that it asks for would.
    pub async fn open_tools(&self, request: RequestData) -> Result<(), String> {
        let entry = self.plan.route(&request.method, &request.path).unwrap();
        let mut run = Run::start(self.plan.clone(), entry, request, RunOptions::default());
        let activation = run.ready().pop().unwrap();
        let context = TestContext::new(self.clone());
        let call = Call { input: &activation.input, node: &activation.node, context: &context };
        let component = registry().component(&activation.node.type_name).unwrap();
        let tools = component.toolbox().unwrap().open(call).await?;
        tools.close().await;
        Ok(())
    }

    async fn perform(&self, activation: Activation) -> Done {
        let context = TestContext::new(self.clone());
        match activation.kind {
            ActivationKind::Resolve(needs) => {
                let mut values = Vec::new();
                for need in &needs {
                    values.push(binary_io::perform(&context, need).await.map_err(|error| error.message));
                }
                Done::Resolved(activation.key, values)
            }
            ActivationKind::Execute => {
                let component = registry().component(&activation.node.type_name).unwrap();
                let call = Call { input: &activation.input, node: &activation.node, context: &context };
                Done::Executed(activation.key, component.process(call).await)
            }
        }
    }
}

enum Done {
    Executed(sre_engine::ActivationKey, Outcome),
    Resolved(sre_engine::ActivationKey, Vec<Result<Value, String>>),
}

/// One component behind one endpoint, which passes each of `input` to the input of the same name.
pub fn lone(type_name: &str, settings: Json, inputs: Json, outputs: Json) -> Json {
    let names: Vec<String> =
        inputs.as_array().unwrap().iter().map(|input| input["name"].as_str().unwrap().to_owned()).collect();
    let mut ports = vec![
        serde_json::json!({"name": "headers", "default": true}),
        serde_json::json!({"name": "body", "default": true}),
        serde_json::json!({"name": "query", "default": true}),
    ];
    ports.extend(names.iter().map(|name| serde_json::json!({"name": format!("body.{name}")})));
    let links: Vec<Json> = names
        .iter()
        .map(|name| {
            serde_json::json!({"sourceId": "E", "sourceIndex": format!("body.{name}"),
                "targetId": "C", "targetIndex": name})
        })
        .collect();
    let entry_inputs: Vec<Json> =
        names.iter().map(|name| serde_json::json!({"name": name, "type": "Any"})).collect();
    serde_json::json!({
        "version": "1.0.0", "id": "lone", "name": "lone", "behavior": "be kind",
        "variables": {"greet": "Hello", "secret": "{{KEY(my-key)}}"},
        "components": [
            {"id": "E", "name": "APIEndpoint", "displayName": "APIEndpoint", "title": "e",
             "data": {"endpoint": "e", "method": "POST"}, "inputs": entry_inputs, "outputs": ports},
            {"id": "C", "name": type_name, "displayName": type_name, "title": "c", "data": settings,
             "inputs": inputs, "outputs": outputs},
        ],
        "connections": links,
    })
}

/// The result of [`lone`] called with a body.
pub async fn result_of(suite: &Arc<Suite>, document: &Json, body: Json) -> Json {
    let agent = Agent::new(document, suite.clone());
    let answer = agent.call(RequestData::post("/api/e", body.into())).await;
    answer["data"]["result"].clone()
}
