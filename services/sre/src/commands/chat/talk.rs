//! One prompt of a conversation, followed to its end. A stream that breaks off is taken up again at its cursor: the
//! turn goes on meanwhile, whatever becomes of the gateway that served it.

use anyhow::Result;
use futures::StreamExt as _;
use sre_proto::gateway::v1::conversation_event::Event;
use sre_proto::gateway::v1::{
    Conversation, ConversationEvent, ConversationSettings, CreateConversationRequest, EventCursor,
    PromptRequest, TurnEnded, WatchTurnRequest,
};
use tonic::{Code, Status, Streaming};

use crate::cli::exit::Failure;
use crate::client::Client;

/// Streams that break off are taken up again, so often in a row.
const RESUMPTIONS: u32 = 10;
const REST: std::time::Duration = std::time::Duration::from_millis(300);

/// Opens a conversation with an agent.
pub async fn open(
    client: &Client,
    agent: &str,
    title: &str,
    settings: ConversationSettings,
) -> Result<Conversation> {
    let request = CreateConversationRequest {
        agent: agent.to_owned(),
        title: title.to_owned(),
        settings: Some(settings),
    };
    Ok(client.conversations().create_conversation(request).await?.into_inner())
}

/// A prompt under way.
pub struct Talk<'a> {
    client: &'a Client,
    conversation: String,
    turn: String,
    after: Option<EventCursor>,
    events: Streaming<ConversationEvent>,
    broken: u32,
}

impl<'a> Talk<'a> {
    /// Asks.
    pub async fn ask(client: &'a Client, conversation: &str, text: &str) -> Result<Self> {
        let request = PromptRequest {
            name: conversation.to_owned(),
            text: text.to_owned(),
            // A repeat of the call, where its answer was lost, is the same prompt.
            request_id: sre_proto::ids::new_uuid().to_string(),
            ..PromptRequest::default()
        };
        let mut tries = 0;
        let events = loop {
            match client.conversations().prompt(request.clone()).await {
                Ok(events) => break events.into_inner(),
                Err(status) if status.code() == Code::Unavailable && tries < RESUMPTIONS => {
                    tries += 1;
                    tokio::time::sleep(REST).await;
                }
                Err(status) => return Err(status.into()),
            }
        };
        let conversation = conversation.to_owned();
        Ok(Self { client, conversation, turn: String::new(), after: None, events, broken: 0 })
    }

    /// The turn's name; empty until the first event.
    pub fn turn(&self) -> &str {
        &self.turn
    }

    /// The next event. The last one is the end.
    pub async fn next(&mut self) -> Result<ConversationEvent> {
        loop {
            let failure = match self.events.next().await {
                Some(Ok(event)) => {
                    self.broken = 0;
                    self.turn.clone_from(&event.turn);
                    self.after = event.cursor.or(self.after);
                    return Ok(event);
                }
                Some(Err(status)) => Some(status),
                None => None,
            };
            self.resume(failure).await?;
        }
    }

    async fn resume(&mut self, mut failure: Option<Status>) -> Result<()> {
        loop {
            self.broken += 1;
            if self.broken > RESUMPTIONS {
                return Err(match failure {
                    Some(status) => status.into(),
                    None => Failure::failed("the events end before the answer does"),
                });
            }
            tokio::time::sleep(REST).await;
            let request = WatchTurnRequest {
                name: self.conversation.clone(),
                turn: self.turn.clone(),
                after: self.after,
            };
            match self.client.conversations().watch_turn(request).await {
                Ok(events) => {
                    self.events = events.into_inner();
                    return Ok(());
                }
                Err(status) => failure = Some(status),
            }
        }
    }

    /// Hands every event to `seen`, and gives the end.
    pub async fn follow(mut self, mut seen: impl FnMut(&ConversationEvent)) -> Result<TurnEnded> {
        loop {
            let event = self.next().await?;
            seen(&event);
            if let Some(Event::End(end)) = event.event {
                return Ok(end);
            }
        }
    }
}

/// Why a turn did not end with an answer.
pub fn failure_of(end: &TurnEnded) -> Option<String> {
    end.failure.as_ref().map(|failure| format!("{}: {}", failure.reason.to_lowercase(), failure.message))
}
