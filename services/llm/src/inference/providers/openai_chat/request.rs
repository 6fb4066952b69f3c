//! The body of a request.

use serde_json::{Map, Value, json};
use sre_proto::llm::v1 as pb;

use super::dialects::{Dialect, JsonMode};
use crate::inference::error::InferenceError;
use crate::inference::providers::Call;
use crate::inference::providers::wire::Delivery;

/// What a model is told that has to answer with JSON.
const JSON_INSTRUCTION: &str = "Answer with one JSON object on a single line and nothing else: double quotes \
     around keys and texts, no comments, no markdown, no words before or after it. Where there is only one \
     value to give, its key is \"result\".";

/// The body for a call.
pub fn body(call: &Call, dialect: &Dialect, delivery: Delivery) -> Result<Value, InferenceError> {
    let request = &call.request;
    let wants_json = request.response_format() == pb::ResponseFormat::Json;
    let mut body = Map::new();
    body.insert("model".into(), call.model.model_id.clone().into());
    body.insert("messages".into(), messages(request, wants_json).into());
    if let Some(limit) = request.max_tokens {
        body.insert(dialect.max_tokens.into(), limit.into());
    }
    if !omits_sampling(&call.model.entry) {
        sampling(request, &mut body);
    }
    if !request.reasoning_effort.is_empty() && has(call, "reasoning") {
        body.insert("reasoning_effort".into(), request.reasoning_effort.clone().into());
    }
    if wants_json && dialect.json_mode == JsonMode::ResponseFormat {
        body.insert("response_format".into(), json!({"type": "json_object"}));
    }
    if !request.tools.is_empty() {
        body.insert("tools".into(), tools(&request.tools)?.into());
        let choice = match request.tool_mode() {
            pb::ToolMode::Unspecified | pb::ToolMode::Auto => "auto".into(),
            pb::ToolMode::None => "none".into(),
            pb::ToolMode::Required => "required".into(),
            pb::ToolMode::Named => json!({"type": "function", "function": {"name": request.tool_name}}),
        };
        body.insert("tool_choice".into(), choice);
    }
    match delivery {
        Delivery::Whole => body.insert("stream".into(), false.into()),
        Delivery::Stream => {
            body.insert("stream_options".into(), json!({"include_usage": true}));
            body.insert("stream".into(), true.into())
        }
    };
    Ok(body.into())
}

fn has(call: &Call, feature: &str) -> bool {
    call.model.features.iter().any(|known| known == feature)
}

/// Models that think refuse these parameters instead of ignoring them.
fn omits_sampling(entry: &str) -> bool {
    let name = entry.rsplit('/').next().unwrap_or(entry);
    ["o1", "o3", "o4", "gpt-5"]
        .iter()
        .any(|family| name.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with('-')))
}

fn sampling(request: &pb::GenerateRequest, body: &mut Map<String, Value>) {
    let numbers = [
        ("temperature", request.temperature),
        ("top_p", request.top_p),
        ("frequency_penalty", request.frequency_penalty),
        ("presence_penalty", request.presence_penalty),
    ];
    for (name, number) in numbers {
        if let Some(number) = number {
            body.insert(name.into(), number.into());
        }
    }
    if !request.stop_sequences.is_empty() {
        body.insert("stop".into(), request.stop_sequences.clone().into());
    }
}

fn messages(request: &pb::GenerateRequest, wants_json: bool) -> Vec<Value> {
    let mut messages: Vec<Value> = request.messages.iter().map(message).collect();
    if !wants_json {
        return messages;
    }
    match request.messages.first() {
        Some(first) if first.role() == pb::ChatRole::System => {
            messages[0]["content"] = format!("{}\n\n{JSON_INSTRUCTION}", first.text).into();
        }
        _ => messages.insert(0, json!({"role": "system", "content": JSON_INSTRUCTION})),
    }
    messages
}

fn message(message: &pb::ChatMessage) -> Value {
    let role = match message.role() {
        pb::ChatRole::System => "system",
        pb::ChatRole::Assistant => "assistant",
        pb::ChatRole::Tool => "tool",
        pb::ChatRole::User | pb::ChatRole::Unspecified => "user",
    };
    let mut wire = json!({"role": role, "content": message.text});
    if !message.tool_calls.is_empty() {
        let calls = message.tool_calls.iter().map(|call| {
            let arguments = String::from_utf8_lossy(&call.arguments_json);
            let arguments = if arguments.is_empty() { "{}".into() } else { arguments };
            json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}})
        });
        wire["tool_calls"] = calls.collect::<Vec<_>>().into();
    }
    if message.role() == pb::ChatRole::Tool {
        wire["tool_call_id"] = message.tool_call_id.clone().into();
    }
    wire
}

fn tools(tools: &[pb::Tool]) -> Result<Vec<Value>, InferenceError> {
    let wire = |tool: &pb::Tool| {
        let parameters = if tool.parameters_json.is_empty() {
            json!({"type": "object", "properties": {}})
        } else {
            match serde_json::from_slice::<Value>(&tool.parameters_json) {
                Ok(schema @ Value::Object(_)) => schema,
                _ => {
                    let words = format!("parameters_json of {:?} must be a JSON object", tool.name);
                    return Err(InferenceError::invalid("tools", words));
                }
            }
        };
        Ok(json!({
            "type": "function",
            "function": {"name": tool.name, "description": tool.description, "parameters": parameters},
        }))
    };
    tools.iter().map(wire).collect()
}
