//! What goes before the prompt: instructions, and the conversation whose model called this skill.

use sre_proto::llm::v1::{ChatMessage, ChatRole, Model};

use crate::components::llm::parameters::whole;
use crate::components::llm::prompt;
use crate::context::Call;
use crate::context::models::{Conversation, Room};
use crate::settings;

/// Tokens of the conversation, where the record does not say.
const USUAL_WINDOW: i64 = 1_024;
/// Tokens that are kept for the answer, where the record does not say.
const USUAL_ANSWER: i64 = 1_024;

/// The messages of a call whose last one is the prompt.
///
/// # Errors
/// If the conversation cannot be read.
pub(super) async fn messages(
    call: Call<'_>,
    model: &Model,
    asked: ChatMessage,
) -> Result<Vec<ChatMessage>, String> {
    let (with_system, with_window) =
        (settings::flag(call, "useSystemPrompt"), settings::flag(call, "useContextWindow"));
    let known = match with_system || with_window {
        true => {
            let tokens = if with_window { room(call, model) } else { 0 };
            let conversation = call.context.models().conversation(Room { model, tokens }).await;
            conversation.map_err(|error| error.message)?
        }
        false => None,
    };
    let outside = known.is_none();
    let Conversation { system, messages: earlier } = known.unwrap_or_default();
    let mut messages = Vec::new();
    if with_system {
        let text = if outside { call.context.agent().behavior.clone() } else { system };
        if !text.is_empty() {
            messages.push(prompt::message(ChatRole::System, text));
        }
    }
    if with_window {
        messages.extend(earlier);
    }
    // What the person asked last led here: the prompt says it in the author's words.
    if messages.last().is_some_and(|last| last.role() == ChatRole::User) {
        messages.pop();
    }
    messages.push(asked);
    Ok(messages)
}

/// Tokens of the conversation: as many as wanted, as long as question and answer have room in the model's window.
fn room(call: Call<'_>, model: &Model) -> i64 {
    let wanted = settings::number(call, "maxContextWindowLength").map_or(USUAL_WINDOW, whole);
    let answer = settings::number(call, "maxTokens").map_or(USUAL_ANSWER, whole);
    match model.context_tokens {
        context if context > 0 => wanted.min(context - answer.min(context)).max(0),
        _ => wanted,
    }
}
