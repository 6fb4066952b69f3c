//! Messages of conversations: an append-only log with optimistic versions, beside the run journal and in its store, so
//! that a turn commits its messages in the transaction of its record.
//!
//! `service.rs` speaks gRPC; the statements are the journal backends' (`runtime_context/connectors/*/conversations.rs`),
//! behind the trait [`Conversations`].

mod convert;
mod service;

#[cfg(test)]
pub(crate) mod contract;

use async_trait::async_trait;
use bytes::Bytes;

pub use service::LlmContextService;

use crate::runtime_context::JournalError;
use crate::runtime_context::ids::RunId;
use crate::runtime_context::time::UnixMs;

/// A conversation's id has the form of a run's.
pub type ConversationId = RunId;

type Result<T> = std::result::Result<T, JournalError>;

/// A conversation to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewConversation {
    /// Its id.
    pub id: ConversationId,
    /// The team.
    pub team: String,
    /// The agent's id.
    pub agent: String,
    /// Whose it is.
    pub owner: String,
    /// For lists.
    pub title: String,
    /// Who may see and steer it, opaque here.
    pub acl: Bytes,
    /// How it is led, opaque.
    pub settings: Bytes,
}

/// A conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    /// What was said when it was opened, or last.
    pub head: NewConversation,
    /// Number of messages.
    pub version: i64,
    /// When it was opened.
    pub created: UnixMs,
    /// When its last message came.
    pub updated: UnixMs,
    /// The turn that holds it.
    pub active: Option<RunId>,
}

/// A message to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    /// Who speaks, as a number of the contract.
    pub role: i32,
    /// The message as JSON.
    pub json: Bytes,
    /// The turn that writes it.
    pub run: Option<RunId>,
}

/// A message as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its place, from 1 on.
    pub sequence: i64,
    /// When it was written.
    pub time: UnixMs,
    /// What was written.
    pub content: NewMessage,
}

/// Messages that a record of a turn adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversationAppend {
    /// The conversation.
    pub conversation: ConversationId,
    /// The messages.
    pub messages: Vec<NewMessage>,
}

/// Where a turn stands in its conversation's line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entered {
    /// The turn before it; none where it holds the conversation.
    pub before: Option<RunId>,
    /// Number of messages.
    pub version: i64,
}

/// Which conversations to list, latest first.
#[derive(Debug, Clone, Default)]
pub struct ConversationFilter {
    /// Of this team.
    pub team: String,
    /// Of this agent.
    pub agent: String,
    /// Of this owner.
    pub owner: Option<String>,
    /// Older than this one.
    pub before: Option<ConversationId>,
    /// At most so many.
    pub limit: u32,
}

/// The store of conversations. Every write is durable when its future is ready, and is one transaction.
///
/// A turn's messages do not come through here but with the records of its run, see
/// [`NewRecord`](crate::runtime_context): fenced like those, at the end of the log, which nobody else writes to while
/// the turn holds the conversation.
///
/// A backend is right when it passes `contract::every_case`.
#[async_trait]
pub trait Conversations: Send + Sync + 'static {
    /// Opens a conversation, or gives the one of that id.
    async fn create(&self, new: NewConversation) -> Result<Conversation>;

    /// A conversation.
    async fn get(&self, id: ConversationId) -> Result<Conversation>;

    /// Conversations, latest first.
    async fn list(&self, filter: ConversationFilter) -> Result<Vec<Conversation>>;

    /// Changes what is given.
    async fn update(
        &self,
        id: ConversationId,
        title: Option<String>,
        settings: Option<Bytes>,
    ) -> Result<Conversation>;

    /// Deletes a conversation with its messages.
    async fn delete(&self, id: ConversationId) -> Result<()>;

    /// Puts a turn into the line, behind those that came before, if it is not there yet.
    async fn enter(&self, id: ConversationId, run: RunId) -> Result<Entered>;

    /// Appends where the conversation has `expected` messages and no turn that goes on; gives how many it has then.
    async fn append(&self, id: ConversationId, expected: i64, messages: Vec<NewMessage>) -> Result<i64>;

    /// A page of messages after a place, of about a message's size.
    async fn read(&self, id: ConversationId, after: i64) -> Result<Vec<Message>>;

    /// The place after which the newest messages begin that have so many bytes together; the newest one counts in any
    /// case.
    async fn before_newest(&self, id: ConversationId, bytes: i64) -> Result<i64>;

    /// Opens a conversation with the first messages of another, its settings and, where it has none, its title.
    async fn fork(&self, id: ConversationId, version: i64, new: NewConversation) -> Result<Conversation>;
}
