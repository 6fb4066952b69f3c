//! The messages of a request.

use serde_json::{Value, json};
use sre_proto::llm::v1 as pb;
use sre_proto::llm::v1::media::Source;
use sre_proto::llm::v1::part::Part as Kind;

use super::dialects::{Dialect, Effort, Media};
use crate::inference::error::InferenceError;
use crate::inference::providers::{Call, history, media};

/// Images that all of these services take, at OpenAI's limit.
const IMAGES: media::Kind =
    media::Kind { types: &["image/png", "image/jpeg", "image/webp", "image/gif"], max_bytes: 20 << 20 };
const DOCUMENTS: media::Kind = media::Kind { types: &["application/pdf"], max_bytes: 25 << 20 };

/// A history in this format; an instruction is put behind the system text.
pub fn messages(
    call: &Call,
    dialect: &Dialect,
    instruction: Option<&str>,
) -> Result<Vec<Value>, InferenceError> {
    let mut turns = if dialect.tools {
        history::consistent(&call.request.messages, &call.model)
    } else {
        without_tools(call)
    };
    let first = turns.first().filter(|first| first.role() == pb::ChatRole::System);
    let mut system =
        first.map(|first| history::texts(first).collect::<Vec<_>>().join("\n\n")).unwrap_or_default();
    if first.is_some() {
        turns.remove(0);
    }
    if let Some(instruction) = instruction {
        system = crate::inference::providers::structured::instructed(&system, instruction);
    }
    let mut wire: Vec<Value> =
        turns.iter().map(|turn| message(turn, dialect)).collect::<Result<_, InferenceError>>()?;
    if system.is_empty() {
        return Ok(wire);
    }
    if takes_system(call) {
        wire.insert(0, json!({"role": "system", "content": system}));
    } else {
        in_first_user(&mut wire, &system);
    }
    Ok(wire)
}

/// What was called and what came of it, in words: another provider's model may have called tools before this one,
/// which knows none and wants a person to speak last.
fn without_tools(call: &Call) -> Vec<pb::ChatMessage> {
    let told = call.request.messages.iter().map(|message| {
        let mut told = message.clone();
        told.tool_calls.clear();
        if message.role() == pb::ChatRole::Tool {
            told.role = pb::ChatRole::User as i32;
            let name = if message.tool_name.is_empty() { "tool" } else { &message.tool_name };
            told.text = format!("Result of {name}: {}", message.text);
        }
        told
    });
    let told: Vec<pb::ChatMessage> = told.collect();
    let mut turns = history::consistent(&told, &call.model);
    if turns.last().is_some_and(|last| !history::is_user(last)) {
        turns.push(pb::ChatMessage {
            role: pb::ChatRole::User as i32,
            text: history::FILLER.to_owned(),
            ..pb::ChatMessage::default()
        });
    }
    turns
}

/// The first models that thought took no system message.
fn takes_system(call: &Call) -> bool {
    let name = call.model.model_id.as_str();
    !["o1-mini", "o1-preview"].iter().any(|family| name.starts_with(family))
}

fn in_first_user(wire: &mut Vec<Value>, system: &str) {
    let user = wire.iter_mut().find(|message| message["role"] == "user");
    match user.map(|message| &mut message["content"]) {
        Some(Value::String(text)) => *text = format!("{system}\n\n{text}"),
        Some(Value::Array(parts)) => parts.insert(0, json!({"type": "text", "text": system})),
        _ => wire.insert(0, json!({"role": "user", "content": system})),
    }
}

fn message(message: &pb::ChatMessage, dialect: &Dialect) -> Result<Value, InferenceError> {
    Ok(match message.role() {
        pb::ChatRole::System => json!({"role": "system", "content": text(message)}),
        pb::ChatRole::User | pb::ChatRole::Unspecified => {
            json!({"role": "user", "content": content(message, dialect)?})
        }
        pb::ChatRole::Assistant => assistant(message, dialect),
        pb::ChatRole::Tool => {
            json!({"role": "tool", "tool_call_id": message.tool_call_id, "content": text(message)})
        }
    })
}

/// The texts of a message, one below the other.
pub fn text(message: &pb::ChatMessage) -> String {
    history::texts(message).collect::<Vec<_>>().join("\n\n")
}

fn assistant(message: &pb::ChatMessage, dialect: &Dialect) -> Value {
    let text = text(message);
    let mut wire = json!({"role": "assistant", "content": text});
    if message.tool_calls.is_empty() {
        return wire;
    }
    if text.is_empty() {
        wire["content"] = Value::Null;
    }
    let calls = message.tool_calls.iter().map(|call| {
        let function = json!({"name": call.name, "arguments": arguments(call)});
        json!({"id": call.id, "type": "function", "function": function})
    });
    wire["tool_calls"] = calls.collect::<Vec<_>>().into();
    if dialect.effort == Effort::Toggle {
        // DeepSeek wants to see its thinking again while it waits for tools.
        let thought = message.parts.iter().filter_map(|part| match &part.part {
            Some(Kind::Thinking(thinking)) => Some(thinking.text.as_str()),
            _ => None,
        });
        let thought: String = thought.collect();
        if !thought.is_empty() {
            wire["reasoning_content"] = thought.into();
        }
    }
    wire
}

/// The arguments of a call as text: an object, also where the model wrote none.
pub fn arguments(call: &pb::ToolCall) -> String {
    let text = String::from_utf8_lossy(&call.arguments_json);
    match serde_json::from_str::<Value>(&text) {
        Ok(Value::Object(_)) => text.into_owned(),
        // Some servers refuse what is no object.
        _ => crate::inference::providers::structured::arguments(call).to_string(),
    }
}

/// Plain text where there is nothing else; every server takes that.
fn content(message: &pb::ChatMessage, dialect: &Dialect) -> Result<Value, InferenceError> {
    let has_media = message.parts.iter().any(|part| matches!(part.part, Some(Kind::Media(_))));
    if !has_media {
        return Ok(text(message).into());
    }
    let mut parts = Vec::new();
    if !message.text.is_empty() {
        parts.push(json!({"type": "text", "text": message.text}));
    }
    for part in &message.parts {
        match &part.part {
            Some(Kind::Text(text)) => parts.push(json!({"type": "text", "text": text})),
            Some(Kind::Media(media)) => parts.push(media_part(media, dialect)?),
            _ => {}
        }
    }
    Ok(parts.into())
}

fn media_part(media: &pb::Media, dialect: &Dialect) -> Result<Value, InferenceError> {
    let kinds: &[media::Kind] = match dialect.media {
        Media::Documents => &[IMAGES, DOCUMENTS],
        Media::Images => &[IMAGES],
        Media::Nothing => {
            let words = format!("{} takes text alone: use a model of another provider", dialect.name);
            return Err(InferenceError::invalid("messages.parts.media", words));
        }
    };
    let mimetype = media::mimetype(media);
    let is_document = media::kind_of(media, &mimetype, dialect.name, kinds)? == 1;
    let address = match &media.source {
        Some(Source::Data(data)) => format!("data:{mimetype};base64,{}", media::base64(data)),
        Some(Source::Url(url)) if !is_document => url.clone(),
        Some(Source::Url(_)) => {
            let words = format!("{} takes documents as data alone: send the bytes", dialect.name);
            return Err(InferenceError::invalid("messages.parts.media", words));
        }
        _ => return Err(media::nowhere()),
    };
    if !is_document {
        return Ok(json!({"type": "image_url", "image_url": {"url": address}}));
    }
    let name = if media.file_name.is_empty() { "document.pdf" } else { &media.file_name };
    Ok(json!({"type": "file", "file": {"filename": name, "file_data": address}}))
}
