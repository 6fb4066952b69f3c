//! `memory.LlmContext` as the engine uses it. Calls go under the engine's own name and carry no token.

use futures::stream::{BoxStream, StreamExt as _};
use sre_proto::memory::v1::llm_context_client::LlmContextClient;
use sre_proto::memory::v1::{
    Conversation, CreateConversationRequest, DeleteConversationRequest, EnterConversationRequest,
    EnterConversationResponse, ForkConversationRequest, GetConversationRequest, ListConversationsRequest,
    ListConversationsResponse, ReadMessagesRequest, ReadMessagesResponse, StoredMessage,
    UpdateConversationRequest,
};
use sre_service::Link;
use tonic::{Code, Status};

/// The store of conversations.
#[derive(Clone)]
pub struct ConversationStore {
    link: Link,
}

impl ConversationStore {
    /// Behind a link.
    pub fn new(link: Link) -> Self {
        Self { link }
    }

    fn client(&self) -> LlmContextClient<Link> {
        LlmContextClient::new(self.link.clone()).max_decoding_message_size(8 << 20)
    }

    /// Opens one.
    pub async fn create(&self, conversation: Conversation) -> Result<Conversation, Status> {
        let request = CreateConversationRequest { conversation: Some(conversation) };
        Ok(self.client().create_conversation(request).await?.into_inner())
    }

    /// One, or none.
    pub async fn find(&self, id: &str) -> Result<Option<Conversation>, Status> {
        match self.client().get_conversation(GetConversationRequest { conversation_id: id.to_owned() }).await
        {
            Ok(found) => Ok(Some(found.into_inner())),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// Many, latest first.
    pub async fn list(&self, request: ListConversationsRequest) -> Result<ListConversationsResponse, Status> {
        Ok(self.client().list_conversations(request).await?.into_inner())
    }

    /// Changes one.
    pub async fn update(&self, request: UpdateConversationRequest) -> Result<Conversation, Status> {
        Ok(self.client().update_conversation(request).await?.into_inner())
    }

    /// Deletes one.
    pub async fn delete(&self, id: &str) -> Result<(), Status> {
        self.client()
            .delete_conversation(DeleteConversationRequest { conversation_id: id.to_owned() })
            .await?;
        Ok(())
    }

    /// Copies one.
    pub async fn fork(&self, request: ForkConversationRequest) -> Result<Conversation, Status> {
        Ok(self.client().fork_conversation(request).await?.into_inner())
    }

    /// Puts a turn into its line.
    pub async fn enter(&self, id: &str, run: &str) -> Result<EnterConversationResponse, Status> {
        let request = EnterConversationRequest { conversation_id: id.to_owned(), run_id: run.to_owned() };
        Ok(self.client().enter_conversation(request).await?.into_inner())
    }

    /// Pages of messages after a place.
    pub async fn pages(
        &self,
        id: &str,
        after: i64,
    ) -> Result<BoxStream<'static, Result<ReadMessagesResponse, Status>>, Status> {
        let request =
            ReadMessagesRequest { conversation_id: id.to_owned(), after_sequence: after, newest_bytes: 0 };
        Ok(self.client().read_messages(request).await?.into_inner().boxed())
    }

    /// The newest messages, so many bytes of them.
    pub async fn newest(&self, id: &str, bytes: i64) -> Result<Vec<StoredMessage>, Status> {
        let request =
            ReadMessagesRequest { conversation_id: id.to_owned(), after_sequence: 0, newest_bytes: bytes };
        let mut pages = self.client().read_messages(request).await?.into_inner();
        let mut messages = Vec::new();
        while let Some(page) = pages.message().await? {
            messages.extend(page.messages);
        }
        Ok(messages)
    }
}
