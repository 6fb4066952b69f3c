//! Who may debug: whoever may write the agent's definition may start a session, since it can forge what
//! components gave; whoever started it may go on with it.

use sre_identity::{Acl, Caller, Candidate, Level, decide};
use sre_proto::AccessLevel;
use sre_proto::agent::v1::agent_data_client::AgentDataClient;
use sre_proto::agent::v1::{AclAspect, CheckAccessRequest};
use sre_proto::types::v1 as types;
use sre_service::{Granted, Role};
use tonic::{Code, Status};

use crate::engine::acl;
use crate::engine::core::Engine;

/// Whether whoever is at the beginning of a call may write an agent's definition: the agent service knows.
pub async fn may_write(engine: &Engine, root: &Candidate, agent: &str) -> Result<bool, Status> {
    let request = CheckAccessRequest {
        name: agent.to_owned(),
        candidate: Some(root.into()),
        level: types::Level::Write.into(),
        aspect: AclAspect::Definition.into(),
        principal: None,
    };
    match AgentDataClient::new(engine.host.link(Role::Agent)).check_access(request).await {
        Ok(answer) => Ok(answer.into_inner().allowed),
        Err(status) if matches!(status.code(), Code::NotFound | Code::PermissionDenied) => Ok(false),
        Err(status) => Err(status),
    }
}

/// The right to start a session, on record either way.
pub async fn starting(engine: &Engine, caller: &Caller, agent: &str) -> Result<Granted, Status> {
    let root = acl::candidate_of(caller.root())?;
    // The call's Candidate is the agent; what was decided about its caller is told as an access list.
    let decided = match may_write(engine, &root, agent).await? {
        true => Acl::owned_by(caller.require_candidate()?),
        false => Acl::default(),
    };
    engine.host.authorizer().check_level(caller, agent, AccessLevel::Write, Some(&decided)).await
}

/// Whether a Candidate has a level on a session.
pub async fn may(engine: &Engine, who: &Candidate, level: Level, list: &Acl) -> Result<bool, Status> {
    let teams = engine.host.accounts().resolve(who).await?.team_ids();
    Ok(decide(who, &teams, &[level], list).is_allowed())
}
