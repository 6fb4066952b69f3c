//! The history as messages of content blocks: results of tools are a person's, first in their message.

use serde_json::{Value, json};
use sre_proto::llm::v1 as pb;
use sre_proto::llm::v1::part::Part as Kind;

use super::media;
use crate::inference::error::InferenceError;
use crate::inference::providers::history::{self, BLANK, unseal};
use crate::inference::providers::names::Names;
use crate::inference::providers::structured;
use crate::models::Resolved;

/// In place of a block: the blocks of an answer that the provider paused, to be sent back as they are.
pub const PAUSED: &str = "sre_paused_content";

/// Whether a message is an answer that the provider paused.
pub fn is_paused(message: &pb::ChatMessage) -> bool {
    message.parts.iter().any(|part| {
        matches!(&part.part, Some(Kind::ProviderItem(item))
            if serde_json::from_slice::<Value>(&item.json).is_ok_and(|item| item.get(PAUSED).is_some()))
    })
}

/// A message with whether what is up to it may be kept.
pub struct Turn {
    pub is_assistant: bool,
    pub content: Vec<Value>,
    pub breakpoint: bool,
}

/// The turns of a history that [`history::of_a_person`] put in order.
pub fn turns(
    messages: &[pb::ChatMessage],
    model: &Resolved,
    names: &Names,
) -> Result<Vec<Turn>, InferenceError> {
    let mut turns: Vec<Turn> = Vec::new();
    for message in messages {
        let is_assistant = message.role() == pb::ChatRole::Assistant;
        let content = match message.role() {
            pb::ChatRole::Assistant => spoken(message, model, names),
            pb::ChatRole::Tool => vec![result(message)?],
            _ => asked(message)?,
        };
        match turns.last_mut().filter(|last| last.is_assistant == is_assistant) {
            Some(last) => {
                last.content.extend(content);
                last.breakpoint |= message.cache_breakpoint;
            }
            None => turns.push(Turn { is_assistant, content, breakpoint: message.cache_breakpoint }),
        }
    }
    Ok(turns)
}

fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

/// What a person said. Blank texts are refused, so they are left out where there is anything else.
fn asked(message: &pb::ChatMessage) -> Result<Vec<Value>, InferenceError> {
    let mut content = Vec::new();
    let said = |words: &str, content: &mut Vec<Value>| {
        if !words.trim().is_empty() {
            content.push(text(words));
        }
    };
    said(&message.text, &mut content);
    for part in &message.parts {
        match &part.part {
            Some(Kind::Text(words)) => said(words, &mut content),
            Some(Kind::Media(medium)) => content.push(media::block(medium)?),
            Some(Kind::Thinking(_) | Kind::ProviderItem(_)) | None => {}
        }
    }
    if content.is_empty() {
        content.push(text(BLANK));
    }
    Ok(content)
}

/// What the model said: its thinking first, as the API wants it, then what its server did, text, calls.
fn spoken(message: &pb::ChatMessage, model: &Resolved, names: &Names) -> Vec<Value> {
    let mut content: Vec<Value> =
        message.parts.iter().filter_map(|part| thought(part.part.as_ref()?, model)).collect();
    for part in &message.parts {
        let Some(Kind::ProviderItem(item)) = &part.part else { continue };
        match serde_json::from_slice(&item.json) {
            Ok(Value::Object(mut paused)) if paused.contains_key(PAUSED) => {
                if let Some(Value::Array(blocks)) = paused.remove(PAUSED) {
                    content.extend(blocks);
                }
            }
            Ok(block @ Value::Object(_)) => content.push(block),
            _ => {}
        }
    }
    // The API refuses an answer that ends in blanks.
    let texts = history::texts(message).map(str::trim_end).filter(|words| !words.is_empty());
    content.extend(texts.map(text));
    content.extend(message.tool_calls.iter().map(|call| {
        json!({"type": "tool_use", "id": history::wire_id(&call.id), "name": names.wire(&call.name),
            "input": structured::arguments(call)})
    }));
    if content.iter().all(is_thought) {
        content.push(text(BLANK));
    }
    content
}

fn thought(part: &Kind, model: &Resolved) -> Option<Value> {
    let Kind::Thinking(thinking) = part else { return None };
    if let Some(data) = unseal(model, &thinking.redacted) {
        return Some(json!({"type": "redacted_thinking", "data": data}));
    }
    // What is not signed is refused.
    let signature = unseal(model, &thinking.signature)?;
    Some(json!({"type": "thinking", "thinking": thinking.text, "signature": signature}))
}

/// Whether a block is thinking: nothing may be marked on it.
pub fn is_thought(block: &Value) -> bool {
    matches!(block["type"].as_str(), Some("thinking" | "redacted_thinking"))
}

fn result(message: &pb::ChatMessage) -> Result<Value, InferenceError> {
    let has_media = message.parts.iter().any(|part| matches!(part.part, Some(Kind::Media(_))));
    let content: Value = if has_media {
        asked(message)?.into()
    } else {
        history::texts(message).collect::<Vec<_>>().join("\n").into()
    };
    let mut block = json!({"type": "tool_result", "tool_use_id": history::wire_id(&message.tool_call_id),
        "content": content});
    if message.tool_failed {
        block["is_error"] = true.into();
    }
    Ok(block)
}
