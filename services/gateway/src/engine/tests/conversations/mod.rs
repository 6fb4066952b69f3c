//! Conversations over two engines, a real memory and a scripted model.

mod attachments;
mod concurrency;
mod history;
mod lent;
mod planner;
mod recovery;
mod talk;
mod tools;

use futures::StreamExt as _;
use serde_json::json;
use sre_proto::gateway::v1::conversation_event::Event;
use sre_proto::gateway::v1::conversations_client::ConversationsClient;
use sre_proto::gateway::v1::turn_event::Event as Turn;
use sre_proto::gateway::v1::{
    Conversation, ConversationEvent, ConversationSettings, CreateConversationRequest, HistoryMessage,
    ListMessagesRequest, PromptRequest, TurnEnded,
};
use tonic::{Status, Streaming};

use super::documents::{component, document, endpoint, post};
use super::world::{World, at};
use crate::engine::conversations::wire;

/// An agent whose skill `go` calls `/tool/{x}`.
async fn agent(world: &World) -> String {
    let mut agent = document(
        "chatty",
        vec![
            endpoint(),
            post("call", &world.server.url("/tool/{{v}}"), json!({})),
            component("out", "APIOutput", json!({"format": "minimal"}), &["v"], &["Output"]),
        ],
        &["go.x > call.v", "call.Response > out.v"],
    );
    agent["defaultModel"] = "m".into();
    agent["name"] = "Chatty".into();
    world.put(&agent).await
}

async fn opened_with(world: &World, agent: &str, settings: ConversationSettings) -> Conversation {
    let request =
        CreateConversationRequest { agent: agent.into(), title: "t".into(), settings: Some(settings) };
    let mut client = ConversationsClient::new(world.running_as(agent, "user/dev"));
    client.create_conversation(request).await.unwrap().into_inner()
}

async fn opened(world: &World, agent: &str) -> Conversation {
    opened_with(world, agent, ConversationSettings::default()).await
}

async fn ask(
    world: &World,
    engine: usize,
    agent: &str,
    request: PromptRequest,
) -> Result<Streaming<ConversationEvent>, Status> {
    let mut client = ConversationsClient::new(world.running_as(agent, "user/dev"));
    Ok(client.prompt(at(engine, request)).await?.into_inner())
}

fn prompt(conversation: &Conversation, text: &str) -> PromptRequest {
    PromptRequest { name: conversation.name.clone(), text: text.into(), ..PromptRequest::default() }
}

/// Asks and waits for the end.
async fn told(world: &World, agent: &str, conversation: &Conversation, text: &str) -> Vec<ConversationEvent> {
    let stream = ask(world, 0, agent, prompt(conversation, text)).await.unwrap();
    all(stream).await
}

async fn all(stream: Streaming<ConversationEvent>) -> Vec<ConversationEvent> {
    let all = stream.map(|event| event.unwrap()).collect();
    tokio::time::timeout(std::time::Duration::from_secs(30), all).await.expect("it ends")
}

fn word(event: &ConversationEvent) -> &'static str {
    match event.event.as_ref().unwrap() {
        Event::TurnEvent(event) => match event.event.as_ref().unwrap() {
            Turn::Start(_) => "start",
            Turn::Requested(_) => "requested",
            Turn::Content(_) => "content",
            Turn::Thinking(_) => "thinking",
            Turn::Answer(_) => "answer",
            Turn::Usage(_) => "usage",
            Turn::ToolInfo(_) => "toolInfo",
            Turn::ToolCall(_) => "toolCall",
            Turn::ToolResult(_) => "toolResult",
            Turn::Interrupted(_) => "interrupted",
            Turn::Error(_) => "error",
            Turn::Aborted(_) => "aborted",
            Turn::Fallback(_) => "fallback",
            Turn::Compacted(_) => "compacted",
            Turn::Queued(_) => "queued",
            Turn::PlanTasksAdded(_) => "planTasksAdded",
            Turn::SubTasksAdded(_) => "subTasksAdded",
            Turn::TasksUpdated(_) => "tasksUpdated",
            Turn::TasksCompleted(_) => "tasksCompleted",
            Turn::TasksCleared(_) => "tasksCleared",
        },
        Event::ActivationRestarted(_) => "restarted",
        Event::StateChanged(_) => "state",
        Event::End(_) => "end",
    }
}

/// The journalled events.
fn words(events: &[ConversationEvent]) -> Vec<&'static str> {
    let journalled = events.iter().filter(|event| event.cursor.unwrap().sub == 0);
    journalled.map(word).collect()
}

fn end(events: &[ConversationEvent]) -> &TurnEnded {
    let ends = events.iter().filter(|event| word(event) == "end").count();
    assert_eq!(ends, 1, "exactly one end: {:?}", words(events));
    match &events.last().unwrap().event {
        Some(Event::End(end)) => end,
        other => panic!("{other:?} is last"),
    }
}

fn turns(events: &[ConversationEvent]) -> impl Iterator<Item = &Turn> {
    events.iter().filter_map(|event| match event.event.as_ref()? {
        Event::TurnEvent(event) => event.event.as_ref(),
        _ => None,
    })
}

async fn messages(world: &World, conversation: &Conversation) -> Vec<HistoryMessage> {
    let request = ListMessagesRequest { name: conversation.name.clone(), ..ListMessagesRequest::default() };
    world.conversations("user/dev").list_messages(request).await.unwrap().into_inner().messages
}

/// Whatever was sent to the model is valid.
fn all_valid(world: &World) {
    for request in world.llm.asked() {
        assert_eq!(wire::wrong(&request.messages), None, "{:#?}", request.messages);
    }
}
