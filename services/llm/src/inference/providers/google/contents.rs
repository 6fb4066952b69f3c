//! The history as contents: a person's and results of tools as `user`, the model's as `model`.

use serde_json::{Map, Value, json};
use sre_proto::llm::v1 as pb;
use sre_proto::llm::v1::part::Part as Kind;

use super::answer::MADE_ID;
use super::media;
use super::request::Flavour;
use crate::inference::error::InferenceError;
use crate::inference::providers::history::{self, BLANK, unseal};
use crate::inference::providers::names::Names;
use crate::inference::providers::{reasoning, structured};
use crate::models::Resolved;

/// What the API takes in place of a signature of a call that another model made: its documentation gives it for
/// histories that are carried over.
const FOREIGN_CALL: &str = "skip_thought_signature_validator";

/// The contents of a history that [`history::of_a_person`] put in order.
pub fn contents(
    messages: &[pb::ChatMessage],
    model: &Resolved,
    names: &Names,
    flavour: Flavour,
) -> Result<Vec<Value>, InferenceError> {
    let mut contents: Vec<(&str, Vec<Value>)> = Vec::new();
    for message in messages {
        let (role, parts) = match message.role() {
            pb::ChatRole::Assistant => ("model", spoken(message, model, names, flavour)),
            pb::ChatRole::Tool => ("user", result(message, names, flavour)?),
            _ => ("user", asked(message, flavour)?),
        };
        // Results of one turn are one content, and nothing a person says is among them.
        let is_result = message.role() == pb::ChatRole::Tool;
        match contents.last_mut() {
            Some((last, known)) if *last == role && is_result && is_results(known) => known.extend(parts),
            _ => contents.push((role, parts)),
        }
    }
    Ok(contents.into_iter().map(|(role, parts)| json!({"role": role, "parts": parts})).collect())
}

/// Whether an id is told: Vertex AI knows none, and ids that this service made are not the provider's.
fn has_id(id: &str, flavour: Flavour) -> bool {
    flavour == Flavour::GoogleAi && !id.starts_with(MADE_ID)
}

fn is_results(parts: &[Value]) -> bool {
    parts.first().is_some_and(|part| part.get("functionResponse").is_some())
}

fn asked(message: &pb::ChatMessage, flavour: Flavour) -> Result<Vec<Value>, InferenceError> {
    let mut parts = Vec::new();
    if !message.text.is_empty() {
        parts.push(json!({"text": message.text}));
    }
    for part in &message.parts {
        match &part.part {
            Some(Kind::Text(text)) => parts.push(json!({"text": text})),
            Some(Kind::Media(medium)) => parts.push(media::part(medium, flavour)?),
            Some(Kind::Thinking(_) | Kind::ProviderItem(_)) | None => {}
        }
    }
    media::check_films(&parts)?;
    if parts.is_empty() {
        parts.push(json!({"text": BLANK}));
    }
    Ok(parts)
}

/// What the model said: parts that only Gemini understands, text, calls with the signatures of their thoughts.
fn spoken(message: &pb::ChatMessage, model: &Resolved, names: &Names, flavour: Flavour) -> Vec<Value> {
    let mut parts: Vec<Value> = Vec::new();
    for part in &message.parts {
        match &part.part {
            Some(Kind::ProviderItem(item)) => {
                if let Ok(item @ Value::Object(_)) = serde_json::from_slice(&item.json) {
                    parts.push(item);
                }
            }
            Some(Kind::Thinking(thinking)) if thinking.text.is_empty() => {
                // The signature of a text stands on an empty one.
                if let Some(signature) = unseal(model, &thinking.signature) {
                    parts.push(json!({"text": "", "thoughtSignature": signature}));
                }
            }
            _ => {}
        }
    }
    parts.extend(history::texts(message).map(|text| json!({"text": text})));
    let needs_signature = reasoning::gemini(&model.model_id).is_some_and(|version| version >= (3, 0));
    for (index, call) in message.tool_calls.iter().enumerate() {
        let mut part = Map::new();
        let mut function = json!({"name": names.wire(&call.name), "args": structured::arguments(call)});
        if has_id(&call.id, flavour) {
            function["id"] = call.id.clone().into();
        }
        part.insert("functionCall".into(), function);
        let sealed = std::str::from_utf8(&call.signature).unwrap_or_default();
        let signature = unseal(model, sealed).or((needs_signature && index == 0).then_some(FOREIGN_CALL));
        if let Some(signature) = signature {
            part.insert("thoughtSignature".into(), signature.into());
        }
        parts.push(part.into());
    }
    if parts.is_empty() {
        parts.push(json!({"text": BLANK}));
    }
    parts
}

/// A result: an object. What a tool says is given under `result`, what it failed with under `error`; the parts that
/// are no text follow it.
fn result(message: &pb::ChatMessage, names: &Names, flavour: Flavour) -> Result<Vec<Value>, InferenceError> {
    let text = history::texts(message).collect::<Vec<_>>().join("\n");
    let response = match serde_json::from_str(&text) {
        Ok(object @ Value::Object(_)) if !message.tool_failed => object,
        Ok(value) if !message.tool_failed => json!({"result": value}),
        _ if message.tool_failed => json!({"error": text}),
        _ => json!({"result": text}),
    };
    let mut function = json!({"name": names.wire(&message.tool_name), "response": response});
    if has_id(&message.tool_call_id, flavour) {
        function["id"] = message.tool_call_id.clone().into();
    }
    let mut parts = vec![json!({"functionResponse": function})];
    for part in &message.parts {
        if let Some(Kind::Media(medium)) = &part.part {
            parts.push(media::part(medium, flavour)?);
        }
    }
    Ok(parts)
}
