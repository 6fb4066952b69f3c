//! `sre.gateway.v1.Conversations`.

use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use prost::Message as _;
use sre_identity::{Acl, Caller};
use sre_proto::error::{Reason, invalid_argument, status};
use sre_proto::gateway::v1::conversations_server::Conversations;
use sre_proto::gateway::v1::{
    CancelTurnRequest, Conversation, CreateConversationRequest, DeleteConversationRequest,
    ExportConversationRequest, ExportConversationResponse, ForkConversationRequest, GetConversationRequest,
    HistoryMessage, ListConversationsRequest, ListConversationsResponse, ListMessagesRequest,
    ListMessagesResponse, PromptRequest, Turn, UpdateConversationRequest, WatchTurnRequest,
};
use sre_proto::memory::v1 as memory;
use sre_proto::memory::v1::{RunKind, RunRecord, StoredMessage};
use sre_proto::{AccessLevel, Guarded};
use tonic::{Code, Request, Response, Status};

use super::history::{self, Kept};
use super::{access, attachments, prompt, settings, stream};
use crate::engine::acl;
use crate::engine::core::Engine;
use crate::engine::names::AgentName;
use crate::engine::{runs, start};

const TITLE_CHARACTERS: usize = 256;
const PAGE: i32 = 100;
const LARGEST_PAGE: i32 = 1000;
/// Bytes of messages in one answer: it holds 4 MiB.
const PAGE_BYTES: usize = 2 << 20;
const PIECE: usize = 256 << 10;
/// The largest export.
const EXPORT_BYTES: usize = 64 << 20;
/// How long a deletion waits for a turn that it cancels.
const CANCELLING: Duration = Duration::from_secs(2);

/// The service.
pub struct ConversationsService {
    engine: Engine,
}

impl ConversationsService {
    /// Serves the conversations of an engine.
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }

    /// A turn of a conversation: the one that is named, or the one that holds it.
    async fn turn(&self, conversation: &memory::Conversation, named: &str) -> Result<RunRecord, Status> {
        let id = match named.rsplit('/').next().unwrap_or_default() {
            "" => conversation.active_turn.as_str(),
            id => id,
        };
        let missing = || {
            let message = match named {
                "" => "no turn holds the conversation: name one".to_owned(),
                named => format!("the conversation has no turn {named}"),
            };
            status(Code::NotFound, Reason::NotFound, message)
        };
        if sre_proto::ids::parse(id).is_none() {
            return Err(missing());
        }
        let found = self.engine.journal.find(id).await?;
        found
            .filter(|run| run.kind() == RunKind::Turn && run.label == conversation.conversation_id)
            .ok_or_else(missing)
    }
}

fn title(title: &str) -> Result<(), Status> {
    if title.chars().count() > TITLE_CHARACTERS {
        return Err(invalid_argument("title", format!("it has {TITLE_CHARACTERS} characters at most")));
    }
    Ok(())
}

#[tonic::async_trait]
impl Conversations for ConversationsService {
    async fn create_conversation(
        &self,
        request: Request<CreateConversationRequest>,
    ) -> Result<Response<Conversation>, Status> {
        let (_, extensions, request) = request.into_parts();
        let caller = Caller::of(&extensions)?;
        // The token service granted the token only to callers who may run the agent.
        let (agent, ..) = start::authorised(caller, &request.agent)?;
        title(&request.title)?;
        let settings = request.settings.unwrap_or_default();
        settings::check(&settings)?;
        let root = acl::candidate_of(caller.root())?;
        let conversation = memory::Conversation {
            team: agent.team,
            agent: agent.agent,
            owner: root.to_string(),
            title: request.title,
            settings: settings.encode_to_vec().into(),
            acl: Some((&Acl::owned_by(&root)).into()),
            ..memory::Conversation::default()
        };
        let created = self.engine.conversations.store.create(conversation).await?;
        Ok(Response::new(access::message(&created)?))
    }

    async fn get_conversation(
        &self,
        request: Request<GetConversationRequest>,
    ) -> Result<Response<Conversation>, Status> {
        let (_, extensions, request) = request.into_parts();
        let caller = Caller::of(&extensions)?;
        let (found, _) = access::authorised(&self.engine, caller, &request, &request.name).await?;
        Ok(Response::new(access::message(&found)?))
    }

    async fn list_conversations(
        &self,
        request: Request<ListConversationsRequest>,
    ) -> Result<Response<ListConversationsResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        let caller = Caller::of(&extensions)?;
        let authorizer = self.engine.host.authorizer();
        let all = authorizer.may(caller, &request.resource(), AccessLevel::Read, None).await?;
        let name = authorizer.resolve_name(caller, &request.parent).await?;
        let agent = AgentName::parse("parent", &name)?;
        let owner = if all {
            String::new()
        } else {
            if authorizer.memberships(caller).await?.role_in(&agent.team).is_none() {
                // Not a member: the check refuses and says so in the audit.
                let _ = authorizer.check(caller, &request, None).await?;
            }
            caller.require_candidate()?.to_string()
        };
        let asked = memory::ListConversationsRequest {
            team: agent.team,
            agent: agent.agent,
            owner,
            page_size: request.page_size,
            page_token: request.page_token,
        };
        let page = self.engine.conversations.store.list(asked).await?;
        let conversations = page.conversations.iter().map(access::message).collect::<Result<_, _>>()?;
        let next_page_token = page.next_page_token;
        Ok(Response::new(ListConversationsResponse { conversations, next_page_token }))
    }

    async fn update_conversation(
        &self,
        request: Request<UpdateConversationRequest>,
    ) -> Result<Response<Conversation>, Status> {
        let (_, extensions, request) = request.into_parts();
        let caller = Caller::of(&extensions)?;
        let (found, _granted) = access::authorised(&self.engine, caller, &request, &request.name).await?;
        request.title.as_deref().map(title).transpose()?;
        let mut changed = request.settings.clone().map_or_else(|| access::settings_of(&found), Ok)?;
        if let Some(model) = &request.model {
            changed.model.clone_from(model);
        }
        settings::check(&changed)?;
        let update = memory::UpdateConversationRequest {
            conversation_id: found.conversation_id,
            title: request.title,
            settings: Some(changed.encode_to_vec().into()),
        };
        let updated = self.engine.conversations.store.update(update).await?;
        Ok(Response::new(access::message(&updated)?))
    }

    async fn delete_conversation(
        &self,
        request: Request<DeleteConversationRequest>,
    ) -> Result<Response<()>, Status> {
        let (_, extensions, request) = request.into_parts();
        let caller = Caller::of(&extensions)?;
        let (found, _granted) = access::authorised(&self.engine, caller, &request, &request.name).await?;
        if let Some(run) = self.engine.journal.find(&found.active_turn).await.ok().flatten() {
            let cancelled = runs::cancel(&self.engine, run, "the conversation is deleted");
            if let Ok(Err(status)) = tokio::time::timeout(CANCELLING, cancelled).await {
                tracing::debug!(%status, "a turn of a deleted conversation comes to its own end");
            }
        }
        // Before it: who calls again after a failure finds what is left.
        attachments::delete(&self.engine, caller, &found).await?;
        self.engine.conversations.store.delete(&found.conversation_id).await?;
        Ok(Response::new(()))
    }

    type PromptStream = stream::Events;

    async fn prompt(&self, request: Request<PromptRequest>) -> Result<Response<stream::Events>, Status> {
        let (_, extensions, request) = request.into_parts();
        let caller = Caller::of(&extensions)?;
        let run = Box::pin(prompt::open(&self.engine, caller, request)).await?;
        Ok(Response::new(stream::follow(&self.engine, caller.clone(), run, None)))
    }

    type WatchTurnStream = stream::Events;

    async fn watch_turn(
        &self,
        request: Request<WatchTurnRequest>,
    ) -> Result<Response<stream::Events>, Status> {
        let (_, extensions, request) = request.into_parts();
        let caller = Caller::of(&extensions)?;
        let (found, _) = access::authorised(&self.engine, caller, &request, &request.name).await?;
        let run = self.turn(&found, &request.turn).await?;
        Ok(Response::new(stream::follow(&self.engine, caller.clone(), run, request.after)))
    }

    async fn cancel_turn(&self, request: Request<CancelTurnRequest>) -> Result<Response<Turn>, Status> {
        let (_, extensions, request) = request.into_parts();
        let caller = Caller::of(&extensions)?;
        // The grant is recorded when it is dropped, after the work.
        let (found, _granted) = access::authorised(&self.engine, caller, &request, &request.name).await?;
        let run = self.turn(&found, &request.turn).await?;
        let run = runs::cancel(&self.engine, run, &request.reason).await?;
        let name = runs::of_record(&run).run(&run.run_id);
        Ok(Response::new(Turn { name, state: runs::state(run.state()).into() }))
    }

    async fn list_messages(
        &self,
        request: Request<ListMessagesRequest>,
    ) -> Result<Response<ListMessagesResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        let caller = Caller::of(&extensions)?;
        let (found, _) = access::authorised(&self.engine, caller, &request, &request.name).await?;
        if request.page_size < 0 || request.after < 0 {
            return Err(invalid_argument("page_size", "neither it nor after can be negative"));
        }
        let limit = if request.page_size == 0 { PAGE } else { request.page_size.min(LARGEST_PAGE) };
        let limit = usize::try_from(limit).unwrap_or(1);
        let agent = access::agent_of(&found);
        let mut pages = self.engine.conversations.store.pages(&found.conversation_id, request.after).await?;
        let (mut messages, mut bytes) = (Vec::new(), 0);
        let mut next_after = 0;
        'pages: while let Some(page) = pages.try_next().await? {
            for stored in page.messages {
                if messages.len() == limit || bytes >= PAGE_BYTES {
                    next_after = messages.last().map_or(0, |last: &HistoryMessage| last.sequence);
                    break 'pages;
                }
                bytes += 2 * stored.json.len();
                messages.push(shown(stored, &agent));
            }
        }
        Ok(Response::new(ListMessagesResponse { messages, next_after }))
    }

    async fn fork_conversation(
        &self,
        request: Request<ForkConversationRequest>,
    ) -> Result<Response<Conversation>, Status> {
        let (_, extensions, request) = request.into_parts();
        let caller = Caller::of(&extensions)?;
        let (found, _granted) = access::authorised(&self.engine, caller, &request, &request.name).await?;
        title(&request.title)?;
        let owner = caller.require_candidate()?;
        let fork = memory::ForkConversationRequest {
            conversation_id: found.conversation_id,
            version: request.version,
            owner: owner.to_string(),
            acl: Some((&Acl::owned_by(owner)).into()),
            title: request.title,
        };
        let forked = self.engine.conversations.store.fork(fork).await?;
        Ok(Response::new(access::message(&forked)?))
    }

    type ExportConversationStream = BoxStream<'static, Result<ExportConversationResponse, Status>>;

    async fn export_conversation(
        &self,
        request: Request<ExportConversationRequest>,
    ) -> Result<Response<Self::ExportConversationStream>, Status> {
        let (_, extensions, request) = request.into_parts();
        let caller = Caller::of(&extensions)?;
        let (found, _) = access::authorised(&self.engine, caller, &request, &request.name).await?;
        let mut pages = self.engine.conversations.store.pages(&found.conversation_id, 0).await?;
        let (mut messages, mut bytes) = (Vec::new(), 0);
        while let Some(page) = pages.try_next().await? {
            bytes += page.messages.iter().map(|message| message.json.len()).sum::<usize>();
            if bytes > EXPORT_BYTES {
                let message =
                    format!("the conversation has more than {EXPORT_BYTES} bytes: read it by pages");
                return Err(status(Code::OutOfRange, Reason::TooLarge, message));
            }
            messages.extend(page.messages);
        }
        let text = serde_json::Value::from(history::exported(&messages)).to_string();
        let mut rest = bytes::Bytes::from(text);
        let pieces = std::iter::from_fn(move || {
            (!rest.is_empty())
                .then(|| Ok(ExportConversationResponse { data: rest.split_to(rest.len().min(PIECE)) }))
        });
        Ok(Response::new(futures::stream::iter(pieces).boxed()))
    }
}

fn shown(stored: StoredMessage, agent: &AgentName) -> HistoryMessage {
    let kept = Kept::read(&stored);
    let role = match stored.role() {
        memory::MessageRole::User => "user",
        memory::MessageRole::Assistant => "assistant",
        memory::MessageRole::System => "system",
        memory::MessageRole::Tool | memory::MessageRole::Unspecified => "tool",
    };
    HistoryMessage {
        sequence: stored.sequence,
        role: role.to_owned(),
        text: kept.as_ref().map(|kept| kept.item.text().to_owned()).unwrap_or_default(),
        internal: kept.is_some_and(|kept| kept.item.is_internal()),
        json: stored.json,
        turn: if stored.run_id.is_empty() { String::new() } else { agent.run(&stored.run_id) },
        time: stored.time,
    }
}
