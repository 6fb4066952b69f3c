//! Classifier: asks a model which of its outputs the inputs belong to.

use futures::future::{BoxFuture, FutureExt as _};
use serde_json::{Value as Json, json};
use sre_engine::Outcome;
use sre_engine::data::permissive_json;
use sre_engine::spec::{ComponentSpec, Effect, PortSpec, SettingSpec};
use sre_engine::value::{Map, Value};
use sre_proto::llm::v1::{ChatRole, GenerateRequest, JsonSchema, ResponseFormat};

use super::llm::answer::{self, Reading};
use super::llm::{self, parameters, prompt, validation as v};
use crate::context::{Call, Component};
use crate::outcome::or_error;
use crate::settings;

const RULE: &str = "Sort what the inputs above say into the categories below. Answer with a JSON object that has \
                    one member for each category: true, or a short text that says why, where it applies; false \
                    where it does not.";

static SPEC: ComponentSpec = ComponentSpec::new(
    "Classifier",
    "Asks a language model which categories the inputs belong to; each category is an output",
)
.effect(Effect::Effect)
.settings(&[
    v::MODEL,
    SettingSpec::text_or_empty("prompt", "Prompt", 30_000)
        .template()
        .describe("what to look at; the categories are the outputs, each described by its own description"),
    v::TEMPERATURE,
    v::MAX_TOKENS,
    v::STOP_SEQUENCES,
    v::TOP_P,
    v::TOP_K,
    v::FREQUENCY_PENALTY,
    v::PRESENCE_PENALTY,
    v::PASSTHROUGH,
])
.inputs(&[PortSpec::new("Input", "Any", "what to classify; all inputs are shown to the model")])
.scopes(v::SCOPES);

/// The type.
pub struct Classifier;

impl Component for Classifier {
    fn spec(&self) -> &'static ComponentSpec {
        &SPEC
    }

    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        async move { or_error(classify(call).await) }.boxed()
    }
}

async fn classify(call: Call<'_>) -> Result<Outcome, String> {
    let categories = categories(call);
    if categories.is_empty() {
        return Err("Missing information, Cannot run classifier".to_owned());
    }
    let wish = settings::render(call, &settings::text(call, "prompt")).await;
    let text = assembled(&wish.map_err(|error| error.message)?, &call.declared(), &categories);
    let model = llm::model(call).await?;
    let mut request = GenerateRequest {
        model: llm::entry_name(&model).to_owned(),
        messages: vec![prompt::message(ChatRole::User, text)],
        ..GenerateRequest::default()
    };
    if !llm::is_echo(&model) {
        request.response_format = ResponseFormat::JsonSchema.into();
        request.json_schema = Some(schema(&categories));
    }
    parameters::apply(call, &model, &mut request);
    let response = llm::generate(call, request).await.map_err(|error| format!("{} ", error.message))?;
    if let Some(why) = answer::interruption(&response) {
        return Err(why);
    }
    let Value::Object(found) = answer::value(&response.text, Reading::Json, &model) else {
        return Err("Classifier: model answer is not JSON".to_owned());
    };
    Ok(Outcome::output(applying(&found)))
}

/// Name and description of each category: the record's outputs, without those that errors come out of.
fn categories(call: Call<'_>) -> Vec<(&str, &str)> {
    let outputs = call.node.outputs.iter().map(|output| (output.name.as_ref(), output.description.as_ref()));
    outputs.filter(|(name, _)| !matches!(*name, "_error" | "_debug")).collect()
}

/// The whole prompt. What comes in is data: it is written as JSON after everything was rendered.
fn assembled(wish: &str, inputs: &Map, categories: &[(&str, &str)]) -> String {
    let described: serde_json::Map<String, Json> =
        categories.iter().map(|(name, about)| ((*name).to_owned(), Json::from(*about))).collect();
    let inputs = Json::from(Value::object(inputs.clone()));
    format!("{wish}\n{inputs:#}\n---\n{RULE}\nCategories:\n{:#}", Json::Object(described))
}

fn schema(categories: &[(&str, &str)]) -> JsonSchema {
    let one = |(name, about): &(&str, &str)| {
        let mut property = json!({"anyOf": [{"type": "boolean"}, {"type": "string"}]});
        if !about.is_empty() {
            property["description"] = json!(about);
        }
        ((*name).to_owned(), property)
    };
    let properties: serde_json::Map<String, Json> = categories.iter().map(one).collect();
    let required: Vec<&str> = categories.iter().map(|(name, _)| *name).collect();
    let schema = json!({
        "type": "object", "properties": properties, "required": required, "additionalProperties": false,
    });
    JsonSchema { name: "categories".to_owned(), schema_json: schema.to_string().into(), strict: true }
}

/// The categories that apply: a falsy one does not come out at all. An error that the model reports is one.
fn applying(found: &Map) -> Map {
    let truthy = found.iter().filter(|(_, value)| value.truthy());
    let member = |(name, value): (&std::sync::Arc<str>, &Value)| match name.as_ref() {
        "error" => ("_error".into(), Value::from(value.to_text())),
        _ => (name.clone(), unfolded(value)),
    };
    truthy.map(member).collect()
}

/// A text that is JSON as what it says.
fn unfolded(value: &Value) -> Value {
    let parsed = value.as_str().and_then(permissive_json::parse);
    parsed.unwrap_or_else(|| value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_falsy_does_not_come_out() {
        let found = json!({"happy": true, "sad": "", "z": "false", "error": "boo", "n": 0, "o": "{\"a\":1}"});
        let Value::Object(found) = Value::from(found) else { panic!("an object") };
        let expected = json!({"happy": true, "z": "false", "_error": "boo", "o": {"a": 1}});
        assert_eq!(Json::from(Value::object(applying(&found))), expected);
    }
}
