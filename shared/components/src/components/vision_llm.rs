//! VisionLLM: asks a model about images. GenAILLM with an Attachment does more.

use futures::future::{BoxFuture, FutureExt as _};
use sre_engine::Outcome;
use sre_engine::spec::{ComponentSpec, Effect, PortSpec};

use super::llm::preset::{self, Preset};
use super::llm::validation as v;
use crate::context::{Call, Component};
use crate::outcome::or_error;

static SPEC: ComponentSpec =
    ComponentSpec::new("VisionLLM", "Asks a language model about images; GenAILLM does more")
        .effect(Effect::Effect)
        .settings(&[
            v::MODEL,
            v::PROMPT,
            v::TEMPERATURE,
            v::MAX_TOKENS.default("the model's limit"),
            v::STOP_SEQUENCES,
            v::TOP_P,
            v::TOP_K,
            v::FREQUENCY_PENALTY,
            v::PRESENCE_PENALTY,
            v::RESPONSE_FORMAT.default("json"),
            v::PASSTHROUGH,
        ])
        .inputs(&[PortSpec::new("Images", "Image", "one image or many: files, addresses, data URLs")])
        .outputs(&[PortSpec::new("Reply", "Any", "the answer; outputs that are added are its members")])
        .scopes(v::SCOPES_WITH_FILES);

/// The type.
pub struct VisionLlm;

impl Component for VisionLlm {
    fn spec(&self) -> &'static ComponentSpec {
        &SPEC
    }

    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        let preset =
            Preset { default_model: "Echo", error_prefix: "Error: ", files: &["Images"], takes_files: true };
        async move { or_error(preset::ask(call, preset).await) }.boxed()
    }
}
