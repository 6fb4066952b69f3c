//! The body of a request.

use serde_json::{Map, Value, json};
use sre_proto::llm::v1 as pb;

use super::input;
use crate::inference::error::InferenceError;
use crate::inference::providers::openai_chat::request::{named_tool, thinks_alone, verbosity};
use crate::inference::providers::wire::Delivery;
use crate::inference::providers::{Call, structured};

/// The body for a call.
pub fn body(call: &Call, delivery: Delivery) -> Result<Value, InferenceError> {
    let request = &call.request;
    let mut body = Map::new();
    body.insert("model".into(), call.model.model_id.clone().into());
    let wants_json = request.response_format() == pb::ResponseFormat::Json;
    let instruction = wants_json.then_some(structured::JSON_INSTRUCTION);
    body.insert("input".into(), input::items(call, instruction)?.into());
    if let Some(limit) = request.max_tokens {
        body.insert("max_output_tokens".into(), limit.into());
    }
    if !thinks_alone(call) {
        for (name, value) in [("temperature", request.temperature), ("top_p", request.top_p)] {
            if let Some(value) = value {
                body.insert(name.into(), value.into());
            }
        }
    }
    if let Some(text) = text(call)? {
        body.insert("text".into(), text);
    }
    // Kept nowhere but in the caller's history.
    body.insert("store".into(), false.into());
    if call.model.features.iter().any(|name| name == "reasoning") {
        body.insert("include".into(), json!(["reasoning.encrypted_content"]));
        // xAI's models decide alone, and refuse to be told.
        if !request.reasoning_effort.is_empty() && !call.model.provider.eq_ignore_ascii_case("xAI") {
            let effort = if request.reasoning_effort == "max" { "xhigh" } else { &request.reasoning_effort };
            body.insert("reasoning".into(), json!({"effort": effort}));
        }
    }
    tools(call, &mut body)?;
    if let Some(caching) = request.prompt_caching.as_ref().filter(|caching| !caching.key.is_empty()) {
        body.insert("prompt_cache_key".into(), caching.key.clone().into());
    }
    body.insert("stream".into(), (delivery == Delivery::Stream).into());
    Ok(body.into())
}

/// The answer's form and length.
fn text(call: &Call) -> Result<Option<Value>, InferenceError> {
    let request = &call.request;
    let mut text = Map::new();
    if let Some(schema) = structured::answer_schema(request)? {
        let asked = request.json_schema.as_ref();
        let name = asked.map(|asked| asked.name.as_str()).filter(|name| !name.is_empty()).unwrap_or("answer");
        let mut format = json!({"type": "json_schema", "name": name, "schema": schema});
        if asked.is_some_and(|asked| asked.strict) {
            format["schema"] = structured::closed(&schema);
            format["strict"] = true.into();
        }
        text.insert("format".into(), format);
    } else if request.response_format() == pb::ResponseFormat::Json {
        text.insert("format".into(), json!({"type": "json_object"}));
    }
    if let Some(verbosity) = verbosity(call) {
        text.insert("verbosity".into(), verbosity.into());
    }
    Ok((!text.is_empty()).then(|| text.into()))
}

fn tools(call: &Call, body: &mut Map<String, Value>) -> Result<(), InferenceError> {
    let request = &call.request;
    let mut tools = Vec::new();
    for tool in &request.tools {
        tools.push(json!({
            "type": "function",
            "name": tool.name,
            "description": tool.description,
            "parameters": structured::parameters(tool)?,
            "strict": false,
        }));
    }
    if let Some(search) = &request.web_search {
        searches(call, search, &mut tools)?;
    }
    if tools.is_empty() {
        return Ok(());
    }
    body.insert("tools".into(), tools.into());
    let choice = match request.tool_mode() {
        pb::ToolMode::Unspecified | pb::ToolMode::Auto => "auto".into(),
        pb::ToolMode::None => "none".into(),
        pb::ToolMode::Required => "required".into(),
        pb::ToolMode::Named => json!({"type": "function", "name": named_tool(request)?}),
    };
    body.insert("tool_choice".into(), choice);
    if let Some(parallel) = request.parallel_tool_calls {
        body.insert("parallel_tool_calls".into(), parallel.into());
    }
    Ok(())
}

/// The provider's own tools that search.
fn searches(call: &Call, search: &pb::WebSearch, tools: &mut Vec<Value>) -> Result<(), InferenceError> {
    if call.model.provider.eq_ignore_ascii_case("xAI") {
        return xai_searches(search, tools);
    }
    let mut tool = Map::new();
    tool.insert("type".into(), "web_search".into());
    if !search.context_size.is_empty() {
        tool.insert("search_context_size".into(), search.context_size.clone().into());
    }
    let places = [
        ("city", &search.city),
        ("country", &search.country),
        ("region", &search.region),
        ("timezone", &search.timezone),
    ];
    let mut place: Map<String, Value> = Map::new();
    for (name, value) in places.into_iter().filter(|(_, value)| !value.is_empty()) {
        place.insert(name.into(), value.clone().into());
    }
    if !place.is_empty() {
        place.insert("type".into(), "approximate".into());
        tool.insert("user_location".into(), place.into());
    }
    if !search.allowed_domains.is_empty() {
        tool.insert("filters".into(), json!({"allowed_domains": search.allowed_domains}));
    }
    tools.push(tool.into());
    Ok(())
}

/// xAI's two tools: the web, and posts of X.
fn xai_searches(search: &pb::WebSearch, tools: &mut Vec<Value>) -> Result<(), InferenceError> {
    let asks_for = |kinds: &[&str]| search.sources.iter().any(|source| kinds.contains(&source.as_str()));
    let unknown = search.sources.iter().find(|source| !["web", "news", "x"].contains(&source.as_str()));
    if let Some(unknown) = unknown {
        let words = format!("{unknown:?} is searched no more by xAI: ask for web, news or x");
        return Err(InferenceError::invalid("web_search.sources", words));
    }
    if search.sources.is_empty() || asks_for(&["web", "news"]) {
        let mut tool = json!({"type": "web_search"});
        // Excluded sites win: both together are refused.
        if !search.excluded_domains.is_empty() {
            tool["filters"] = json!({"excluded_domains": search.excluded_domains});
        } else if !search.allowed_domains.is_empty() {
            tool["filters"] = json!({"allowed_domains": search.allowed_domains});
        }
        tools.push(tool);
    }
    if asks_for(&["x"]) {
        let mut tool = json!({"type": "x_search"});
        if !search.included_handles.is_empty() {
            tool["allowed_x_handles"] = search.included_handles.clone().into();
        } else if !search.excluded_handles.is_empty() {
            tool["excluded_x_handles"] = search.excluded_handles.clone().into();
        }
        for (name, day) in [("from_date", &search.from_date), ("to_date", &search.to_date)] {
            if !day.is_empty() {
                tool[name] = day.clone().into();
            }
        }
        tools.push(tool);
    }
    Ok(())
}
