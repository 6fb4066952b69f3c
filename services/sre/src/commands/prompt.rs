//! `sre agent FILE --prompt TEXT`: the agent's model answers and may call its skills as tools. A conversation of one
//! prompt, which is not kept.

use anyhow::Result;
use serde_json::{Value, json};
use sre_proto::agent::v1::GetAgentRequest;
use sre_proto::gateway::v1::conversation_event::Event;
use sre_proto::gateway::v1::turn_event::Event as Turn;
use sre_proto::gateway::v1::{ConversationSettings, DeleteConversationRequest};
use sre_proto::llm::v1::{GetModelRequest, Model};

use super::chat::screen::call;
use super::chat::talk::{self, Talk};
use crate::cli::exit::Failure;
use crate::cli::output::{Output, complain};
use crate::client::Client;

/// Prompts an agent that is stored under this name.
pub async fn run(output: Output, client: &Client, name: &str, text: &str) -> Result<()> {
    let request = GetAgentRequest { name: name.to_owned(), version: String::new() };
    let agent = client.agents().get_agent(request).await?.into_inner();
    let document: Value = serde_json::from_slice(&agent.document_json)?;
    let document = document.get("data").filter(|d| d.get("components").is_some()).unwrap_or(&document);
    let model = model(client, document).await?;
    let settings = ConversationSettings { model, ..ConversationSettings::default() };
    let conversation = talk::open(client, &agent.name, "sre agent --prompt", settings).await?;
    let answered = answer(output, client, &conversation.name, text).await;
    let delete = DeleteConversationRequest { name: conversation.name };
    // What was asked is answered; that nothing is kept is good manners.
    if let Err(status) = client.conversations().delete_conversation(delete).await {
        tracing::debug!(%status, "the conversation of a prompt stays");
    }
    answered
}

async fn answer(output: Output, client: &Client, conversation: &str, text: &str) -> Result<()> {
    let talk = Talk::ask(client, conversation, text).await?;
    let mut last = String::new();
    let end = talk
        .follow(|event| {
            let Some(Event::TurnEvent(event)) = &event.event else { return };
            match &event.event {
                Some(Turn::ToolCall(called)) if !output.is_json() => {
                    complain(&format!("calling {}", call(called.call.as_ref())));
                }
                Some(Turn::Answer(answer)) => last.clone_from(&answer.text),
                _ => {}
            }
        })
        .await?;
    if let Some(failure) = talk::failure_of(&end) {
        return Err(Failure::failed(failure));
    }
    if output.is_json() {
        output.json(&json!({ "answer": last }));
    } else {
        output.note(&last);
    }
    Ok(())
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
