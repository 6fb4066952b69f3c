//! What the first record of a turn says: the prompt.

use prost::Message;

use crate::engine::journal::values::StoredValue;

/// What a turn of a conversation is about.
#[derive(Clone, PartialEq, Message)]
pub struct TurnAsked {
    /// The conversation's id.
    #[prost(string, tag = "1")]
    pub conversation: String,
    /// What is asked.
    #[prost(string, tag = "2")]
    pub text: String,
    /// Files of the message, each stored.
    #[prost(message, repeated, tag = "3")]
    pub files: Vec<TurnFile>,
    /// Id of the message in the history.
    #[prost(string, tag = "4")]
    pub message_id: String,
    /// What happens while another turn goes on: a number of the contract.
    #[prost(int32, tag = "5")]
    pub concurrency: i32,
    /// How the conversation was led when it was asked.
    #[prost(message, optional, tag = "6")]
    pub settings: Option<sre_proto::gateway::v1::ConversationSettings>,
    /// Of a turn that a component began: it has no conversation, and its messages are in its own records.
    #[prost(message, optional, tag = "10")]
    pub sub: Option<SubTurn>,
}

/// What a component began.
#[derive(Clone, PartialEq, Message)]
pub struct SubTurn {
    /// The tools of the component itself; where there are none, the agent's skills are the tools.
    #[prost(message, optional, tag = "1")]
    pub own_tools: Option<OwnTools>,
}

/// Whose tools a model calls.
#[derive(Clone, PartialEq, Message)]
pub struct OwnTools {
    /// The activation of the component, which is of the agent of this turn.
    #[prost(string, tag = "1")]
    pub activation: String,
    /// What the component runs with: an object.
    #[prost(message, optional, tag = "2")]
    pub input: Option<StoredValue>,
}

/// A file of a turn's message.
#[derive(Clone, PartialEq, Message)]
pub struct TurnFile {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its type.
    #[prost(string, tag = "2")]
    pub mimetype: String,
    /// Where it is.
    #[prost(string, tag = "3")]
    pub url: String,
}
