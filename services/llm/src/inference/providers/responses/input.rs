//! The history as items of input.

use serde_json::{Value, json};
use sre_proto::llm::v1 as pb;
use sre_proto::llm::v1::media::Source;
use sre_proto::llm::v1::part::Part as Kind;

use crate::inference::error::InferenceError;
use crate::inference::providers::openai_chat::messages::{arguments, text};
use crate::inference::providers::{Call, history, media, structured};

const IMAGES: media::Kind =
    media::Kind { types: &["image/png", "image/jpeg", "image/webp", "image/gif"], max_bytes: 20 << 20 };
const DOCUMENTS: media::Kind = media::Kind { types: &["application/pdf"], max_bytes: 25 << 20 };

/// The items for a call; an instruction is put behind the system text.
pub fn items(call: &Call, instruction: Option<&str>) -> Result<Vec<Value>, InferenceError> {
    let turns = history::consistent(&call.request.messages, &call.model);
    let mut items = Vec::new();
    let mut system = String::new();
    for turn in &turns {
        match turn.role() {
            pb::ChatRole::System => system = text(turn),
            pb::ChatRole::User | pb::ChatRole::Unspecified => {
                items.push(json!({"role": "user", "content": content(call, turn)?}));
            }
            pb::ChatRole::Assistant => assistant(turn, &mut items),
            pb::ChatRole::Tool => items.push(json!({
                "type": "function_call_output", "call_id": turn.tool_call_id, "output": text(turn),
            })),
        }
    }
    if let Some(instruction) = instruction {
        system = structured::instructed(&system, instruction);
    }
    if !system.is_empty() {
        items.insert(0, json!({"role": "system", "content": system}));
    }
    Ok(items)
}

/// What the model thought, what it said, what it called: in that order.
fn assistant(turn: &pb::ChatMessage, items: &mut Vec<Value>) {
    let own = turn.parts.iter().filter_map(|part| match &part.part {
        Some(Kind::ProviderItem(item)) => serde_json::from_slice::<Value>(&item.json).ok(),
        _ => None,
    });
    items.extend(own);
    let said = text(turn);
    if !said.trim().is_empty() {
        items.push(json!({"role": "assistant", "content": said}));
    }
    items.extend(turn.tool_calls.iter().map(|call| {
        json!({"type": "function_call", "name": call.name, "arguments": arguments(call), "call_id": call.id})
    }));
}

fn content(call: &Call, turn: &pb::ChatMessage) -> Result<Value, InferenceError> {
    if !turn.parts.iter().any(|part| matches!(part.part, Some(Kind::Media(_)))) {
        return Ok(text(turn).into());
    }
    let mut parts = Vec::new();
    if !turn.text.is_empty() {
        parts.push(json!({"type": "input_text", "text": turn.text}));
    }
    for part in &turn.parts {
        match &part.part {
            Some(Kind::Text(text)) => parts.push(json!({"type": "input_text", "text": text})),
            Some(Kind::Media(media)) => parts.push(media_part(call, media)?),
            _ => {}
        }
    }
    Ok(parts.into())
}

/// Files travel with the request: nothing of a caller stays at the provider.
fn media_part(call: &Call, media: &pb::Media) -> Result<Value, InferenceError> {
    let mimetype = media::mimetype(media);
    let is_document = media::kind_of(media, &mimetype, &call.model.provider, &[IMAGES, DOCUMENTS])? == 1;
    Ok(match (&media.source, is_document) {
        (Some(Source::Data(data)), false) => {
            let address = format!("data:{mimetype};base64,{}", media::base64(data));
            json!({"type": "input_image", "image_url": address})
        }
        (Some(Source::Url(url)), false) => json!({"type": "input_image", "image_url": url}),
        (Some(Source::Data(data)), true) => {
            let name = if media.file_name.is_empty() { "document.pdf" } else { &media.file_name };
            let address = format!("data:{mimetype};base64,{}", media::base64(data));
            json!({"type": "input_file", "filename": name, "file_data": address})
        }
        (Some(Source::Url(url)), true) => json!({"type": "input_file", "file_url": url}),
        _ => return Err(media::nowhere()),
    })
}
