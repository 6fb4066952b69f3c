//! Between messages of the contract and the domain.

use prost::Message as _;
use sre_proto::memory::v1 as pb;
use sre_proto::types::v1::Acl;

use super::{
    Conversation, ConversationAppend, ConversationFilter, Message, NewConversation, NewMessage, Result,
};
use crate::runtime_context::JournalError;
use crate::runtime_context::convert::{id, required, text, timestamp};

/// The largest message: what is larger belongs into a file that the message names.
const MESSAGE_BYTES: usize = 1 << 20;
/// The largest settings.
const SETTINGS_BYTES: usize = 64 << 10;
/// Messages of one append.
const MESSAGES: usize = 1000;
const PAGE: u32 = 50;
const LARGEST_PAGE: u32 = 1000;

pub(super) fn settings(settings: bytes::Bytes) -> Result<bytes::Bytes> {
    within("conversation.settings", settings, SETTINGS_BYTES)
}

fn within(field: &'static str, value: bytes::Bytes, limit: usize) -> Result<bytes::Bytes> {
    if value.len() > limit {
        let advice = "keep large content in files and name those";
        return Err(JournalError::TooLarge { field, limit_bytes: limit as u64, advice });
    }
    Ok(value)
}

pub(super) fn messages(messages: Vec<pb::StoredMessage>) -> Result<Vec<NewMessage>> {
    if messages.is_empty() || messages.len() > MESSAGES {
        return Err(JournalError::invalid(
            "messages",
            format!("holds {}, 1 to {MESSAGES} may be", messages.len()),
        ));
    }
    messages.into_iter().map(NewMessage::try_from).collect()
}

impl TryFrom<pb::StoredMessage> for NewMessage {
    type Error = JournalError;

    fn try_from(message: pb::StoredMessage) -> Result<Self> {
        if message.role() == pb::MessageRole::Unspecified {
            return Err(JournalError::invalid("messages.role", "is not set"));
        }
        let run = match message.run_id.as_str() {
            "" => None,
            run => Some(id("messages.run_id", run)?),
        };
        Ok(Self { role: message.role, json: within("messages.json", message.json, MESSAGE_BYTES)?, run })
    }
}

impl TryFrom<pb::ConversationAppend> for ConversationAppend {
    type Error = JournalError;

    fn try_from(append: pb::ConversationAppend) -> Result<Self> {
        let conversation = id("records.conversation.conversation_id", &append.conversation_id)?;
        Ok(Self { conversation, messages: messages(append.messages)? })
    }
}

impl TryFrom<pb::Conversation> for NewConversation {
    type Error = JournalError;

    fn try_from(asked: pb::Conversation) -> Result<Self> {
        let own = match asked.conversation_id.as_str() {
            "" => id("conversation.conversation_id", &sre_proto::ids::new_id())?,
            given => id("conversation.conversation_id", given)?,
        };
        Ok(Self {
            id: own,
            team: required("conversation.team", asked.team)?,
            agent: required("conversation.agent", asked.agent)?,
            owner: required("conversation.owner", asked.owner)?,
            title: text("conversation.title", asked.title)?,
            acl: asked.acl.map(|acl| acl.encode_to_vec().into()).unwrap_or_default(),
            settings: settings(asked.settings)?,
        })
    }
}

impl TryFrom<pb::ListConversationsRequest> for ConversationFilter {
    type Error = JournalError;

    fn try_from(asked: pb::ListConversationsRequest) -> Result<Self> {
        let limit = match u32::try_from(asked.page_size) {
            Ok(0) => PAGE,
            Ok(asked) => asked.min(LARGEST_PAGE),
            Err(_) => return Err(JournalError::invalid("page_size", "must not be negative")),
        };
        let before = match asked.page_token.as_str() {
            "" => None,
            token => Some(id("page_token", token)?),
        };
        Ok(Self {
            team: required("team", asked.team)?,
            agent: required("agent", asked.agent)?,
            owner: Some(asked.owner).filter(|owner| !owner.is_empty()),
            before,
            limit,
        })
    }
}

impl From<Conversation> for pb::Conversation {
    fn from(known: Conversation) -> Self {
        let head = known.head;
        Self {
            conversation_id: head.id.to_string(),
            team: head.team,
            agent: head.agent,
            owner: head.owner,
            version: known.version,
            create_time: Some(timestamp(known.created)),
            update_time: Some(timestamp(known.updated)),
            // Written by this service as it came.
            acl: (!head.acl.is_empty()).then(|| Acl::decode(head.acl).ok()).flatten(),
            title: head.title,
            settings: head.settings,
            active_turn: known.active.map(|run| run.to_string()).unwrap_or_default(),
        }
    }
}

impl From<Message> for pb::StoredMessage {
    fn from(message: Message) -> Self {
        Self {
            sequence: message.sequence,
            role: message.content.role,
            json: message.content.json,
            run_id: message.content.run.map(|run| run.to_string()).unwrap_or_default(),
            time: Some(timestamp(message.time)),
        }
    }
}
