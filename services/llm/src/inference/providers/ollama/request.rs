//! The body of a request.

use serde_json::{Map, Value, json};
use sre_proto::llm::v1 as pb;
use sre_proto::llm::v1::media::Source;
use sre_proto::llm::v1::part::Part as Kind;

use crate::inference::error::InferenceError;
use crate::inference::providers::openai_chat::messages::text;
use crate::inference::providers::openai_chat::request::{named_tool, no_search, tool};
use crate::inference::providers::wire::Delivery;
use crate::inference::providers::{Call, history, media, structured};

const IMAGES: media::Kind =
    media::Kind { types: &["image/png", "image/jpeg", "image/webp"], max_bytes: 20 << 20 };

/// The body for a call.
pub fn body(call: &Call, delivery: Delivery) -> Result<Value, InferenceError> {
    let request = &call.request;
    if request.web_search.is_some() {
        return Err(no_search(&call.model.provider));
    }
    let schema = structured::answer_schema(request)?;
    let wants_json = request.response_format() == pb::ResponseFormat::Json;
    let mut body = Map::new();
    body.insert("model".into(), call.model.model_id.clone().into());
    body.insert("messages".into(), messages(call, wants_json)?.into());
    let options = options(request);
    if !options.is_empty() {
        body.insert("options".into(), options.into());
    }
    let tools = tools(request)?;
    if !tools.is_empty() {
        body.insert("tools".into(), tools.into());
    }
    match schema {
        Some(schema) => body.insert("format".into(), schema),
        None if wants_json => body.insert("format".into(), "json".into()),
        None => None,
    };
    if let Some(think) = think(call) {
        body.insert("think".into(), think);
    }
    body.insert("stream".into(), (delivery == Delivery::Stream).into());
    Ok(body.into())
}

fn options(request: &pb::GenerateRequest) -> Map<String, Value> {
    let values: [(&str, Option<Value>); 5] = [
        ("num_predict", request.max_tokens.map(Value::from)),
        ("temperature", request.temperature.map(Value::from)),
        ("top_p", request.top_p.map(Value::from)),
        ("top_k", request.top_k.map(Value::from)),
        ("stop", (!request.stop_sequences.is_empty()).then(|| request.stop_sequences.clone().into())),
    ];
    values.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// There is no word for which tool to call: one that must be called is the only one shown.
fn tools(request: &pb::GenerateRequest) -> Result<Vec<Value>, InferenceError> {
    match request.tool_mode() {
        pb::ToolMode::None => Ok(Vec::new()),
        pb::ToolMode::Named => {
            let name = named_tool(request)?;
            request.tools.iter().filter(|tool| tool.name == name).map(tool).collect()
        }
        _ => request.tools.iter().map(tool).collect(),
    }
}

/// On or off; the gpt-oss models know levels.
fn think(call: &Call) -> Option<Value> {
    let effort = call.request.reasoning_effort.as_str();
    if effort.is_empty() || !call.model.features.iter().any(|name| name == "reasoning") {
        return None;
    }
    if !call.model.model_id.contains("gpt-oss") {
        return Some((effort != "none").into());
    }
    Some(match effort {
        "none" | "minimal" | "low" => "low".into(),
        "medium" => "medium".into(),
        _ => "high".into(),
    })
}

fn messages(call: &Call, wants_json: bool) -> Result<Vec<Value>, InferenceError> {
    let turns = history::consistent(&call.request.messages, &call.model);
    let mut system = String::new();
    let mut wire = Vec::new();
    for turn in &turns {
        match turn.role() {
            pb::ChatRole::System => system = text(turn),
            pb::ChatRole::User | pb::ChatRole::Unspecified => wire.push(user(turn)?),
            pb::ChatRole::Assistant => wire.push(assistant(turn)),
            pb::ChatRole::Tool => wire.push(json!({
                "role": "tool", "tool_name": turn.tool_name, "tool_call_id": turn.tool_call_id,
                "content": text(turn),
            })),
        }
    }
    if wants_json {
        system = structured::instructed(&system, structured::JSON_INSTRUCTION);
    }
    if !system.is_empty() {
        wire.insert(0, json!({"role": "system", "content": system}));
    }
    Ok(wire)
}

fn assistant(turn: &pb::ChatMessage) -> Value {
    let mut wire = json!({"role": "assistant", "content": text(turn)});
    if !turn.tool_calls.is_empty() {
        let calls = turn.tool_calls.iter().map(|call| {
            json!({"id": call.id, "function": {"name": call.name, "arguments": structured::arguments(call)}})
        });
        wire["tool_calls"] = calls.collect::<Vec<_>>().into();
    }
    wire
}

fn user(turn: &pb::ChatMessage) -> Result<Value, InferenceError> {
    let mut images: Vec<Value> = Vec::new();
    for part in &turn.parts {
        let Some(Kind::Media(media)) = &part.part else { continue };
        let mimetype = media::mimetype(media);
        media::kind_of(media, &mimetype, "Ollama", &[IMAGES])?;
        match &media.source {
            Some(Source::Data(data)) => images.push(media::base64(data).into()),
            Some(Source::Url(_)) => {
                let words = "Ollama fetches no addresses: send the bytes";
                return Err(InferenceError::invalid("messages.parts.media", words));
            }
            _ => return Err(media::nowhere()),
        }
    }
    let mut wire = json!({"role": "user", "content": text(turn)});
    if !images.is_empty() {
        wire["images"] = images.into();
    }
    Ok(wire)
}
