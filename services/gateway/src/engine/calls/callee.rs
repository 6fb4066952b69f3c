//! Whose skill is called, in which version, and by what authority. Another agent runs as itself, behind the agents
//! that called it: the token service grants that only where the calling agent may call it.

use std::sync::Arc;

use sre_components::context::calls::{CallError, CallFailure, Callee as Asked, VersionOf};
use sre_proto::agent::v1::agent_data_client::AgentDataClient;
use sre_proto::agent::v1::{ResolveVersionRequest, ResolveVersionResponse};
use sre_proto::error::Reason;
use sre_service::{Link, Role};
use tonic::{Code, Status};

use super::{Caller, failure};
use crate::engine::authority::Authority;
use crate::engine::core::Engine;
use crate::engine::names::AgentName;
use crate::engine::plans::{Compiled, Version};

/// An agent that may be called.
pub(super) struct Callee {
    /// Its version.
    pub version: Version,
    /// Its plan.
    pub compiled: Arc<Compiled>,
    /// The authority that its runs go on with.
    pub grant: Arc<str>,
    /// It is the calling agent, in the calling version: its secrets are the caller's.
    pub own: bool,
}

impl Callee {
    /// Finds whom a component means.
    pub async fn find(caller: &Caller, asked: &Asked) -> Result<Self, CallError> {
        let scope = &caller.scope;
        let subject = &scope.subject;
        let grant = scope.grant.clone();
        let own = || grant.clone().ok_or_else(without_journal);
        if asked.agent.is_empty() {
            let (version, compiled) = (subject.version.clone(), subject.compiled.clone());
            return Ok(Self { version, compiled, grant: own()?, own: true });
        }
        let engine = &scope.engine;
        let name = full_name(&asked.agent)?;
        let mut authority = match name.is_meant(&subject.version.agent) {
            true => scope.authority.clone(),
            false => {
                scope.authority.of_sub_agent(&name.text()).await.map_err(|status| refused(asked, &status))?
            }
        };
        let agent = match name.is_meant(&subject.version.agent) {
            true => subject.version.agent.clone(),
            false => AgentName::parse("agent", authority.agent().unwrap_or_default())
                .map_err(|status| failure(&status))?,
        };
        let link = authority.agent_link(engine.host.link(Role::Agent)).await.map_err(|s| failure(&s))?;
        let version = version_of(caller, asked, &agent, &link).await?;
        let compiled = engine.plans.plan(link, &version).await.map_err(|status| failure(&status))?;
        let own = agent == subject.version.agent;
        let grant = match own {
            true => grant.ok_or_else(without_journal)?,
            false => authority.grant(scope.left()).await.map_err(|status| failure(&status))?,
        };
        Ok(Self { version, compiled, grant, own })
    }
}

fn without_journal() -> CallError {
    CallError::new(CallFailure::Failed, "a run without a journal cannot call others")
}

struct Named(AgentName);

impl Named {
    fn text(&self) -> String {
        self.0.to_string()
    }

    fn is_meant(&self, agent: &AgentName) -> bool {
        agent.is_meant_by(&self.0)
    }
}

/// An agent's id, or its full name.
fn full_name(text: &str) -> Result<Named, CallError> {
    let name = if text.contains('/') { text.to_owned() } else { format!("teams/-/agents/{text}") };
    AgentName::parse("agentId", &name).map(Named).map_err(|_| not_found(text))
}

fn not_found(agent: &str) -> CallError {
    CallError::new(CallFailure::AgentNotFound, format!("Agent '{agent}' not found"))
}

/// Not allowed and not there are one answer, so that nobody learns which agents there are.
fn refused(asked: &Asked, status: &Status) -> CallError {
    match (status.code(), sre_proto::error::reason(status)) {
        (_, Some(Reason::ChainTooDeep)) => CallError::new(CallFailure::TooDeep, status.message()),
        (Code::PermissionDenied, Some(Reason::AclDenied)) | (Code::NotFound, _) => not_found(&asked.agent),
        _ => failure(status),
    }
}

async fn version_of(
    caller: &Caller,
    asked: &Asked,
    agent: &AgentName,
    link: &Link,
) -> Result<Version, CallError> {
    let scope = &caller.scope;
    let deployed = match &asked.version {
        VersionOf::Deployed => true,
        VersionOf::SameAsParent => is_deployed(&scope.engine, &scope.authority, &scope.subject.version)
            .await
            .map_err(|status| failure(&status))?,
        VersionOf::Latest | VersionOf::Exactly(_) => false,
    };
    let wanted = match &asked.version {
        VersionOf::Exactly(version) => version.as_str(),
        _ if deployed => "",
        _ => "dev",
    };
    let found = resolve(link.clone(), agent, wanted).await.map_err(|status| match status.code() {
        Code::NotFound if wanted.is_empty() || wanted == "dev" => not_found(&asked.agent),
        Code::PermissionDenied => not_found(&asked.agent),
        Code::NotFound => CallError::new(
            CallFailure::AgentNotFound,
            format!("Agent '{}' has no version '{wanted}'", asked.agent),
        ),
        _ => failure(&status),
    })?;
    if deployed && !found.deployed {
        let name = if asked.name.is_empty() { &asked.agent } else { &asked.name };
        let message = format!(
            "Call failed, Agent '{name}' ({}) is not deployed. Please deploy the agent and try again.",
            asked.agent
        );
        return Err(CallError::new(CallFailure::NotDeployed, message));
    }
    let agent = AgentName::parse("agent", &found.name).map_err(|status| failure(&status))?;
    Ok(Version { agent, id: found.version, digest: found.digest })
}

/// Whether a version is the deployed one of its agent.
async fn is_deployed(engine: &Engine, authority: &Authority, version: &Version) -> Result<bool, Status> {
    let link = authority.agent_link(engine.host.link(Role::Agent)).await?;
    Ok(resolve(link, &version.agent, &version.id).await?.deployed)
}

async fn resolve(link: Link, agent: &AgentName, version: &str) -> Result<ResolveVersionResponse, Status> {
    let request = ResolveVersionRequest { name: agent.to_string(), version: version.to_owned() };
    Ok(AgentDataClient::new(link).resolve_version(request).await?.into_inner())
}
