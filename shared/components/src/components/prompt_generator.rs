//! PromptGenerator, once called LLMPrompt: the older way to ask a model.

use futures::future::{BoxFuture, FutureExt as _};
use sre_engine::Outcome;
use sre_engine::spec::{ComponentSpec, Effect, PortSpec, SettingSpec};
use sre_engine::value::Value;
use sre_proto::llm::v1::{ChatRole, GenerateRequest, ResponseFormat};

use super::llm::answer::{self, Reading};
use super::llm::{self, parameters, prompt, validation as v};
use crate::context::{Call, Component};
use crate::outcome::{failed_with, one, or_error};
use crate::settings;

const EMPTY: &str = " LLM Error = Empty Response!";

static SPEC: ComponentSpec =
    ComponentSpec::new("PromptGenerator", "Asks a language model; GenAILLM does more")
        .aliases(&["LLMPrompt"])
        .effect(Effect::Effect)
        .settings(&[
            v::MODEL,
            v::PROMPT,
            v::TEMPERATURE,
            v::MAX_TOKENS,
            v::STOP_SEQUENCES,
            v::TOP_P,
            v::TOP_K,
            v::FREQUENCY_PENALTY,
            v::PRESENCE_PENALTY,
            SettingSpec::one_of("responseFormat", "Response Format", &["json", "text", ""])
                .default("json")
                .describe("`json` reads the answer as JSON"),
            v::PASSTHROUGH,
        ])
        .inputs(&[PortSpec::new("Input", "Any", "for the prompt")])
        .outputs(&[PortSpec::new("Reply", "Any", "the answer; outputs that are added are its members")])
        .scopes(&["sre.llm.v1.Inference", "sre.llm.v1.Models", "sre.security.v1.Vault"]);

/// The type.
pub struct PromptGenerator;

impl Component for PromptGenerator {
    fn spec(&self) -> &'static ComponentSpec {
        &SPEC
    }

    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        async move { or_error(ask(call).await) }.boxed()
    }
}

async fn ask(call: Call<'_>) -> Result<Outcome, String> {
    let template = settings::text(call, "prompt");
    let rendered = settings::render(call, &template).await.map_err(|error| error.message)?;
    let model = llm::model(call).await?;
    if rendered.is_empty() {
        return Err(EMPTY.to_owned());
    }
    let text = if llm::is_echo(&model) { rendered } else { prompt::with_format(&rendered, call.node) };
    let format = parameters::response_format(call).unwrap_or(ResponseFormat::Json);
    let mut request = GenerateRequest {
        model: llm::entry_name(&model).to_owned(),
        messages: vec![prompt::message(ChatRole::User, text)],
        response_format: format.into(),
        ..GenerateRequest::default()
    };
    parameters::apply(call, &model, &mut request);

    let response =
        llm::generate(call, request).await.map_err(|error| format!("Error: {} ", error.message))?;
    if response.text.is_empty() {
        return Ok(Outcome::error(EMPTY));
    }
    if let Some(why) = answer::interruption(&response) {
        return Ok(failed_with([("Reply", Value::from(response.text))], &why));
    }
    if settings::flag(call, "passthrough") {
        // Watchers have seen the text as it is.
        return Ok(one("Reply", response.text));
    }
    let reading = if format == ResponseFormat::Json { Reading::Json } else { Reading::Text };
    let reply = answer::value(&response.text, reading, &model);
    Ok(match answer::reported_error(&reply).filter(|_| reading == Reading::Json) {
        Some(error) => failed_with([("Reply", reply)], &error),
        None => one("Reply", reply),
    })
}
