//! What the components share in which a model answers and may call tools: AgentPlugin, OpenAPI, MCPClient.

use sre_engine::Outcome;
use sre_engine::spec::SettingSpec;
use sre_engine::value::Value;
use sre_proto::llm::v1::Model;

use super::llm;
use crate::context::calls::{Callee, Talk};
use crate::context::{Call, Failure};
use crate::outcome::one;
use crate::settings;

/// Calls of the model in one talk that may call tools, unless the author says.
pub(crate) const ROUNDS: u32 = 25;
/// Calls of tools in one talk, unless the author says.
pub(crate) const TOOL_CALLS: u32 = 100;

/// A model that says nothing, in the words of the reference.
pub(crate) const EMPTY: &str = " LLM Error = Empty Response!";

const DEFAULT_MODEL: &str = "Echo";

pub(crate) const MODEL: SettingSpec = SettingSpec::text_or_empty("model", "Model", 200)
    .default(DEFAULT_MODEL)
    .describe("a name of the model catalogue");
pub(crate) const OLD_MODEL: SettingSpec = SettingSpec::text_or_empty("openAiModel", "Model", 200)
    .describe("the older name of `model`, which counts where both are set");
pub(crate) const MAX_ROUNDS: SettingSpec = SettingSpec::integer("maxRounds", "Maximum Rounds", 1.0, 200.0)
    .default("25")
    .describe("how often the model may call tools before it must answer");
pub(crate) const MAX_TOOL_CALLS: SettingSpec =
    SettingSpec::integer("maxToolCalls", "Maximum Tool Calls", 1.0, 1000.0)
        .default("100")
        .describe("how many calls of tools there may be in all");
pub(crate) const ID: SettingSpec = shown("id", "Id");
pub(crate) const DESC: SettingSpec =
    SettingSpec::text_or_empty("desc", "Description", 5000).describe("shown to people in the editor");
pub(crate) const LOGO: SettingSpec = shown("logoUrl", "Logo");
pub(crate) const DOMAIN: SettingSpec = shown("domain", "Domain");

const fn shown(name: &'static str, label: &'static str) -> SettingSpec {
    SettingSpec::text_or_empty(name, label, 2048).nullable().describe("for the editor; without effect")
}

/// The model that a component names.
///
/// # Errors
/// The message says that it is not available, if the catalogue does not have it.
pub(crate) async fn model(call: Call<'_>) -> Result<Model, String> {
    let named = |setting: &str| call.node.text_setting(setting).filter(|name| !name.is_empty());
    let name = named("model").or_else(|| named("openAiModel")).unwrap_or(DEFAULT_MODEL);
    call.context.model(name).await.map_err(|error| match error.kind {
        Failure::NotFound => format!("The model '{name}' is not available. Please try a different one."),
        _ => error.message,
    })
}

/// What is asked: texts as they are, everything else as JSON. Empty where there is nothing.
pub(crate) fn question(call: Call<'_>, inputs: &[&str]) -> String {
    let is_there = |value: &&Value| !matches!(value, Value::Null) && value.as_str() != Some("");
    let found = inputs.iter().filter_map(|name| call.get(name)).find(is_there);
    found.map_or_else(String::new, text)
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.to_string(),
        other => other.to_json_text(),
    }
}

/// How often the model may call tools, and how many calls there may be.
pub(crate) fn limits(call: Call<'_>) -> (u32, u32) {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "validated to be small and positive"
    )]
    let count = |name: &str, usual: u32| {
        settings::number(call, name).filter(|count| *count >= 1.0).map_or(usual, |count| count as u32)
    };
    (count("maxRounds", ROUNDS), count("maxToolCalls", TOOL_CALLS))
}

/// Asks the model, which may call the component's own tools.
///
/// # Errors
/// Why there is no answer.
pub(crate) async fn with_own_tools(call: Call<'_>, prompt: String) -> Result<Outcome, String> {
    let model = model(call).await?;
    let instructions = settings::text(call, "descForModel");
    let instructions = settings::render(call, &instructions).await.map_err(|error| error.message)?;
    let (rounds, tool_calls) = limits(call);
    let asked = Talk {
        callee: Callee::default(),
        model: llm::entry_name(&model).to_owned(),
        instructions,
        prompt,
        rounds,
        tool_calls,
        own_tools: Some(call.input.clone()),
    };
    let text = call.context.calls().talk(asked).await.map_err(|error| error.message)?;
    if text.is_empty() { Err(EMPTY.to_owned()) } else { Ok(one("Output", text)) }
}
