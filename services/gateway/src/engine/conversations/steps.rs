//! What a turn's journal says. Each step is one record; what watchers see of it is the event in it.

use bytes::Bytes;
use prost::Message;
use sre_proto::gateway::v1::TurnEvent;
use sre_proto::gateway::v1::turn_event::Event;
use sre_proto::llm::v1::GenerateResponse;
use sre_proto::memory::v1::{ConversationAppend, JournalRecord, RecordKind, StoredMessage};

/// One step of a turn.
#[derive(Clone, PartialEq, Message)]
pub struct Step {
    /// What watchers see; none where there is nothing to see.
    #[prost(message, optional, tag = "1")]
    pub event: Option<TurnEvent>,
    /// Of an answer: the whole of it.
    #[prost(message, optional, tag = "2")]
    pub response: Option<GenerateResponse>,
    /// What else it means.
    #[prost(enumeration = "Mark", tag = "3")]
    pub mark: i32,
    /// Of the first step: how many messages the conversation had before it.
    #[prost(int64, tag = "4")]
    pub version: i64,
    /// Of the first step: the plan of the conversation before it; empty where it has none.
    #[prost(bytes = "bytes", tag = "5")]
    pub plan: Bytes,
    /// Of a turn without a conversation: the messages that the step adds.
    #[prost(message, repeated, tag = "6")]
    pub messages: Vec<StoredMessage>,
}

/// What a step means beside its event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum Mark {
    /// Nothing.
    None = 0,
    /// A model's calls and their results are part of the history.
    RoundClosed = 1,
    /// No tools from here on.
    Limited = 2,
    /// The turn is over.
    Over = 3,
}

/// A step with what it adds to the conversation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    /// The step.
    pub step: Step,
    /// The messages.
    pub messages: Vec<StoredMessage>,
}

impl Entry {
    /// A step that watchers see.
    pub fn event(event: Event) -> Self {
        Self {
            step: Step { event: Some(TurnEvent { event: Some(event) }), ..Step::default() },
            messages: Vec::new(),
        }
    }

    /// A step that only the engine reads.
    pub fn mark(mark: Mark) -> Self {
        Self { step: Step { mark: mark.into(), ..Step::default() }, messages: Vec::new() }
    }

    /// The same with messages.
    #[must_use]
    pub fn with(mut self, messages: Vec<StoredMessage>) -> Self {
        self.messages = messages;
        self
    }

    /// As a record of the turn's journal. What belongs to no conversation is kept in the record itself.
    pub fn record(mut self, conversation: &str) -> JournalRecord {
        if conversation.is_empty() {
            self.step.messages = std::mem::take(&mut self.messages);
        }
        let append = ConversationAppend { conversation_id: conversation.to_owned(), messages: self.messages };
        JournalRecord {
            kind: RecordKind::TurnStep.into(),
            body: self.step.encode_to_vec().into(),
            conversation: (!append.messages.is_empty()).then_some(append),
            ..JournalRecord::default()
        }
    }
}
