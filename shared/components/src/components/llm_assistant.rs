//! LLMAssistant: talks with a person and remembers what was said, one history per person and conversation.

mod memory;

use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use sre_engine::Outcome;
use sre_engine::spec::{ComponentSpec, Effect, PortSpec, SettingSpec};
use sre_engine::value::Value;
use sre_proto::llm::v1::{ChatMessage, ChatRole, GenerateRequest, Model, ResponseFormat};

use self::memory::{Memory, Said};
use super::llm::answer::{self, Reading};
use super::llm::preset::EMPTY;
use super::llm::{self, parameters, prompt, validation as v};
use crate::context::{Call, Component};
use crate::outcome::{failed_with, or_error, values};
use crate::settings;

/// What a model's window is taken for, where the catalogue does not say.
const USUAL_CONTEXT: i64 = 8_192;
/// What a message takes beside its text.
const FRAME_TOKENS: i64 = 3;

static SPEC: ComponentSpec = ComponentSpec::new(
    "LLMAssistant",
    "Talks with a person: a language model with a memory of what was said",
)
.effect(Effect::Effect)
.settings(&[
    v::MODEL,
    SettingSpec::text_or_empty("behavior", "Behavior", 30_000)
        .template()
        .describe("how to behave; what it says now counts for conversations that began earlier too"),
    v::TEMPERATURE,
    v::MAX_TOKENS,
    v::STOP_SEQUENCES,
    v::TOP_P,
    v::TOP_K,
    v::FREQUENCY_PENALTY,
    v::PRESENCE_PENALTY,
    SettingSpec::any("ttl", "Time To Live")
        .check(check_ttl)
        .default("no end")
        .describe("seconds after its last message until a conversation is forgotten"),
    v::PASSTHROUGH,
])
.inputs(&[
    PortSpec::new("UserInput", "Text", "what the person says"),
    PortSpec::new("UserId", "Text", "who says it").optional(),
    PortSpec::new("ConversationId", "Text", "in which conversation; without both ids nothing is remembered")
        .optional(),
])
.outputs(&[PortSpec::new("Response", "Any", "the answer; outputs that are added are its members")])
.scopes(&[
    "sre.llm.v1.Inference",
    "sre.llm.v1.Models",
    "sre.security.v1.Vault",
    "sre.io.v1.Storage:read",
    "sre.io.v1.Storage:write",
]);

/// The type.
pub struct LlmAssistant;

impl Component for LlmAssistant {
    fn spec(&self) -> &'static ComponentSpec {
        &SPEC
    }

    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        async move { or_error(talk(call).await) }.boxed()
    }
}

fn check_ttl(value: &Value) -> Result<(), String> {
    let is_none = value.is_null() || value.as_str().is_some_and(str::is_empty);
    match value.to_f64_lenient() {
        Some(seconds) if (0.0..=1e9).contains(&seconds) => Ok(()),
        None if is_none => Ok(()),
        _ => Err("\"Time To Live\" must be a number of seconds".to_owned()),
    }
}

async fn talk(call: Call<'_>) -> Result<Outcome, String> {
    let input = |name: &str| call.get(name).filter(|value| value.truthy()).map(Value::to_text);
    let said = input("UserInput").unwrap_or_default();
    let behavior = settings::render(call, &settings::text(call, "behavior")).await;
    let behavior = behavior.map_err(|error| error.message)?;
    let model = llm::model(call).await?;
    if said.is_empty() {
        return Err(EMPTY.to_owned());
    }
    let memory = Memory::of(call, input("UserId").as_deref(), input("ConversationId").as_deref());
    let known = match &memory {
        Some(memory) => memory.recall().await?,
        None => Vec::new(),
    };

    let asked = if llm::is_echo(&model) { said.clone() } else { prompt::with_format(&said, call.node) };
    let structured = prompt::custom_outputs(call.node).next().is_some();
    let mut messages: Vec<ChatMessage> = Vec::new();
    if !behavior.is_empty() {
        messages.push(prompt::message(ChatRole::System, behavior.clone()));
    }
    let earlier = within(call, &model, &behavior, &asked, known).await?;
    messages.extend(earlier.iter().map(Said::message));
    messages.push(prompt::message(ChatRole::User, asked));
    let mut request = GenerateRequest {
        model: llm::entry_name(&model).to_owned(),
        messages,
        response_format: if structured { ResponseFormat::Json } else { ResponseFormat::Unspecified }.into(),
        ..GenerateRequest::default()
    };
    parameters::apply(call, &model, &mut request);
    let answered = match settings::flag(call, "passthrough") {
        true => llm::generate(call, request).await,
        false => llm::answer(call, request).await,
    };
    let response = answered.map_err(|error| format!("{} ", error.message))?;
    if response.text.is_empty() {
        return Err(EMPTY.to_owned());
    }
    if let Some(why) = answer::interruption(&response) {
        return Ok(failed_with([("Response", Value::from(response.text))], &why));
    }

    let reading = if structured { Reading::Json } else { Reading::Text };
    let reply = match llm::is_echo(&model) {
        true => Value::from(response.text.as_str()),
        false => answer::value(&response.text, reading, &model),
    };
    let Some(memory) = memory else { return Ok(values([("Response", reply)])) };
    // The model's own words are kept, whatever is made of them here.
    let turn = [Said::user(said), Said::assistant(response.text)];
    Ok(match memory.keep(turn, time_to_live(call)).await {
        Ok(()) => values([("Response", reply)]),
        Err(error) => {
            let warning = format!("The conversation could not be remembered: {error}");
            values([("Response", reply), ("_warning", Value::from(warning))])
        }
    })
}

fn time_to_live(call: Call<'_>) -> Option<Duration> {
    settings::number(call, "ttl").filter(|seconds| *seconds > 0.0).map(Duration::from_secs_f64)
}

/// The newest of the earlier messages that have room in half of the model's window, from one of the person's on.
async fn within(
    call: Call<'_>,
    model: &Model,
    behavior: &str,
    asked: &str,
    known: Vec<Said>,
) -> Result<Vec<Said>, String> {
    if known.is_empty() {
        return Ok(known);
    }
    let texts = [behavior, asked].into_iter().chain(known.iter().map(|said| said.text.as_str()));
    let texts: Vec<String> = texts.map(str::to_owned).collect();
    let counted = call.context.models().count_tokens(llm::entry_name(model), texts).await;
    let tokens = counted.map_err(|error| error.message)?;
    let (now, earlier) = tokens.split_at(tokens.len().min(2));
    let context = Some(model.context_tokens).filter(|tokens| *tokens > 0).unwrap_or(USUAL_CONTEXT);
    let mut room = context / 2 - now.iter().map(|tokens| tokens + FRAME_TOKENS).sum::<i64>();
    let mut from = known.len();
    for (place, tokens) in earlier.iter().enumerate().rev() {
        room -= tokens + FRAME_TOKENS;
        if room < 0 {
            break;
        }
        from = place;
    }
    let newest = known.into_iter().skip(from);
    Ok(newest.skip_while(|said| !said.is_user()).collect())
}
