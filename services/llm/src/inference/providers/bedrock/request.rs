//! The body of a request.

use serde_json::{Map, Value, json};
use sre_proto::llm::v1 as pb;

use super::content::{self, Turn};
use super::model_id;
use crate::inference::error::InferenceError;
use crate::inference::providers::Call;
use crate::inference::providers::anthropic::{ANSWER_TOOL, effort, thinking};
use crate::inference::providers::facts::setting;
use crate::inference::providers::history;
use crate::inference::providers::names::{Names, Rule};
use crate::inference::providers::reasoning;
use crate::inference::providers::structured;

/// Marks of what is worth keeping that one request may have.
const MOST_MARKS: usize = 4;

/// What the interface takes as the name of a tool, for models of every maker.
pub const NAMES: Rule = Rule { also: "", begins_with_letter: false, longest: 64, hyphen: Some("__") };

/// What a model is told where it cannot be kept from calling.
const NO_CALLS: &str = "Answer without calling tools.";

/// The body for a call; how the answer comes is in the address.
pub fn body(call: &Call) -> Result<Value, InferenceError> {
    let request = &call.request;
    if request.web_search.is_some() {
        return Err(InferenceError::invalid(
            "web_search",
            "Bedrock searches no web: leave it out, or give a tool that does",
        ));
    }
    let names = Names::of(request, NAMES);
    let (mut system, history) = history::of_a_person(&request.messages, &call.model);
    let thinking = thinking(call);
    let schema = structured::answer_schema(request)?;
    let by_tool = schema.as_ref().filter(|_| {
        is_schema_tool(call, thinking.is_some() || reasoning::always_thinks(model_id(&call.model)))
    });
    match &schema {
        Some(schema) if by_tool.is_none() => {
            system = structured::instructed(&system, &structured::schema_instruction(schema));
        }
        None if request.response_format() == pb::ResponseFormat::Json => {
            system = structured::instructed(&system, structured::JSON_INSTRUCTION);
        }
        _ => {}
    }
    let mut tools = tools(call, &names, &history, &mut system)?;
    let thinks = thinking.is_some() || reasoning::always_thinks(model_id(&call.model));
    let mut choice = choice(request, &names, thinks);
    if let Some(schema) = by_tool {
        tools.push(tool_spec(ANSWER_TOOL, "Gives the answer.", schema.clone()));
        choice = Some(json!({"tool": {"name": ANSWER_TOOL}}));
    }
    let mut body = Map::new();
    inference(call, thinking, &mut body);
    let turns = content::turns(&history, &call.model, &names)?;
    keep(call, &mut body, system, tools, choice, turns);
    if let Some(id) = setting(&call.model, &["guardrailIdentifier"]) {
        let version = setting(&call.model, &["guardrailVersion"]).unwrap_or("DRAFT");
        body.insert(
            "guardrailConfig".into(),
            json!({"guardrailIdentifier": id, "guardrailVersion": version}),
        );
    }
    Ok(body.into())
}

fn is_nova(call: &Call) -> bool {
    model_id(&call.model).contains("amazon.nova")
}

fn is_claude(call: &Call) -> bool {
    model_id(&call.model).contains("claude-")
}

/// Whether the answer of a schema is the arguments of a tool that the model must call.
fn is_schema_tool(call: &Call, thinks: bool) -> bool {
    (is_claude(call) || is_nova(call)) && call.request.tools.is_empty() && !thinks
}

/// Limits and sampling, and what only some makers' models take.
fn inference(call: &Call, thinking: Option<Value>, body: &mut Map<String, Value>) {
    let request = &call.request;
    let sampling = reasoning::claude_sampling(model_id(&call.model), thinking.is_some(), request);
    let stops: Vec<_> =
        request.stop_sequences.iter().filter(|stop| !stop.trim().is_empty()).cloned().collect();
    let fields = [
        ("maxTokens", request.max_tokens.map(Value::from)),
        ("temperature", sampling.temperature.map(Value::from)),
        ("topP", sampling.top_p.map(Value::from)),
        ("stopSequences", (!stops.is_empty()).then(|| stops.into())),
    ];
    let config: Map<_, _> =
        fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    if !config.is_empty() {
        body.insert("inferenceConfig".into(), config.into());
    }
    let mut more = Map::new();
    match sampling.top_k {
        Some(top_k) if is_nova(call) => {
            more.insert("inferenceConfig".into(), json!({"topK": top_k}));
        }
        Some(top_k) if is_claude(call) => {
            more.insert("top_k".into(), top_k.into());
        }
        _ => {}
    }
    if let Some(thinking) = thinking {
        more.insert("thinking".into(), thinking);
        if let Some(effort) = effort(call) {
            more.insert("output_config".into(), json!({"effort": effort}));
        }
    }
    if !more.is_empty() {
        body.insert("additionalModelRequestFields".into(), more.into());
    }
}

fn tool_spec(name: &str, description: &str, schema: Value) -> Value {
    // An empty description is refused.
    let description = if description.trim().is_empty() { name } else { description };
    json!({"toolSpec": {"name": name, "description": description, "inputSchema": {"json": schema}}})
}

/// The tools. Calls in the history need declared ones; where the model is to call none, none are declared if that is
/// possible, and else it is told.
fn tools(
    call: &Call,
    names: &Names,
    history: &[pb::ChatMessage],
    system: &mut String,
) -> Result<Vec<Value>, InferenceError> {
    let request = &call.request;
    let called = history::called(history);
    let are_forbidden = request.tools.is_empty() || request.tool_mode() == pb::ToolMode::None;
    if are_forbidden && called.is_empty() {
        return Ok(Vec::new());
    }
    if are_forbidden {
        *system = structured::instructed(system, NO_CALLS);
        let spec =
            |name: &String| tool_spec(&names.wire(name), "No longer there.", json!({"type": "object"}));
        return Ok(called.iter().map(spec).collect());
    }
    let spec = |tool: &pb::Tool| {
        Ok(tool_spec(&names.wire(&tool.name), &tool.description, structured::parameters(tool)?))
    };
    request.tools.iter().map(spec).collect()
}

fn choice(request: &pb::GenerateRequest, names: &Names, thinks: bool) -> Option<Value> {
    match request.tool_mode() {
        _ if request.tools.is_empty() => None,
        pb::ToolMode::None => None,
        pb::ToolMode::Required if !thinks => Some(json!({"any": {}})),
        pb::ToolMode::Named if !thinks => Some(json!({"tool": {"name": names.wire(&request.tool_name)}})),
        _ => Some(json!({"auto": {}})),
    }
}

/// System text, tools and messages, with marks behind what is worth keeping, for the models that know them.
fn keep(
    call: &Call,
    body: &mut Map<String, Value>,
    system: String,
    mut tools: Vec<Value>,
    choice: Option<Value>,
    mut turns: Vec<Turn>,
) {
    let request = &call.request;
    let caching = request.prompt_caching.as_ref();
    let knows = is_claude(call) || is_nova(call);
    let is_enabled = knows && caching.is_some_and(|caching| caching.enabled);
    let mut point = json!({"type": "default"});
    if let Some(time) = caching.map(|caching| &caching.time_to_live).filter(|time| !time.is_empty()) {
        point["ttl"] = time.clone().into();
    }
    let mark = json!({"cachePoint": point});
    let mut left = MOST_MARKS;
    if !system.is_empty() {
        let mut blocks = vec![json!({"text": system})];
        let is_marked = request
            .messages
            .iter()
            .any(|message| message.role() == pb::ChatRole::System && message.cache_breakpoint);
        if is_enabled || knows && is_marked {
            blocks.push(mark.clone());
            left -= 1;
        }
        body.insert("system".into(), blocks.into());
    }
    if !tools.is_empty() {
        // Only Claude keeps tools.
        if is_enabled && is_claude(call) {
            tools.push(mark.clone());
            left -= 1;
        }
        let mut config = json!({"tools": tools});
        if let Some(choice) = choice {
            config["toolChoice"] = choice;
        }
        body.insert("toolConfig".into(), config);
    }
    let is_any_marked = turns.iter().any(|turn| turn.breakpoint);
    if let Some(last) = turns.last_mut().filter(|_| is_enabled && !is_any_marked) {
        last.breakpoint = true;
    }
    for turn in turns.iter_mut().rev().filter(|turn| knows && turn.breakpoint).take(left) {
        turn.content.push(mark.clone());
    }
    let message = |turn: Turn| json!({"role": if turn.is_assistant { "assistant" } else { "user" }, "content": turn.content});
    body.insert("messages".into(), turns.into_iter().map(message).collect::<Vec<_>>().into());
}
