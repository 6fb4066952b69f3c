//! StructuredOutput: asks a model for an object that a JSON Schema describes, and accepts no other.

mod schema;

use futures::future::{BoxFuture, FutureExt as _};
use sre_engine::Outcome;
use sre_engine::data::permissive_json;
use sre_engine::node::Node;
use sre_engine::spec::{ComponentSpec, Effect, PortSpec, SettingSpec, TypeEntry};
use sre_engine::value::Value;
use sre_proto::llm::v1::{ChatMessage, ChatRole, GenerateRequest, JsonSchema, ResponseFormat};

use self::schema::Schema;
use super::llm::{self, answer, files, parameters, prompt, validation as v};
use crate::context::{Call, Component};
use crate::outcome::{one, or_error};
use crate::settings;

/// Repairs, where the record does not say, and at most.
const USUAL_REPAIRS: u32 = 2;
const MOST_REPAIRS: f64 = 5.0;
/// Bytes of an answer that are shown to the model again.
const SHOWN_AGAIN: usize = 32 << 10;
const NAME_CHARACTERS: usize = 64;

static SPEC: ComponentSpec = ComponentSpec::new(
    "StructuredOutput",
    "Asks a language model for an object that a JSON Schema describes: what does not fit is sent back to be repaired",
)
.effect(Effect::Effect)
.settings(&[
    v::MODEL,
    v::PROMPT,
    SettingSpec::any("schema", "Schema")
        .required()
        .check(schema::check)
        .describe("a JSON Schema of the answer: an object, or its text"),
    SettingSpec::integer("maxRepairs", "Maximum Repairs", 0.0, MOST_REPAIRS)
        .default("2")
        .describe("how often a model is told what does not fit before the component fails"),
    SettingSpec::boolean("useSystemPrompt", "Use System Prompt")
        .default("false")
        .describe("puts the agent's behaviour first"),
    v::TEMPERATURE,
    v::MAX_TOKENS.default("the model's limit"),
    v::STOP_SEQUENCES,
    v::TOP_P,
    v::TOP_K,
    v::FREQUENCY_PENALTY,
    v::PRESENCE_PENALTY,
])
.inputs(&[
    PortSpec::new("Input", "Any", "for the prompt"),
    PortSpec::new("Attachment", "Binary", "files for the model, as are all inputs of binary types").optional(),
])
.outputs(&[PortSpec::new("Output", "Object", "the object; outputs that are added are its members")])
.scopes(v::SCOPES_WITH_FILES);

/// The type.
pub struct StructuredOutput;

impl Component for StructuredOutput {
    fn spec(&self) -> &'static ComponentSpec {
        &SPEC
    }

    fn entry(&self) -> TypeEntry {
        TypeEntry { validate: Some(check_outputs), ..TypeEntry::new(&SPEC) }
    }

    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        async move { or_error(ask(call).await) }.boxed()
    }
}

/// An output that no answer can fill is a mistake of the author.
fn check_outputs(node: &Node) -> Result<(), String> {
    let Some(schema) = node.setting("schema").and_then(|value| schema::document(value).ok()) else {
        return Ok(());
    };
    let added = prompt::custom_outputs(node).filter(|(name, _)| *name != "Output");
    match added.map(|(name, _)| name).find(|name| !schema::may_have(&schema, name)) {
        Some(name) => {
            Err(format!("the output \"{name}\" is no property of the schema: add it, or remove the output"))
        }
        None => Ok(()),
    }
}

async fn ask(call: Call<'_>) -> Result<Outcome, String> {
    let schema = Schema::of(call.node.setting("schema").unwrap_or(&Value::Null))?;
    let template = settings::text(call, "prompt");
    let rendered = settings::render(call, &template).await.map_err(|error| error.message)?;
    let model = llm::model(call).await?;
    let mut asked = prompt::message(ChatRole::User, rendered);
    asked.parts = files::parts(call, &model, &[]).await?;
    let mut request = GenerateRequest {
        model: llm::entry_name(&model).to_owned(),
        messages: opening(call, asked),
        ..GenerateRequest::default()
    };
    if !llm::is_echo(&model) {
        request.response_format = ResponseFormat::JsonSchema.into();
        request.json_schema = Some(JsonSchema {
            name: name(call),
            schema_json: schema.document.to_string().into(),
            strict: schema.is_strict(),
        });
    }
    parameters::apply(call, &model, &mut request);
    let key = request.idempotency_key.clone();
    let repairs = settings::number(call, "maxRepairs").map_or(USUAL_REPAIRS, repairs_of);
    let mut repaired = 0;
    loop {
        let response = llm::generate(call, request.clone()).await.map_err(|error| error.message)?;
        if let Some(why) = answer::interruption(&response) {
            return Err(why);
        }
        let wrong = match read(&response.text) {
            Some(object) => match schema.wrong(&object) {
                wrong if wrong.is_empty() => return Ok(one("Output", object)),
                wrong => wrong.join("\n"),
            },
            None => "- it is not a JSON object".to_owned(),
        };
        let attempts = repaired + 1;
        call.context
            .log(tracing::Level::WARN, &format!("answer {attempts} does not fit the schema:\n{wrong}"));
        if repaired == repairs {
            return Err(format!(
                "The model's answer does not fit the schema after {attempts} attempt(s):\n{wrong}"
            ));
        }
        repaired += 1;
        request.messages.extend(again(&response.text, &wrong));
        // Another call, not a repeat of the first one.
        request.idempotency_key = format!("{key}/repair-{repaired}");
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is cut to the range before")]
fn repairs_of(number: f64) -> u32 {
    number.clamp(0.0, MOST_REPAIRS) as u32
}

fn opening(call: Call<'_>, asked: ChatMessage) -> Vec<ChatMessage> {
    let behavior = &call.context.agent().behavior;
    let mut messages = Vec::new();
    if settings::flag(call, "useSystemPrompt") && !behavior.is_empty() {
        messages.push(prompt::message(ChatRole::System, behavior.clone()));
    }
    messages.push(asked);
    messages
}

/// The schema's name as providers take one.
fn name(call: Call<'_>) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let title = call.node.title.chars().map(|c| if fits(c) { c } else { '_' });
    let title: String = title.take(NAME_CHARACTERS).collect();
    if title.is_empty() { "answer".to_owned() } else { title }
}

/// The object of an answer.
fn read(text: &str) -> Option<Value> {
    permissive_json::parse(text).filter(|value| value.as_object().is_some())
}

/// What a model is told of an answer that does not fit.
fn again(answer: &str, wrong: &str) -> [ChatMessage; 2] {
    let shown = &answer[..answer.floor_char_boundary(SHOWN_AGAIN)];
    // A message of nothing is one that providers refuse.
    let shown = if shown.trim().is_empty() { "(nothing)" } else { shown };
    let told = format!(
        "Your answer does not fit the JSON Schema:\n{wrong}\nAnswer again with the whole corrected JSON object and \
         nothing else."
    );
    [prompt::message(ChatRole::Assistant, shown.to_owned()), prompt::message(ChatRole::User, told)]
}
