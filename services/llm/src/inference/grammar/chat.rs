//! Chat completions, Ollama's messages, and the items of responses.

use std::collections::BTreeSet;

use serde_json::Value;

use super::list;

/// Whether results name the call that they are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    /// They do.
    Given,
    /// They come in the order of the calls.
    None,
}

/// Each message has a role; calls are answered right behind their message, each once, and nothing else is a result.
pub fn messages(body: &Value, ids: Ids) -> Result<(), String> {
    let messages = list(&body["messages"]);
    if messages.iter().all(|message| message["role"] == "system") {
        return Err("there is nothing to answer".to_owned());
    }
    let mut open: Vec<String> = Vec::new();
    let mut taken = BTreeSet::new();
    for (place, message) in messages.iter().enumerate() {
        let role = message["role"].as_str().unwrap_or_default();
        if role == "tool" {
            answer(&mut open, message, ids).map_err(|error| format!("message {place}: {error}"))?;
            continue;
        }
        if !open.is_empty() {
            return Err(format!("message {place}: the calls {open:?} before it have no result"));
        }
        if !matches!(role, "system" | "developer" | "user" | "assistant") {
            return Err(format!("message {place}: nobody is {role:?}"));
        }
        let calls = list(&message["tool_calls"]);
        let has_content = match &message["content"] {
            Value::String(_) => true,
            Value::Array(parts) => !parts.is_empty(),
            _ => false,
        };
        if !has_content && calls.is_empty() {
            return Err(format!("message {place}: says nothing"));
        }
        if !calls.is_empty() && role != "assistant" {
            return Err(format!("message {place}: a {role} calls"));
        }
        for call in calls {
            let id = call["id"].as_str().unwrap_or_default().to_owned();
            if ids == Ids::Given && (id.is_empty() || !taken.insert(id.clone())) {
                return Err(format!("message {place}: the id {id:?} of a call is empty or was there before"));
            }
            let arguments = &call["function"]["arguments"];
            let is_object = match ids {
                Ids::Given => {
                    arguments.as_str().is_some_and(|text| serde_json::from_str::<Value>(text).is_ok())
                }
                Ids::None => arguments.is_object(),
            };
            if !is_object || call["function"]["name"].as_str().is_none_or(str::is_empty) {
                return Err(format!("message {place}: {call} is no call"));
            }
            open.push(id);
        }
    }
    if open.is_empty() { Ok(()) } else { Err(format!("the calls {open:?} have no result")) }
}

fn answer(open: &mut Vec<String>, message: &Value, ids: Ids) -> Result<(), String> {
    let id = message["tool_call_id"].as_str().unwrap_or_default();
    let found = match ids {
        Ids::Given => open.iter().position(|call| call == id),
        Ids::None => (!open.is_empty()).then_some(0),
    };
    let found = found.ok_or_else(|| format!("a result of {id:?}, which is no open call"))?;
    open.remove(found);
    Ok(())
}

/// Each call has one output, somewhere behind it, and each output a call.
pub fn items(body: &Value) -> Result<(), String> {
    let items = list(&body["input"]);
    if items.iter().all(|item| item["role"] == "system") {
        return Err("there is nothing to answer".to_owned());
    }
    let (mut open, mut seen) = (BTreeSet::new(), BTreeSet::new());
    for (place, item) in items.iter().enumerate() {
        let id = item["call_id"].as_str().unwrap_or_default().to_owned();
        match item["type"].as_str() {
            Some("function_call") => {
                if id.is_empty() || !seen.insert(id.clone()) || !item["arguments"].is_string() {
                    return Err(format!("item {place}: {item} is no call, or one that was there before"));
                }
                open.insert(id);
            }
            Some("function_call_output") => {
                let is_open = open.remove(&id);
                if !is_open || item["output"].is_null() {
                    return Err(format!("item {place}: an output of {id:?}, which is no open call"));
                }
            }
            _ if item["role"].is_string() && !(item["content"].is_string() || item["content"].is_array()) => {
                return Err(format!("item {place}: says nothing"));
            }
            _ => {}
        }
    }
    if open.is_empty() { Ok(()) } else { Err(format!("the calls {open:?} have no output")) }
}
