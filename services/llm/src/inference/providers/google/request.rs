//! The body of a request.

use serde_json::{Map, Value, json};
use sre_proto::llm::v1 as pb;

use super::contents::contents;
use super::schema::sanitised;
use crate::inference::error::InferenceError;
use crate::inference::providers::Call;
use crate::inference::providers::history;
use crate::inference::providers::names::{Names, Rule};
use crate::inference::providers::reasoning::{self, Style};
use crate::inference::providers::structured;

/// What the API takes as the name of a function.
pub const NAMES: Rule = Rule { also: ".-", begins_with_letter: true, longest: 64, hyphen: None };

/// Which of Google's two services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// With a key.
    GoogleAi,
    /// With a token of a cloud account.
    Vertex,
}

/// The body for a call; how the answer comes is in the address.
pub fn body(call: &Call, flavour: Flavour) -> Result<Value, InferenceError> {
    let request = &call.request;
    let names = Names::of(request, NAMES);
    let (mut system, history) = history::of_a_person(&request.messages, &call.model);
    let mut config = sampling(request);
    let wants_json = request.response_format() == pb::ResponseFormat::Json;
    let schema = structured::answer_schema(request)?;
    // Gemini before 3 takes no form of answer beside tools.
    let is_formable = request.tools.is_empty() && request.web_search.is_none()
        || reasoning::gemini(&call.model.model_id).is_some_and(|version| version >= (3, 0));
    match schema {
        Some(schema) if is_formable => {
            config.insert("responseMimeType".into(), "application/json".into());
            config.insert("responseJsonSchema".into(), sanitised(&schema));
        }
        Some(schema) => system = structured::instructed(&system, &structured::schema_instruction(&schema)),
        None if wants_json => {
            system = structured::instructed(&system, structured::JSON_INSTRUCTION);
            if is_formable {
                config.insert("responseMimeType".into(), "application/json".into());
            }
        }
        None => {}
    }
    if let Some(thinking) = thinking(call) {
        config.insert("thinkingConfig".into(), thinking);
    }
    let mut body = Map::new();
    body.insert("contents".into(), contents(&history, &call.model, &names, flavour)?.into());
    if !system.is_empty() {
        body.insert("systemInstruction".into(), json!({"parts": [{"text": system}]}));
    }
    if !config.is_empty() {
        body.insert("generationConfig".into(), config.into());
    }
    tools(request, &names, &mut body)?;
    Ok(body.into())
}

fn sampling(request: &pb::GenerateRequest) -> Map<String, Value> {
    let stops = (!request.stop_sequences.is_empty()).then(|| request.stop_sequences.clone().into());
    let fields = [
        ("maxOutputTokens", request.max_tokens.map(Value::from)),
        ("temperature", request.temperature.map(Value::from)),
        ("topP", request.top_p.map(Value::from)),
        ("topK", request.top_k.map(Value::from)),
        ("frequencyPenalty", request.frequency_penalty.map(Value::from)),
        ("presencePenalty", request.presence_penalty.map(Value::from)),
        ("stopSequences", stops),
    ];
    fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// How the model is to think: a level, or so many tokens. Nothing where nobody said, so that it decides.
fn thinking(call: &Call) -> Option<Value> {
    let request = &call.request;
    let wanted = reasoning::wanted(request);
    match reasoning::style(&call.model) {
        Style::GeminiLevel => {
            let is_pro = call.model.model_id.contains("-pro");
            let level = match request.reasoning_effort.as_str() {
                _ if wanted.is_none() => return Some(json!({"includeThoughts": true})),
                // These models always think a little; the larger ones know no less than a little.
                "none" | "minimal" if is_pro => "low",
                "none" | "minimal" => "minimal",
                "low" => "low",
                "medium" if is_pro && reasoning::gemini(&call.model.model_id) < Some((3, 1)) => "high",
                "medium" => "medium",
                _ if wanted == Some(false) => "low",
                _ => "high",
            };
            Some(json!({"thinkingLevel": level, "includeThoughts": level != "minimal"}))
        }
        Style::GeminiBudget => match wanted {
            None => None,
            // The larger ones cannot do without.
            Some(false) => {
                let least = if call.model.model_id.contains("-pro") { 128 } else { 0 };
                Some(json!({"thinkingBudget": least}))
            }
            Some(true) => {
                let most = request.max_tokens.unwrap_or(8_192);
                let asked = request.thinking_tokens;
                let budget = asked.unwrap_or_else(|| reasoning::share(&request.reasoning_effort, most));
                Some(json!({"thinkingBudget": budget.clamp(128, 24_576), "includeThoughts": true}))
            }
        },
        _ => None,
    }
}

fn tools(
    request: &pb::GenerateRequest,
    names: &Names,
    body: &mut Map<String, Value>,
) -> Result<(), InferenceError> {
    let mut tools = Vec::new();
    if !request.tools.is_empty() {
        let mut functions = Vec::with_capacity(request.tools.len());
        for tool in &request.tools {
            let schema = sanitised(&structured::parameters(tool)?);
            let mut function = json!({"name": names.wire(&tool.name), "description": tool.description});
            // A function without arguments has no schema: an empty object is refused.
            if schema["properties"].as_object().is_none_or(|properties| !properties.is_empty()) {
                function["parametersJsonSchema"] = schema;
            }
            functions.push(function);
        }
        tools.push(json!({"functionDeclarations": functions}));
        let config = match request.tool_mode() {
            pb::ToolMode::None => json!({"mode": "NONE"}),
            pb::ToolMode::Required => json!({"mode": "ANY"}),
            pb::ToolMode::Named => {
                json!({"mode": "ANY", "allowedFunctionNames": [names.wire(&request.tool_name)]})
            }
            pb::ToolMode::Unspecified | pb::ToolMode::Auto => json!({"mode": "AUTO"}),
        };
        body.insert("toolConfig".into(), json!({"functionCallingConfig": config}));
    }
    if request.web_search.is_some() {
        tools.push(json!({"googleSearch": {}}));
    }
    if !tools.is_empty() {
        body.insert("tools".into(), tools.into());
    }
    Ok(())
}
