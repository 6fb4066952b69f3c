//! `sre agent FILE --prompt TEXT`: the agent's model answers and may call its skills as tools. A minimal tool
//! loop on public methods; nothing of it is kept.

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};
use sre_proto::agent::v1::{Agent, GetAgentRequest, Skill};
use sre_proto::gateway::v1::run_skill_request::Call;
use sre_proto::gateway::v1::{RunSkillRequest, SkillCall};
use sre_proto::llm::v1::{ChatMessage, ChatRole, GenerateRequest, GetModelRequest, Model, Tool, ToolCall};

use crate::cli::exit::Failure;
use crate::cli::output::{Output, complain};
use crate::client::Client;

/// A model that calls tools for longer than this goes in circles.
const ROUNDS: usize = 16;

/// Prompts an agent that is stored under this name.
pub async fn run(output: Output, client: &Client, name: &str, text: &str) -> Result<()> {
    let request = GetAgentRequest { name: name.to_owned(), version: String::new() };
    let agent = client.agents().get_agent(request).await?.into_inner();
    let document: Value = serde_json::from_slice(&agent.document_json)?;
    let document = document.get("data").filter(|d| d.get("components").is_some()).unwrap_or(&document);
    let model = model(client, document).await?;
    let mut messages = Vec::new();
    let behavior = document.get("behavior").and_then(Value::as_str).unwrap_or_default();
    if !behavior.is_empty() {
        messages.push(message(ChatRole::System, behavior));
    }
    messages.push(message(ChatRole::User, text));
    let tools: Vec<Tool> = agent.skills.iter().filter(|skill| skill.ai_exposed).map(tool).collect();
    for _ in 0..ROUNDS {
        let request = GenerateRequest {
            model: model.clone(),
            messages: messages.clone(),
            tools: tools.clone(),
            ..GenerateRequest::default()
        };
        let answer = client.inference().generate(request).await?.into_inner();
        if answer.tool_calls.is_empty() {
            if output.is_json() {
                output.json(&json!({ "answer": answer.text }));
            } else {
                output.note(&answer.text);
            }
            return Ok(());
        }
        messages.push(ChatMessage {
            role: ChatRole::Assistant.into(),
            text: answer.text,
            tool_calls: answer.tool_calls.clone(),
            ..ChatMessage::default()
        });
        for call in answer.tool_calls {
            messages.push(result_of(output, client, &agent, call).await?);
        }
    }
    Err(Failure::failed(format!("the model called tools for {ROUNDS} rounds without an answer")))
}

/// The agent's model, where it can be used.
async fn model(client: &Client, document: &Value) -> Result<String> {
    let name = match document.get("defaultModel") {
        Some(Value::String(name)) if !name.is_empty() => name.clone(),
        Some(Value::Object(model)) => {
            model.get("modelId").and_then(Value::as_str).unwrap_or_default().to_owned()
        }
        _ => String::new(),
    };
    if name.is_empty() {
        return Err(Failure::usage(
            "the agent names no model: set \"defaultModel\" in its document, for example \"gpt-4.1\"",
        ));
    }
    let found = client.models().get_model(GetModelRequest { name: format!("models/{name}") }).await;
    let Model { usable, hint, .. } =
        found.map_err(|status| Failure::usage(format!("model {name}: {}", status.message())))?.into_inner();
    if usable { Ok(name) } else { Err(Failure::usage(format!("model {name} cannot be used: {hint}"))) }
}

fn message(role: ChatRole, text: &str) -> ChatMessage {
    ChatMessage { role: role.into(), text: text.to_owned(), ..ChatMessage::default() }
}

fn tool(skill: &Skill) -> Tool {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for input in &skill.inputs {
        let mut schema = schema(&input.r#type);
        schema["description"] = json!(input.description);
        properties.insert(input.name.clone(), schema);
        if !input.optional {
            required.push(input.name.clone());
        }
    }
    let parameters = json!({"type": "object", "properties": properties, "required": required});
    Tool {
        name: skill.endpoint.clone(),
        description: skill.description.clone(),
        parameters_json: parameters.to_string().into(),
    }
}

fn schema(kind: &str) -> Value {
    match kind.to_ascii_lowercase().as_str() {
        "number" | "float" => json!({"type": "number"}),
        "integer" => json!({"type": "integer"}),
        "boolean" => json!({"type": "boolean"}),
        "array" => json!({"type": "array", "items": {}}),
        "object" => json!({"type": "object", "additionalProperties": {}}),
        _ => json!({"type": "string"}),
    }
}

async fn result_of(output: Output, client: &Client, agent: &Agent, call: ToolCall) -> Result<ChatMessage> {
    if !output.is_json() {
        complain(&format!("calling {}({})", call.name, String::from_utf8_lossy(&call.arguments_json)));
    }
    let request = RunSkillRequest {
        agent: agent.name.clone(),
        call: Some(Call::Skill(SkillCall { skill: call.name.clone(), input_json: call.arguments_json })),
        ..RunSkillRequest::default()
    };
    // A skill that fails is told to the model, which may try something else.
    let text = match client.runs().run_skill(request).await {
        Ok(answer) => String::from_utf8(answer.into_inner().legacy_json.to_vec())
            .with_context(|| format!("skill {} answered no text", call.name))?,
        Err(status) => json!({ "error": status.message() }).to_string(),
    };
    Ok(ChatMessage { role: ChatRole::Tool.into(), text, tool_call_id: call.id, ..ChatMessage::default() })
}
