//! AgentPlugin: a model that answers with the skills of another agent as its tools.

use futures::future::{BoxFuture, FutureExt as _};
use sre_engine::Outcome;
use sre_engine::spec::{ComponentSpec, Effect, PortSpec, SettingSpec};

use super::llm::answer::{self, Reading};
use super::llm::{self, prompt};
use super::talk;
use crate::context::calls::{Callee, Talk, VersionOf};
use crate::context::{Call, Component};
use crate::outcome::{one, or_error};
use crate::settings;

static SPEC: ComponentSpec = ComponentSpec::new(
    "AgentPlugin",
    "Asks another agent: a model answers with that agent's skills as its tools",
)
.effect(Effect::Effect)
.waits()
.settings(&[
    SettingSpec::text_or_empty("agentId", "Agent Id", 200)
        .required()
        .describe("the agent; it must let this agent call it"),
    talk::MODEL,
    talk::OLD_MODEL,
    SettingSpec::text_or_empty("descForModel", "Description for Model", 5000)
        .template()
        .describe("what the model is told about its task; empty for the other agent's behaviour"),
    SettingSpec::text_or_empty("version", "Version", 64).default("dev-latest").describe(
        "which version of the agent: `same-as-parent`, `dev-latest`, `prod-latest`, or a version's id",
    ),
    talk::MAX_ROUNDS,
    talk::MAX_TOOL_CALLS,
    talk::ID,
    SettingSpec::text_or_empty("name", "Name", 200).nullable().describe("what messages call the agent"),
    talk::DESC,
    talk::LOGO,
    talk::DOMAIN,
])
.inputs(&[PortSpec::new("Prompt", "Any", "what the agent is asked; what is no text is sent as JSON")])
.outputs(&[PortSpec::new("Response", "Any", "the answer; outputs that are added are its members")])
.scopes(&["sre.llm.v1.Models", "sre.security.v1.Vault"]);

/// The type.
pub struct AgentPlugin;

impl Component for AgentPlugin {
    fn spec(&self) -> &'static ComponentSpec {
        &SPEC
    }

    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        async move { or_error(ask(call).await) }.boxed()
    }
}

async fn ask(call: Call<'_>) -> Result<Outcome, String> {
    let agent = settings::text(call, "agentId").trim().to_owned();
    if agent.is_empty() {
        return Err("Agent Component ID is required!".to_owned());
    }
    let model = talk::model(call).await?;
    talk_with(call, agent, &model)
        .await
        .map_err(|message| format!("Error on running Agent Component!\n{message}"))
}

async fn talk_with(
    call: Call<'_>,
    agent: String,
    model: &sre_proto::llm::v1::Model,
) -> Result<Outcome, String> {
    let instructions = settings::text(call, "descForModel");
    let instructions = settings::render(call, &instructions).await.map_err(|error| error.message)?;
    let question = talk::question(call, &["Prompt"]);
    if question.is_empty() {
        return Err("Please provide a prompt".to_owned());
    }
    // An echo is no answer in a form that was asked for.
    let prompt = if llm::is_echo(model) { question } else { prompt::with_format(&question, call.node) };
    let name = settings::text(call, "name");
    let (rounds, tool_calls) = talk::limits(call);
    let asked = Talk {
        callee: Callee {
            name: if name.is_empty() { agent.clone() } else { name },
            agent,
            version: VersionOf::parse(&settings::text(call, "version")),
        },
        model: llm::entry_name(model).to_owned(),
        instructions,
        prompt,
        rounds,
        tool_calls,
        own_tools: None,
    };
    let text = call.context.calls().talk(asked).await.map_err(|error| error.message)?;
    if text.is_empty() {
        return Err(talk::EMPTY.to_owned());
    }
    Ok(one("Response", answer::value(&text, Reading::Json, model)))
}
