//! The stream of requests, what each kind of call needs, and what was acknowledged before a process died.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use sre_proto::agent::v1::{GetAgentRequest, ListAgentsRequest};
use sre_proto::gateway::v1::RunState;
use sre_proto::io::v1::{GetValueRequest, KeyValue, SetValueRequest};
use sre_proto::security::v1::AccessSecretRequest;

use crate::harness::agents::{component, document, endpoint, hasher, output, sender, sleeper};
use crate::harness::clients::{Client, json};
use crate::harness::http_server::HttpServer;
use crate::harness::load::Load;
use crate::harness::{Suite, eventually};

const HASHER: &str = "teams/default/agents/hasher";
const SENDER: &str = "teams/default/agents/sender";
const TALKER: &str = "teams/default/agents/talker";
const SLEEPER: &str = "teams/default/agents/sleeper";
/// How this test writes that a run answered with a component's error.
pub const COMPONENT_ERROR: &str = "answered with ";
const PAUSE: Duration = Duration::from_millis(30);

/// The kinds of calls: processes without which they fail at once, and those besides without which they may fail
/// once nothing that was kept serves them any more.
const NEEDS: [(&str, &[&str], &[&str]); 6] = [
    ("hash", &["gateway"], &["agent", "security"]),
    ("send", &["gateway", "memory"], &["agent", "security"]),
    ("say", &["gateway", "memory", "llm"], &["agent", "security"]),
    ("value", &["gateway", "io"], &["security"]),
    ("agents", &["gateway", "agent"], &["security"]),
    ("secret", &["gateway", "security"], &[]),
];

/// Every kind of call.
pub fn kinds() -> impl Iterator<Item = &'static str> {
    NEEDS.iter().map(|(what, _, _)| *what)
}

/// Whether a call cannot do without a process.
pub fn always_needs(what: &str, process: &str) -> bool {
    NEEDS.iter().any(|(kind, always, _)| *kind == what && always.contains(&process))
}

/// Whether a call may fail without a process.
pub fn may_need(what: &str, process: &str) -> bool {
    always_needs(what, process)
        || NEEDS.iter().any(|(kind, _, then)| *kind == what && then.contains(&process))
}

/// The agents of the stream.
pub struct Calls<'a> {
    suite: &'a Suite,
    count: AtomicU32,
}

impl<'a> Calls<'a> {
    pub async fn prepare(suite: &'a Suite, server: &HttpServer) -> Self {
        let dev = suite.client("user/dev");
        let talker = document(
            "talker",
            json!({}),
            &[
                endpoint("say", "POST", &[("text", "Text")]),
                component(
                    "echo",
                    "GenAILLM",
                    json!({ "model": "Echo", "prompt": "{{text}}" }),
                    &["text"],
                    &["Reply"],
                ),
                output("answer", &["said"]),
            ],
            &["say.text > echo.text", "echo.Reply > answer.said"],
        );
        for (name, document) in [
            (HASHER, hasher("hasher")),
            (SENDER, sender("sender", &server.url("/echo"))),
            (TALKER, talker),
            (SLEEPER, sleeper("sleeper", 1)),
        ] {
            dev.put(name, &document).await.unwrap();
        }
        dev.put_canary().await;
        Self { suite, count: AtomicU32::new(0) }
    }

    /// Starts the stream: one caller of each kind, each over its own connection.
    pub fn load(&self) -> Load {
        let mut load = Load::new();
        let client = || self.suite.client("user/dev");
        load.add("hash", client(), PAUSE, |client, number| async move {
            run(&client, HASHER, "hash", number).await
        });
        load.add("send", client(), PAUSE, |client, number| async move {
            run(&client, SENDER, "send", number).await
        });
        load.add("say", client(), PAUSE, |client, number| async move {
            run(&client, TALKER, "say", number).await
        });
        load.add("value", client(), PAUSE, |client, number| async move {
            let value =
                KeyValue { name: key("load"), value: number.to_string().into(), ..KeyValue::default() };
            let set = SetValueRequest { value: Some(value), ..SetValueRequest::default() };
            client.nkv().set_value(set).await.map(|_| Value::Null)
        });
        load.add("agents", client(), PAUSE, |client, _| async move {
            let list = ListAgentsRequest { parent: "teams/default".into(), ..ListAgentsRequest::default() };
            client.agents().list_agents(list).await.map(|_| Value::Null)
        });
        load.add("secret", client(), PAUSE, |client, _| async move {
            let request =
                AccessSecretRequest { name: "teams/default/secrets/canary".into(), ..Default::default() };
            client.vault().access_secret(request).await.map(|_| Value::Null)
        });
        load
    }

    /// Lets the suite acknowledge an agent, a value and a run that will still be working.
    pub async fn acknowledge(&self) -> Kept {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let dev = self.suite.client("user/dev");
        let agent = format!("teams/default/agents/kept-{number}");
        dev.put(&agent, &hasher(&format!("kept-{number}"))).await.unwrap();
        let value =
            KeyValue { name: key(&format!("kept-{number}")), value: "7".into(), ..KeyValue::default() };
        let set = SetValueRequest { value: Some(value), ..SetValueRequest::default() };
        dev.nkv().set_value(set).await.unwrap();
        let run = dev.start(SLEEPER, "sleep", &json!({ "text": format!("kept {number}") })).await.unwrap();
        Kept { number, agent, run: run.name }
    }
}

async fn run(client: &Client, agent: &str, skill: &str, number: u64) -> Result<Value, tonic::Status> {
    let answer = client.answer(agent, skill, &json!({ "text": format!("text {number}") })).await?;
    // An answer without the call's outcome is a failure that looks like success.
    if answer.to_string().contains("\"_error\"") {
        return Err(tonic::Status::unknown(format!("{COMPONENT_ERROR}{answer}")));
    }
    Ok(answer)
}

fn key(name: &str) -> String {
    format!("teams/default/nkv/faults/keys/{name}")
}

/// What was acknowledged.
pub struct Kept {
    number: u32,
    agent: String,
    run: String,
}

impl Kept {
    /// Everything is still there, and the run ends with the right answer.
    pub async fn check(&self, suite: &Suite) -> Result<(), String> {
        let dev = suite.client("user/dev");
        let get = GetAgentRequest { name: self.agent.clone(), version: String::new() };
        dev.agents().get_agent(get).await.map_err(|status| format!("the agent is lost: {status:?}"))?;
        let name = key(&format!("kept-{}", self.number));
        let value = dev.nkv().get_value(GetValueRequest { name, ..Default::default() }).await;
        let value = value.map_err(|status| format!("the value is lost: {status:?}"))?.into_inner();
        if value.value != "7" {
            return Err(format!("the value is another: {value:?}"));
        }
        let ended = eventually("the run ends", Duration::from_secs(30), async || {
            let run = dev.get_run(&self.run).await.ok()?;
            matches!(run.state(), RunState::Done | RunState::Failed | RunState::Cancelled).then_some(run)
        })
        .await;
        let expected = json!({ "text": format!("kept {}", self.number) });
        if ended.state() != RunState::Done || json(&ended.legacy_json) != expected {
            return Err(format!("the run ended wrongly: {ended:?}"));
        }
        Ok(())
    }
}
