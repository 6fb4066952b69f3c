//! GenAILLM and the conversation whose model called its skill.

use serde_json::{Value as Json, json};
use sre_components::Conversation;
use sre_proto::llm::v1::{ChatMessage, ChatRole};

use super::{run, suite};
use crate::context::Suite;

fn message(role: ChatRole, text: &str) -> ChatMessage {
    ChatMessage { role: role.into(), text: text.into(), ..ChatMessage::default() }
}

fn conversation(last_is_user: bool) -> Conversation {
    let mut messages = vec![message(ChatRole::User, "u1"), message(ChatRole::Assistant, "a1")];
    if last_is_user {
        messages.push(message(ChatRole::User, "u2"));
    }
    Conversation { system: "led so".into(), messages }
}

async fn asked(suite: &std::sync::Arc<Suite>, more: Json) -> Vec<String> {
    let mut settings = json!({"model": "mock-gpt", "prompt": "hi"});
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    run(suite, "GenAILLM", settings, &[("Input", "Any")], &[("Reply", true)], json!({"Input": 1})).await;
    let request = suite.requests.lock().pop().unwrap();
    request.messages.iter().map(|message| message.text.clone()).collect()
}

#[tokio::test]
async fn the_prompt_takes_the_place_of_what_the_person_said_last() {
    let suite = suite(&[]);
    *suite.scene.conversation.lock() = Some(conversation(true));
    assert_eq!(asked(&suite, json!({"useContextWindow": true})).await, ["u1", "a1", "hi"]);
    assert_eq!(
        asked(&suite, json!({"useContextWindow": true, "useSystemPrompt": true})).await,
        ["led so", "u1", "a1", "hi"]
    );
    *suite.scene.conversation.lock() = Some(conversation(false));
    assert_eq!(asked(&suite, json!({"useContextWindow": true})).await, ["u1", "a1", "hi"]);
    assert_eq!(asked(&suite, json!({"useSystemPrompt": true})).await, ["led so", "hi"]);
}

#[tokio::test]
async fn outside_of_conversations_the_agent_s_behaviour_counts() {
    let suite = suite(&[]);
    let both = json!({"useContextWindow": true, "useSystemPrompt": true});
    assert_eq!(asked(&suite, both).await, ["be kind", "hi"]);
    assert_eq!(asked(&suite, json!({})).await, ["hi"]);
}

#[tokio::test]
async fn d28_question_and_answer_have_room_in_the_model_s_window() {
    let suite = suite(&[]);
    for (settings, room) in [
        (json!({"useContextWindow": true}), 1_024),
        (json!({"useContextWindow": true, "maxContextWindowLength": "9000"}), 9_000),
        (json!({"useContextWindow": true, "maxContextWindowLength": 20_000, "maxTokens": 8_000}), 8_384),
        (json!({"useContextWindow": true, "maxTokens": 999_999}), 0),
        (json!({"useSystemPrompt": true}), 0),
    ] {
        asked(&suite, settings.clone()).await;
        assert_eq!(suite.scene.rooms.lock().pop(), Some(room), "{settings}");
    }
}
