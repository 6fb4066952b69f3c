//! Messages of conversations: declared, authorised, and not built yet.

use std::pin::Pin;

use futures::Stream;
use sre_proto::error::not_implemented;
use sre_proto::memory::v1 as pb;
use sre_proto::memory::v1::llm_context_server::LlmContext as Rpc;
use tonic::{Request, Response, Status};

/// `sre.memory.v1.LlmContext`. Its methods are `system`: the layer has checked the peer before they answer.
#[derive(Debug, Clone, Copy, Default)]
pub struct LlmContextService;

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Rpc for LlmContextService {
    async fn create_conversation(
        &self,
        _: Request<pb::CreateConversationRequest>,
    ) -> Answer<pb::Conversation> {
        Err(not_implemented("LlmContext.CreateConversation"))
    }

    async fn get_conversation(&self, _: Request<pb::GetConversationRequest>) -> Answer<pb::Conversation> {
        Err(not_implemented("LlmContext.GetConversation"))
    }

    async fn list_conversations(
        &self,
        _: Request<pb::ListConversationsRequest>,
    ) -> Answer<pb::ListConversationsResponse> {
        Err(not_implemented("LlmContext.ListConversations"))
    }

    async fn delete_conversation(&self, _: Request<pb::DeleteConversationRequest>) -> Answer<()> {
        Err(not_implemented("LlmContext.DeleteConversation"))
    }

    async fn append_messages(
        &self,
        _: Request<pb::AppendMessagesRequest>,
    ) -> Answer<pb::AppendMessagesResponse> {
        Err(not_implemented("LlmContext.AppendMessages"))
    }

    type ReadMessagesStream = Pin<Box<dyn Stream<Item = Result<pb::ReadMessagesResponse, Status>> + Send>>;

    async fn read_messages(&self, _: Request<pb::ReadMessagesRequest>) -> Answer<Self::ReadMessagesStream> {
        Err(not_implemented("LlmContext.ReadMessages"))
    }

    async fn fork_conversation(&self, _: Request<pb::ForkConversationRequest>) -> Answer<pb::Conversation> {
        Err(not_implemented("LlmContext.ForkConversation"))
    }
}
