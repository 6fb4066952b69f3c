//! Names of conversations, and who may do what with them.

use sre_identity::{Acl, Caller, Level, decide};
use sre_proto::Guarded;
use sre_proto::error::{Reason, invalid_argument, status};
use sre_proto::gateway::v1 as gateway;
use sre_proto::memory::v1::Conversation;
use sre_service::Granted;
use tonic::{Code, Status};

use crate::engine::acl;
use crate::engine::core::{Engine, internal};
use crate::engine::names::AgentName;

/// `teams/{team}/agents/{agent}/conversations/{conversation}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConversationName {
    /// The agent; its team may be `-`.
    pub agent: AgentName,
    /// The conversation's id.
    pub id: String,
}

impl ConversationName {
    /// Reads a name.
    pub fn parse(field: &str, name: &str) -> Result<Self, Status> {
        let wrong = || {
            let form = "teams/{team}/agents/{agent}/conversations/{conversation}";
            invalid_argument(field, format!("{name:?} is not {form}"))
        };
        let (agent, id) = name.rsplit_once("/conversations/").ok_or_else(wrong)?;
        let agent = AgentName::parse(field, agent).map_err(|_| wrong())?;
        sre_proto::ids::parse(id).ok_or_else(wrong)?;
        Ok(Self { agent, id: id.to_owned() })
    }
}

/// A conversation's agent.
pub fn agent_of(conversation: &Conversation) -> AgentName {
    AgentName { team: conversation.team.clone(), agent: conversation.agent.clone() }
}

/// The answer for a conversation that is not there.
pub fn no_such(name: &str) -> Status {
    status(Code::NotFound, Reason::NotFound, format!("there is no conversation {name}"))
}

async fn find(engine: &Engine, name: &str) -> Result<Option<Conversation>, Status> {
    let asked = ConversationName::parse("name", name)?;
    let found = engine.conversations.store.find(&asked.id).await?;
    Ok(found.filter(|found| agent_of(found).is_meant_by(&asked.agent)))
}

/// A conversation that the caller may do this with.
pub async fn authorised<R: Guarded>(
    engine: &Engine,
    caller: &Caller,
    request: &R,
    name: &str,
) -> Result<(Conversation, Granted), Status> {
    let found = find(engine, name).await?;
    let acl = found.as_ref().map(|found| acl::of_record(found.acl.as_ref())).transpose()?;
    let granted = engine.host.authorizer().check(caller, request, acl.as_ref()).await?;
    found.map(|found| (found, granted)).ok_or_else(|| no_such(name))
}

/// A conversation that whoever is at the beginning of the call may prompt. The caller's token is for the agent, which
/// everybody has who may run it; whose conversation it is decides who began it.
pub async fn promptable(engine: &Engine, caller: &Caller, name: &str) -> Result<Conversation, Status> {
    let root = acl::candidate_of(caller.root())?;
    let found = find(engine, name).await?;
    let acl: Option<Acl> = found.as_ref().map(|found| acl::of_record(found.acl.as_ref())).transpose()?;
    match found.filter(|_| acl.is_some_and(|acl| decide(&root, &[], &[Level::Write], &acl).is_allowed())) {
        Some(found) => Ok(found),
        None => {
            tracing::info!(%root, name, "a prompt of a conversation that is not the caller's was refused");
            // The same for one that is not there.
            Err(status(Code::PermissionDenied, Reason::AclDenied, "access denied"))
        }
    }
}

/// A conversation as a message.
pub fn message(conversation: &Conversation) -> Result<gateway::Conversation, Status> {
    let agent = agent_of(conversation);
    Ok(gateway::Conversation {
        name: format!("{agent}/conversations/{}", conversation.conversation_id),
        title: conversation.title.clone(),
        owner: conversation.owner.clone(),
        settings: Some(settings_of(conversation)?),
        version: conversation.version,
        create_time: conversation.create_time,
        update_time: conversation.update_time,
        active_turn: match conversation.active_turn.as_str() {
            "" => String::new(),
            run => agent.run(run),
        },
    })
}

/// How a conversation is led.
pub fn settings_of(conversation: &Conversation) -> Result<gateway::ConversationSettings, Status> {
    prost::Message::decode(conversation.settings.clone())
        .map_err(|error| internal("a conversation's settings do not decode", &error))
}
