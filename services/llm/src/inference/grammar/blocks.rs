//! Messages of blocks: Anthropic's and Bedrock's. A person speaks first and last, roles take turns, and each call is
//! answered in the message right behind it, before anything else is said there.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{is_said, list};

/// How the one spells what the other spells otherwise.
pub struct Spelling {
    text: fn(&Value) -> Option<&Value>,
    call: fn(&Value) -> Option<&Value>,
    result: fn(&Value) -> Option<&Value>,
    thought: fn(&Value) -> Option<bool>,
    id: &'static str,
    result_id: &'static str,
    tools: fn(&Value) -> &[Value],
}

fn typed<'v>(block: &'v Value, kind: &str) -> Option<&'v Value> {
    (block["type"] == *kind).then_some(block)
}

/// Anthropic's.
pub static ANTHROPIC: Spelling = Spelling {
    text: |block| typed(block, "text").map(|block| &block["text"]),
    call: |block| typed(block, "tool_use"),
    result: |block| typed(block, "tool_result"),
    thought: |block| match block["type"].as_str() {
        Some("thinking") => Some(is_said(&block["signature"])),
        Some("redacted_thinking") => Some(is_said(&block["data"])),
        _ => None,
    },
    id: "id",
    result_id: "tool_use_id",
    tools: |body| list(&body["tools"]),
};

/// Bedrock's.
pub static BEDROCK: Spelling = Spelling {
    text: |block| block.get("text"),
    call: |block| block.get("toolUse"),
    result: |block| block.get("toolResult"),
    thought: |block| block.get("reasoningContent").map(Value::is_object),
    id: "toolUseId",
    result_id: "toolUseId",
    tools: |body| list(&body["toolConfig"]["tools"]),
};

/// What of a body is against the grammar.
pub fn check(body: &Value, spelling: &Spelling) -> Result<(), String> {
    let messages = list(&body["messages"]);
    let is_user = |message: &Value| message["role"] == "user";
    if !(messages.first().is_some_and(is_user) && messages.last().is_some_and(is_user)) {
        return Err("a person must speak first and last".to_owned());
    }
    let mut open: BTreeSet<String> = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for (place, pair) in messages.windows(2).enumerate() {
        if is_user(&pair[0]) == is_user(&pair[1]) {
            return Err(format!("messages {place} and {}: two of one role", place + 1));
        }
    }
    for (place, message) in messages.iter().enumerate() {
        let at = |error: String| format!("message {place}: {error}");
        open = one(message, is_user(message), open, &mut taken, spelling).map_err(at)?;
    }
    if !taken.is_empty() && (spelling.tools)(body).is_empty() {
        return Err("there are calls and no tools".to_owned());
    }
    Ok(())
}

/// One message; gives the calls that it leaves open.
fn one(
    message: &Value,
    is_user: bool,
    mut open: BTreeSet<String>,
    taken: &mut BTreeSet<String>,
    spelling: &Spelling,
) -> Result<BTreeSet<String>, String> {
    let blocks = list(&message["content"]);
    if blocks.is_empty() {
        return Err("is empty".to_owned());
    }
    let mut calls = BTreeSet::new();
    let (mut is_past_results, mut is_past_thoughts) = (false, false);
    for block in blocks {
        let is_plain =
            |id: &str| !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
        if let Some(result) = (spelling.result)(block) {
            let id = result[spelling.result_id].as_str().unwrap_or_default();
            if !is_user || is_past_results || !open.remove(id) {
                return Err(format!("a result of {id:?} in the wrong place, or of no open call"));
            }
            continue;
        }
        is_past_results = true;
        if let Some(is_signed) = (spelling.thought)(block) {
            if is_user || is_past_thoughts || !is_signed {
                return Err("thinking that is not the model's, not first, or not signed".to_owned());
            }
            continue;
        }
        is_past_thoughts = true;
        if let Some(call) = (spelling.call)(block) {
            let id = call[spelling.id].as_str().unwrap_or_default().to_owned();
            if is_user || !is_plain(&id) || !taken.insert(id.clone()) || !call["input"].is_object() {
                return Err(format!("{call} is no call, or one whose id was there before"));
            }
            calls.insert(id);
        } else if (spelling.text)(block).is_some_and(|text| !is_said(text)) {
            return Err("a blank text".to_owned());
        }
    }
    if !open.is_empty() {
        return Err(format!("the calls {open:?} before it have no result"));
    }
    Ok(calls)
}
