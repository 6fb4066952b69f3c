//! PromptGenerator, once called LLMPrompt: the older way to ask a model.

use futures::future::{BoxFuture, FutureExt as _};
use sre_engine::Outcome;
use sre_engine::spec::{ComponentSpec, Effect, PortSpec};

use super::llm::preset::{self, Preset};
use super::llm::validation as v;
use crate::context::{Call, Component};
use crate::outcome::or_error;

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
            v::RESPONSE_FORMAT.default("json"),
            v::PASSTHROUGH,
        ])
        .inputs(&[PortSpec::new("Input", "Any", "for the prompt")])
        .outputs(&[PortSpec::new("Reply", "Any", "the answer; outputs that are added are its members")])
        .scopes(v::SCOPES);

/// The type.
pub struct PromptGenerator;

impl Component for PromptGenerator {
    fn spec(&self) -> &'static ComponentSpec {
        &SPEC
    }

    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        let preset =
            Preset { default_model: "Echo", error_prefix: "Error: ", files: &[], takes_files: false };
        async move { or_error(preset::ask(call, preset).await) }.boxed()
    }
}
