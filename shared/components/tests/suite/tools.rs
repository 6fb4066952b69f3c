//! The tools that components give a model, opened and called as a turn of the engine does.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map as JsonMap, Value as Json};
use sre_components::toolbox::{OpenToolbox, ToolAnswer, Used};
use sre_components::{Call, registry};
use sre_engine::{Map, Node};

use crate::context::{Suite, TestContext};
use crate::driver::{Agent, lone};

/// Tools of one component, with what they are called with.
pub struct Opened {
    pub tools: Box<dyn OpenToolbox>,
    node: Arc<Node>,
    input: Map,
    context: TestContext,
}

/// Opens the tools of a component with these settings.
pub async fn open(suite: &Arc<Suite>, type_name: &str, settings: Json) -> Result<Opened, String> {
    let document = lone(type_name, settings, serde_json::json!([]), serde_json::json!([]));
    let agent = Agent::new(&document, suite.clone());
    let node = agent.plan.node("C").unwrap().clone();
    let context = TestContext::new(agent);
    let input = Map::new();
    let toolbox = registry().component(type_name).unwrap().toolbox().unwrap();
    let tools = toolbox.open(Call { input: &input, node: &node, context: &context }).await?;
    Ok(Opened { tools, node, input, context })
}

impl Opened {
    pub fn names(&self) -> Vec<&str> {
        self.tools.tools().iter().map(|tool| tool.name.as_str()).collect()
    }

    pub fn parameters(&self, name: &str) -> &Json {
        &self.tools.tools().iter().find(|tool| tool.name == name).unwrap().parameters
    }

    pub async fn call(&self, name: &str, arguments: Json) -> ToolAnswer {
        let arguments: JsonMap<String, Json> = arguments.as_object().unwrap().clone();
        let call = Call { input: &self.input, node: &self.node, context: &self.context };
        self.tools.call(call, Used { name, arguments: &arguments, key: "key-of-the-call" }).await
    }

    pub fn cancel(&self) {
        self.context.cancel();
    }
}

/// A server of the tests' own servers; none where it was not started, which is only fine where nothing says that all
/// must be.
pub fn server(variable: &str) -> Option<String> {
    let found = std::env::var(variable).ok();
    if found.is_none() {
        assert!(
            std::env::var_os("SRE_TEST_REQUIRE").is_none(),
            "{variable} is not set: start tests/stages/mcp.sh"
        );
        eprintln!("skipped: {variable} names no server");
    }
    found
}

/// The counts that a test server keeps.
pub async fn seen(url: &str) -> BTreeMap<String, u64> {
    let body = reqwest::get(format!("{url}/test/seen")).await.unwrap().bytes().await.unwrap();
    serde_json::from_slice(&body).unwrap()
}
