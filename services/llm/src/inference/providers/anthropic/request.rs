//! The body of a request.

use serde_json::{Map, Value, json};
use sre_proto::llm::v1 as pb;

use super::messages::{self, Turn, is_thought};
use crate::inference::error::InferenceError;
use crate::inference::providers::Call;
use crate::inference::providers::history;
use crate::inference::providers::names::{Names, Rule};
use crate::inference::providers::reasoning::{self, Style};
use crate::inference::providers::structured;
use crate::inference::providers::wire::Delivery;

/// The tool by which older models give an answer of a schema: its arguments are the answer.
pub const ANSWER_TOOL: &str = "give_answer";

/// Marks of what is worth keeping that one request may have.
const MOST_MARKS: usize = 4;

/// What the API takes as the name of a tool.
pub const NAMES: Rule = Rule { also: "-", begins_with_letter: false, longest: 64, hyphen: None };

/// How the answer comes to be of a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaMode {
    /// The API holds the model to it.
    Format,
    /// The model must call a tool that takes it.
    Tool,
    /// The model is told.
    Words,
}

/// How a call's answer comes to be of its schema. None where it has none.
pub fn schema_mode(call: &Call) -> Option<SchemaMode> {
    let request = &call.request;
    if request.response_format() != pb::ResponseFormat::JsonSchema {
        return None;
    }
    Some(match reasoning::claude(&call.model.model_id) {
        Some(version) if version >= (4, 1) => SchemaMode::Format,
        Some(_) if request.tools.is_empty() && request.web_search.is_none() && thinking(call).is_none() => {
            SchemaMode::Tool
        }
        _ => SchemaMode::Words,
    })
}

/// The body for a call.
pub fn body(call: &Call, delivery: Delivery) -> Result<Value, InferenceError> {
    let request = &call.request;
    let names = Names::of(request, NAMES);
    let (mut system, mut history) = history::of_a_person(&request.messages, &call.model);
    if request.messages.last().is_some_and(messages::is_paused) {
        // The paused answer is what goes on: nobody speaks behind it.
        history.pop();
    }
    let thinking = thinking(call);
    let schema = structured::answer_schema(request)?;
    let schema = schema.zip(schema_mode(call));
    match &schema {
        Some((schema, SchemaMode::Words)) => {
            system = structured::instructed(&system, &structured::schema_instruction(schema));
        }
        None if request.response_format() == pb::ResponseFormat::Json => {
            system = structured::instructed(&system, structured::JSON_INSTRUCTION);
        }
        _ => {}
    }
    let mut body = Map::new();
    body.insert("model".into(), call.model.model_id.clone().into());
    body.insert("max_tokens".into(), request.max_tokens.unwrap_or(1024).into());
    let mut tools = tools(request, &names)?;
    // Calls in the history need declared tools, also where the model is to call none.
    let are_past = tools.is_empty();
    if are_past {
        tools = history::called(&history).iter().map(|name| past_tool(&names.wire(name))).collect();
    }
    let are_past = are_past && !tools.is_empty();
    let thinks = thinking.is_some() || reasoning::always_thinks(&call.model.model_id);
    let mut choice = choice(request, &names, thinks);
    let mut output = Map::new();
    match schema {
        Some((schema, SchemaMode::Format)) => {
            let format = json!({"type": "json_schema", "schema": structured::closed(&schema)});
            output.insert("format".into(), format);
        }
        Some((schema, SchemaMode::Tool)) => {
            tools.push(
                json!({"name": ANSWER_TOOL, "description": "Gives the answer.", "input_schema": schema}),
            );
            choice = Some(json!({"type": "tool", "name": ANSWER_TOOL}));
        }
        Some((_, SchemaMode::Words)) | None => {}
    }
    if are_past {
        choice = Some(json!({"type": "none"}));
    }
    if let Some(effort) = thinking.as_ref().and_then(|_| effort(call)) {
        output.insert("effort".into(), effort.into());
    }
    sampling(call, thinking.is_some(), &mut body);
    let turns = messages::turns(&history, &call.model, &names)?;
    keep(request, &mut body, system, tools, turns);
    if let Some(choice) = choice.filter(|_| body.contains_key("tools")) {
        body.insert("tool_choice".into(), choice);
    }
    if let Some(thinking) = thinking {
        body.insert("thinking".into(), thinking);
    }
    if !output.is_empty() {
        body.insert("output_config".into(), output.into());
    }
    body.insert("stream".into(), (delivery == Delivery::Stream).into());
    Ok(body.into())
}

/// How the model is to think; none where it is not.
pub fn thinking(call: &Call) -> Option<Value> {
    let request = &call.request;
    let is_wanted = reasoning::wanted(request) == Some(true);
    match reasoning::style(&call.model) {
        Style::AnthropicBudget if is_wanted && !is_amid_unthought_calls(call) => {
            let budget = reasoning::budget(request, request.max_tokens.unwrap_or_default())?;
            Some(json!({"type": "enabled", "budget_tokens": budget}))
        }
        Style::AnthropicAdaptive if is_wanted => {
            // From 4.7 on the text of thinking is left out unless it is asked for.
            let is_hidden = reasoning::claude(&call.model.model_id).is_none_or(|version| version >= (4, 7));
            let shown = json!({"type": "adaptive", "display": "summarized"});
            Some(if is_hidden { shown } else { json!({"type": "adaptive"}) })
        }
        _ => None,
    }
}

/// Whether the model is in the middle of calls that it did not think about, or whose thinking another one signed: with
/// a budget the API then refuses to let it think.
fn is_amid_unthought_calls(call: &Call) -> bool {
    let history = history::consistent(&call.request.messages, &call.model);
    let is_open = history.last().is_some_and(|last| last.role() == pb::ChatRole::Tool);
    let calling = history.iter().rfind(|message| !message.tool_calls.is_empty());
    is_open
        && calling.is_some_and(|message| {
            !message.parts.iter().any(|part| matches!(part.part, Some(pb::part::Part::Thinking(_))))
        })
}

/// The API's word for an effort, for models that think by themselves.
pub fn effort(call: &Call) -> Option<&'static str> {
    if reasoning::style(&call.model) != Style::AnthropicAdaptive {
        return None;
    }
    let has_xhigh = reasoning::claude(&call.model.model_id).is_none_or(|version| version >= (4, 7));
    match call.request.reasoning_effort.as_str() {
        "minimal" | "low" => Some("low"),
        "medium" => Some("medium"),
        "high" => Some("high"),
        "xhigh" => Some(if has_xhigh { "xhigh" } else { "high" }),
        "max" => Some("max"),
        _ => None,
    }
}

/// What the model takes of the request's sampling, and where it stops.
fn sampling(call: &Call, thinks: bool, body: &mut Map<String, Value>) {
    let request = &call.request;
    let stops: Vec<_> =
        request.stop_sequences.iter().filter(|stop| !stop.trim().is_empty()).cloned().collect();
    if !stops.is_empty() {
        body.insert("stop_sequences".into(), stops.into());
    }
    let sampling = reasoning::claude_sampling(&call.model.model_id, thinks, request);
    let numbers = [
        ("temperature", sampling.temperature.map(Value::from)),
        ("top_p", sampling.top_p.map(Value::from)),
        ("top_k", sampling.top_k.map(Value::from)),
    ];
    body.extend(numbers.into_iter().filter_map(|(name, number)| Some((name.to_owned(), number?))));
}

fn tools(request: &pb::GenerateRequest, names: &Names) -> Result<Vec<Value>, InferenceError> {
    let mut tools = Vec::with_capacity(request.tools.len() + 1);
    for tool in &request.tools {
        tools.push(json!({"name": names.wire(&tool.name), "description": tool.description,
            "input_schema": structured::parameters(tool)?}));
    }
    if let Some(search) = &request.web_search {
        tools.push(web_search(search));
    }
    Ok(tools)
}

fn past_tool(name: &str) -> Value {
    json!({"name": name, "description": "No longer there.", "input_schema": {"type": "object"}})
}

/// The search of the provider's server. Sites to search and sites to leave out exclude each other there: the ones to
/// search are the narrower.
fn web_search(search: &pb::WebSearch) -> Value {
    let mut tool = json!({"type": "web_search_20250305", "name": "web_search"});
    if !search.allowed_domains.is_empty() {
        tool["allowed_domains"] = search.allowed_domains.clone().into();
    } else if !search.excluded_domains.is_empty() {
        tool["blocked_domains"] = search.excluded_domains.clone().into();
    }
    let place = [
        ("city", &search.city),
        ("region", &search.region),
        ("country", &search.country),
        ("timezone", &search.timezone),
    ];
    let place: Map<_, _> = place
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name.to_owned(), Value::from(value.clone())))
        .collect();
    if !place.is_empty() {
        let mut place = place;
        place.insert("type".into(), "approximate".into());
        tool["user_location"] = place.into();
    }
    tool
}

fn choice(request: &pb::GenerateRequest, names: &Names, thinks: bool) -> Option<Value> {
    let mut choice = match request.tool_mode() {
        pb::ToolMode::None => return Some(json!({"type": "none"})),
        pb::ToolMode::Required if !thinks => json!({"type": "any"}),
        pb::ToolMode::Named if !thinks => json!({"type": "tool", "name": names.wire(&request.tool_name)}),
        // A model that thinks cannot be forced.
        _ => json!({"type": "auto"}),
    };
    if request.parallel_tool_calls == Some(false) {
        choice["disable_parallel_tool_use"] = true.into();
    }
    Some(choice)
}

/// Tools, system text and messages, with marks at what is worth keeping: the tools, the system text, and the last
/// messages that the caller marked, or the last message where it marked none.
fn keep(
    request: &pb::GenerateRequest,
    body: &mut Map<String, Value>,
    system: String,
    mut tools: Vec<Value>,
    mut turns: Vec<Turn>,
) {
    let caching = request.prompt_caching.as_ref();
    let mut mark = json!({"type": "ephemeral"});
    if let Some(time) = caching.map(|caching| &caching.time_to_live).filter(|time| !time.is_empty()) {
        mark["ttl"] = time.clone().into();
    }
    let is_enabled = caching.is_some_and(|caching| caching.enabled);
    let is_system_marked = request
        .messages
        .iter()
        .any(|message| message.role() == pb::ChatRole::System && message.cache_breakpoint);
    let mut left = MOST_MARKS;
    if let Some(last) = tools.last_mut().filter(|_| is_enabled) {
        last["cache_control"] = mark.clone();
        left -= 1;
    }
    if !system.is_empty() {
        let mut block = json!({"type": "text", "text": system});
        if is_enabled || is_system_marked {
            block["cache_control"] = mark.clone();
            left -= 1;
        }
        body.insert("system".into(), json!([block]));
    }
    let is_any_marked = turns.iter().any(|turn| turn.breakpoint);
    if let Some(last) = turns.last_mut().filter(|_| is_enabled && !is_any_marked) {
        last.breakpoint = true;
    }
    for turn in turns.iter_mut().rev().filter(|turn| turn.breakpoint).take(left) {
        if let Some(block) = turn.content.iter_mut().rfind(|block| !is_thought(block)) {
            block["cache_control"] = mark.clone();
        }
    }
    if !tools.is_empty() {
        body.insert("tools".into(), tools.into());
    }
    let message = |turn: Turn| json!({"role": if turn.is_assistant { "assistant" } else { "user" }, "content": turn.content});
    body.insert("messages".into(), turns.into_iter().map(message).collect::<Vec<_>>().into());
}
