//! `sre.memory.v1.LlmContext`. Its methods are `system`: the layer has checked the peer before they answer.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use sre_proto::memory::v1 as pb;
use sre_proto::memory::v1::llm_context_server::LlmContext as Rpc;
use tonic::{Request, Response, Status};

use super::{ConversationFilter, ConversationId, Conversations, NewConversation, convert};
use crate::runtime_context::JournalError;
use crate::runtime_context::convert::{id, text};

/// The service.
#[derive(Clone)]
pub struct LlmContextService(Arc<dyn Conversations>);

impl LlmContextService {
    /// Serves the conversations of a store.
    pub fn new(conversations: Arc<dyn Conversations>) -> Self {
        Self(conversations)
    }
}

type Answer<T> = Result<Response<T>, Status>;

fn named(name: &str) -> Result<ConversationId, JournalError> {
    id("conversation_id", name)
}

#[tonic::async_trait]
impl Rpc for LlmContextService {
    async fn create_conversation(
        &self,
        request: Request<pb::CreateConversationRequest>,
    ) -> Answer<pb::Conversation> {
        let asked = request.into_inner().conversation;
        let asked = asked.ok_or_else(|| JournalError::invalid("conversation", "is not set"))?;
        Ok(Response::new(self.0.create(NewConversation::try_from(asked)?).await?.into()))
    }

    async fn get_conversation(
        &self,
        request: Request<pb::GetConversationRequest>,
    ) -> Answer<pb::Conversation> {
        Ok(Response::new(self.0.get(named(&request.into_inner().conversation_id)?).await?.into()))
    }

    async fn list_conversations(
        &self,
        request: Request<pb::ListConversationsRequest>,
    ) -> Answer<pb::ListConversationsResponse> {
        let filter = ConversationFilter::try_from(request.into_inner())?;
        let limit = filter.limit as usize;
        let found = self.0.list(filter).await?;
        let next_page_token = match found.last() {
            Some(last) if found.len() == limit => last.head.id.to_string(),
            _ => String::new(),
        };
        let conversations = found.into_iter().map(Into::into).collect();
        Ok(Response::new(pb::ListConversationsResponse { conversations, next_page_token }))
    }

    async fn update_conversation(
        &self,
        request: Request<pb::UpdateConversationRequest>,
    ) -> Answer<pb::Conversation> {
        let request = request.into_inner();
        let title = request.title.map(|title| text("title", title)).transpose()?;
        let settings = request.settings.map(convert::settings).transpose()?;
        Ok(Response::new(self.0.update(named(&request.conversation_id)?, title, settings).await?.into()))
    }

    async fn delete_conversation(&self, request: Request<pb::DeleteConversationRequest>) -> Answer<()> {
        self.0.delete(named(&request.into_inner().conversation_id)?).await?;
        Ok(Response::new(()))
    }

    async fn enter_conversation(
        &self,
        request: Request<pb::EnterConversationRequest>,
    ) -> Answer<pb::EnterConversationResponse> {
        let request = request.into_inner();
        let run = id("run_id", &request.run_id)?;
        let entered = self.0.enter(named(&request.conversation_id)?, run).await?;
        Ok(Response::new(pb::EnterConversationResponse {
            holds: entered.before.is_none(),
            before: entered.before.map(|run| run.to_string()).unwrap_or_default(),
            version: entered.version,
        }))
    }

    async fn append_messages(
        &self,
        request: Request<pb::AppendMessagesRequest>,
    ) -> Answer<pb::AppendMessagesResponse> {
        let request = request.into_inner();
        let messages = convert::messages(request.messages)?;
        let conversation = named(&request.conversation_id)?;
        let version = self.0.append(conversation, request.expected_version, messages).await?;
        Ok(Response::new(pb::AppendMessagesResponse { version }))
    }

    type ReadMessagesStream = Pin<Box<dyn Stream<Item = Result<pb::ReadMessagesResponse, Status>> + Send>>;

    async fn read_messages(
        &self,
        request: Request<pb::ReadMessagesRequest>,
    ) -> Answer<Self::ReadMessagesStream> {
        let request = request.into_inner();
        let conversation = named(&request.conversation_id)?;
        let store = self.0.clone();
        // Where there is none, that is said before the stream begins.
        let mut after = request.after_sequence.max(0);
        if request.newest_bytes > 0 {
            after = after.max(store.before_newest(conversation, request.newest_bytes).await?);
        }
        let first = store.read(conversation, after).await?;
        let pages = futures::stream::try_unfold(
            (store, Some(first), after),
            move |(store, ready, after)| async move {
                let page = match ready {
                    Some(page) => page,
                    None => store.read(conversation, after).await?,
                };
                let Some(last) = page.last() else { return Ok(None) };
                let after = last.sequence;
                let messages = page.into_iter().map(Into::into).collect();
                Ok::<_, Status>(Some((pb::ReadMessagesResponse { messages }, (store, None, after))))
            },
        );
        Ok(Response::new(Box::pin(pages)))
    }

    async fn fork_conversation(
        &self,
        request: Request<pb::ForkConversationRequest>,
    ) -> Answer<pb::Conversation> {
        let request = request.into_inner();
        let from = named(&request.conversation_id)?;
        let known = self.0.get(from).await?;
        if request.version < 0 || request.version > known.version {
            return Err(JournalError::ConversationMoved { version: known.version }.into());
        }
        let version = if request.version == 0 { known.version } else { request.version };
        let new = NewConversation::try_from(pb::Conversation {
            team: known.head.team,
            agent: known.head.agent,
            owner: request.owner,
            acl: request.acl,
            title: if request.title.is_empty() { known.head.title } else { request.title },
            settings: known.head.settings,
            ..pb::Conversation::default()
        })?;
        Ok(Response::new(self.0.fork(from, version, new).await?.into()))
    }
}
