//! The body of a request.

use serde_json::{Map, Value, json};
use sre_proto::llm::v1 as pb;

use super::dialects::{self, Dialect, Effort, Json, Limit};
use super::messages::messages;
use crate::inference::error::InferenceError;
use crate::inference::providers::wire::Delivery;
use crate::inference::providers::{Call, structured};

/// The body for a call.
pub fn body(call: &Call, dialect: &Dialect, delivery: Delivery) -> Result<Value, InferenceError> {
    let request = &call.request;
    let mut body = Map::new();
    body.insert("model".into(), call.model.model_id.clone().into());
    let form = answer_form(call, dialect)?;
    body.insert("messages".into(), messages(call, dialect, form.instruction.as_deref())?.into());
    if let Some(limit) = request.max_tokens {
        body.insert(limit_name(call, dialect).into(), limit.into());
    }
    if !thinks_alone(call) {
        sampling(request, dialect, &mut body);
    }
    thinking(call, dialect, &mut body);
    if let Some(form) = form.response_format {
        body.insert("response_format".into(), form);
    }
    if dialect.tools && !request.tools.is_empty() {
        tools(request, dialect, &mut body)?;
    }
    let caching = request.prompt_caching.as_ref().filter(|caching| !caching.key.is_empty());
    if let Some(caching) = caching.filter(|_| dialects::is_own(call)) {
        body.insert("prompt_cache_key".into(), caching.key.clone().into());
    }
    if let Some(search) = &request.web_search {
        if dialect.name != "Perplexity" {
            return Err(no_search(&call.model.provider));
        }
        perplexity_search(search, &mut body);
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

/// Models that think always and refuse sampling parameters instead of ignoring them.
pub fn thinks_alone(call: &Call) -> bool {
    let names = [&call.model.entry, &call.model.model_id];
    names.iter().any(|name| {
        let name = name.rsplit('/').next().unwrap_or(name);
        ["o1", "o3", "o4", "gpt-5"].iter().any(|family| {
            let rest = name.strip_prefix(family);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '.']))
        })
    })
}

fn limit_name(call: &Call, dialect: &Dialect) -> &'static str {
    let is_completion = match dialect.limit {
        Limit::Completion => dialects::is_own(call) || thinks_alone(call),
        Limit::Plain => false,
        Limit::ByThinking => wants_thinking(call),
    };
    if is_completion { "max_completion_tokens" } else { "max_tokens" }
}

fn wants_thinking(call: &Call) -> bool {
    !matches!(call.request.reasoning_effort.as_str(), "" | "none") && has(call, "reasoning")
}

fn sampling(request: &pb::GenerateRequest, dialect: &Dialect, body: &mut Map<String, Value>) {
    // Perplexity refuses a penalty of 0.
    let frequency = request.frequency_penalty.filter(|value| *value != 0.0 || dialect.name != "Perplexity");
    let values: [(&str, Option<Value>); 6] = [
        ("temperature", request.temperature.map(Value::from)),
        ("top_p", request.top_p.map(Value::from)),
        ("top_k", request.top_k.map(Value::from)),
        ("frequency_penalty", frequency.map(Value::from)),
        ("presence_penalty", request.presence_penalty.map(Value::from)),
        ("stop", (!request.stop_sequences.is_empty()).then(|| request.stop_sequences.clone().into())),
    ];
    for (name, value) in values {
        if let Some(value) = value.filter(|_| dialect.sampling.contains(&name)) {
            body.insert(name.into(), value);
        }
    }
}

/// How much it thinks and says. Models without the feature would refuse to be told.
fn thinking(call: &Call, dialect: &Dialect, body: &mut Map<String, Value>) {
    if !has(call, "reasoning") {
        return;
    }
    let effort = call.request.reasoning_effort.as_str();
    match dialect.effort {
        Effort::OpenAi if !effort.is_empty() => {
            // The most that OpenAI's models know.
            let effort = if effort == "max" { "xhigh" } else { effort };
            body.insert("reasoning_effort".into(), effort.into());
        }
        Effort::Groq => {
            // Its words are none, default, low, medium and high; one model takes none of them.
            let effort = match effort {
                "minimal" => "low",
                "xhigh" | "max" => "high",
                other => other,
            };
            if !effort.is_empty() && call.model.model_id != "deepseek-r1-distill-llama-70b" {
                body.insert("reasoning_effort".into(), effort.into());
            }
            // Thinking in a field of its own, not in the text. The gpt-oss models do so by themselves.
            if !call.model.model_id.contains("gpt-oss") {
                body.insert("reasoning_format".into(), "parsed".into());
            }
        }
        Effort::Toggle if !effort.is_empty() => {
            let kind = if effort == "none" { "disabled" } else { "enabled" };
            body.insert("thinking".into(), json!({"type": kind}));
        }
        _ => {}
    }
    if let Some(verbosity) = verbosity(call).filter(|_| dialects::is_own(call)) {
        body.insert("verbosity".into(), verbosity.into());
    }
}

/// How much the model says, for families that can be told.
pub fn verbosity(call: &Call) -> Option<&'static str> {
    let can = [&call.model.entry, &call.model.model_id].iter().any(|name| name.contains("gpt-5"));
    match call.request.verbosity() {
        pb::Verbosity::Low if can => Some("low"),
        pb::Verbosity::Medium if can => Some("medium"),
        pb::Verbosity::High if can => Some("high"),
        _ => None,
    }
}

/// How the answer's form is asked for.
struct Form {
    instruction: Option<String>,
    response_format: Option<Value>,
}

fn answer_form(call: &Call, dialect: &Dialect) -> Result<Form, InferenceError> {
    let request = &call.request;
    let object = || json!({"type": "json_object"});
    if let Some(schema) = structured::answer_schema(request)? {
        if dialect.json == Json::Objects {
            let instruction = Some(structured::schema_instruction(&schema));
            return Ok(Form { instruction, response_format: Some(object()) });
        }
        let asked = request.json_schema.as_ref();
        let name = asked.map(|asked| asked.name.as_str()).filter(|name| !name.is_empty()).unwrap_or("answer");
        let mut wire = json!({"name": name, "schema": schema});
        if asked.is_some_and(|asked| asked.strict) {
            wire["schema"] = structured::closed(&schema);
            wire["strict"] = true.into();
        }
        let response_format = Some(json!({"type": "json_schema", "json_schema": wire}));
        return Ok(Form { instruction: None, response_format });
    }
    if request.response_format() != pb::ResponseFormat::Json {
        return Ok(Form { instruction: None, response_format: None });
    }
    let instruction = Some(structured::JSON_INSTRUCTION.to_owned());
    let takes_format = dialect.json != Json::SchemasOnly && call.model.model_id != "o1-preview";
    Ok(Form { instruction, response_format: takes_format.then(object) })
}

fn tools(
    request: &pb::GenerateRequest,
    dialect: &Dialect,
    body: &mut Map<String, Value>,
) -> Result<(), InferenceError> {
    let tools = request.tools.iter().map(tool).collect::<Result<Vec<_>, _>>()?;
    body.insert("tools".into(), tools.into());
    let choice = match request.tool_mode() {
        pb::ToolMode::Unspecified | pb::ToolMode::Auto => "auto".into(),
        pb::ToolMode::None => "none".into(),
        pb::ToolMode::Required => "required".into(),
        pb::ToolMode::Named => {
            json!({"type": "function", "function": {"name": named_tool(request)?}})
        }
    };
    body.insert("tool_choice".into(), choice);
    if let Some(parallel) = request.parallel_tool_calls.filter(|_| dialect.parallel) {
        body.insert("parallel_tool_calls".into(), parallel.into());
    }
    Ok(())
}

/// A tool, as chat completions and Ollama want it.
pub fn tool(tool: &pb::Tool) -> Result<Value, InferenceError> {
    let function = json!({
        "name": tool.name,
        "description": tool.description,
        "parameters": structured::parameters(tool)?,
    });
    Ok(json!({"type": "function", "function": function}))
}

/// The one tool that the model must call.
pub fn named_tool(request: &pb::GenerateRequest) -> Result<&str, InferenceError> {
    if request.tools.iter().any(|tool| tool.name == request.tool_name) {
        return Ok(&request.tool_name);
    }
    let words = format!("{:?} is none of the tools: name one of them", request.tool_name);
    Err(InferenceError::invalid("tool_name", words))
}

/// A search that its provider cannot make.
pub fn no_search(provider: &str) -> InferenceError {
    let words = format!("{provider} searches nothing: use a model of another provider");
    InferenceError::invalid("web_search", words)
}

/// Perplexity searches always: it is told where and how much.
fn perplexity_search(search: &pb::WebSearch, body: &mut Map<String, Value>) {
    let mut options = Map::new();
    if !search.context_size.is_empty() {
        options.insert("search_context_size".into(), search.context_size.clone().into());
    }
    let mut place = Map::new();
    for (name, value) in [("city", &search.city), ("country", &search.country), ("region", &search.region)] {
        if !value.is_empty() {
            place.insert(name.into(), value.clone().into());
        }
    }
    if !place.is_empty() {
        options.insert("user_location".into(), place.into());
    }
    if !options.is_empty() {
        body.insert("web_search_options".into(), options.into());
    }
    let excluded = search.excluded_domains.iter().map(|site| format!("-{site}"));
    let sites: Vec<String> = search.allowed_domains.iter().cloned().chain(excluded).collect();
    if !sites.is_empty() {
        body.insert("search_domain_filter".into(), sites.into());
    }
}
