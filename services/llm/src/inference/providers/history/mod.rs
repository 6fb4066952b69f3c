//! A history that every provider takes: roles in turn, each call of a tool with its one result, nothing in it that
//! another provider or model signed. What people wrote is never lost, and doing it twice changes nothing.

mod pairing;
mod provenance;

use sre_proto::llm::v1 as pb;
use sre_proto::llm::v1::part::Part as Kind;

use crate::models::Resolved;

pub use provenance::{seal, unseal};

/// What a person says where a provider's grammar wants a person and there is none.
pub const FILLER: &str = "Continue.";

/// What a blank text is replaced with, for providers that refuse blank ones.
pub const BLANK: &str = "...";

/// A history in the form that all adapters start from: at most one system message, first; then messages whose role
/// differs from the one before, but for the results of one turn, which follow their calls in order.
pub fn consistent(messages: &[pb::ChatMessage], model: &Resolved) -> Vec<pb::ChatMessage> {
    let own = messages.iter().cloned().map(|message| in_role(provenance::own(message, model)));
    merged(pairing::paired(own.filter(says_something).collect()))
}

/// The same for providers that separate system text, and that want a person to speak first and last.
pub fn of_a_person(messages: &[pb::ChatMessage], model: &Resolved) -> (String, Vec<pb::ChatMessage>) {
    let mut turns = consistent(messages, model);
    let mut system = String::new();
    if turns.first().is_some_and(|first| first.role() == pb::ChatRole::System) {
        system = texts(&turns.remove(0)).collect::<Vec<_>>().join("\n\n");
    }
    let filler = || pb::ChatMessage {
        role: pb::ChatRole::User as i32,
        text: FILLER.to_owned(),
        ..pb::ChatMessage::default()
    };
    if turns.first().is_none_or(|first| !is_user(first)) {
        turns.insert(0, filler());
    }
    // A last word of the model would be a beginning for it to go on from, which models of today refuse.
    if turns.last().is_some_and(|last| last.role() == pb::ChatRole::Assistant) {
        turns.push(filler());
    }
    (system, turns)
}

/// Whether a person speaks. A role that is not set is a person's.
pub fn is_user(message: &pb::ChatMessage) -> bool {
    matches!(message.role(), pb::ChatRole::User | pb::ChatRole::Unspecified)
}

/// The texts of a message in order.
pub fn texts(message: &pb::ChatMessage) -> impl Iterator<Item = &str> {
    let parts = message.parts.iter().filter_map(|part| match &part.part {
        Some(Kind::Text(text)) => Some(text.as_str()),
        _ => None,
    });
    std::iter::once(message.text.as_str()).filter(|text| !text.is_empty()).chain(parts)
}

/// The tools that were called, each once.
pub fn called(messages: &[pb::ChatMessage]) -> std::collections::BTreeSet<String> {
    messages.iter().flat_map(|message| &message.tool_calls).map(|call| call.name.clone()).collect()
}

/// The id of a call in the letters that every provider takes, 64 at most.
pub fn wire_id(id: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if !id.is_empty() && id.len() <= 64 && id.bytes().all(is_plain) {
        return id.to_owned();
    }
    format!("call_{}", &blake3::hash(id.as_bytes()).to_hex()[..24])
}

fn says_something(message: &pb::ChatMessage) -> bool {
    message.role() == pb::ChatRole::Tool
        || !message.text.is_empty()
        || !message.parts.is_empty()
        || !message.tool_calls.is_empty()
}

/// Models alone call, and tools alone answer calls.
fn in_role(mut message: pb::ChatMessage) -> pb::ChatMessage {
    if message.role() != pb::ChatRole::Assistant {
        message.tool_calls.clear();
    }
    if message.role() != pb::ChatRole::Tool {
        message.tool_call_id.clear();
    }
    message
}

/// System messages become one, at the front; so do neighbours of one role.
fn merged(messages: Vec<pb::ChatMessage>) -> Vec<pb::ChatMessage> {
    let mut system: Option<pb::ChatMessage> = None;
    let mut turns: Vec<pb::ChatMessage> = Vec::with_capacity(messages.len());
    for message in messages {
        if message.role() == pb::ChatRole::System {
            match &mut system {
                None => system = Some(message),
                Some(first) => append(first, message),
            }
            continue;
        }
        match turns.last_mut() {
            Some(last) if is_one_turn(last, &message) => append(last, message),
            _ => turns.push(message),
        }
    }
    system.into_iter().chain(turns).collect()
}

/// Whether a message goes on where the last one ended. What a model says after its calls is another turn, and each
/// result is one.
fn is_one_turn(last: &pb::ChatMessage, next: &pb::ChatMessage) -> bool {
    let is_model = |message: &pb::ChatMessage| message.role() == pb::ChatRole::Assistant;
    is_user(last) && is_user(next) || is_model(last) && is_model(next) && last.tool_calls.is_empty()
}

fn append(first: &mut pb::ChatMessage, next: pb::ChatMessage) {
    first.cache_breakpoint |= next.cache_breakpoint;
    if first.text.is_empty() && first.parts.is_empty() {
        first.text = next.text;
    } else if !next.text.is_empty() {
        first.parts.push(pb::Part { part: Some(Kind::Text(next.text)) });
    }
    first.parts.extend(next.parts);
    first.tool_calls.extend(next.tool_calls);
}

#[cfg(test)]
mod tests;
