//! `sre.gateway.v1.Approvals`: what runs ask people, and what people say. Whoever may decide is what the asking
//! component says; whoever may not hears the same of an approval that is there and of one that is not.

use sre_identity::{Acl, Caller, Candidate, Role};
use sre_proto::error::{Reason, invalid_argument, status};
use sre_proto::gateway::v1 as gateway;
use sre_proto::gateway::v1::approvals_server::Approvals;
use sre_proto::gateway::v1::{
    Approval, ApprovalKind, DecideApprovalRequest, GetApprovalRequest, ListApprovalsRequest,
    ListApprovalsResponse,
};
use sre_proto::memory::v1::{ApprovalState, DecideRunApprovalRequest, ListRunApprovalsRequest, RunApproval};
use sre_proto::{AccessLevel, Guarded};
use sre_service::Granted;
use sre_service::accounts::{Memberships, TeamRole};
use tonic::{Code, Request, Response, Status};

use super::core::Engine;
use super::names::{AgentName, RunName};
use super::questions::UNCERTAIN_EFFECT;

const COMMENT_CHARACTERS: usize = 4096;
const OUTPUT_BYTES: usize = 1 << 20;

/// The service.
pub struct ApprovalsService {
    engine: Engine,
}

impl ApprovalsService {
    /// Serves the approvals of an engine's runs.
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }

    /// An approval that the caller may look at or decide, and the record of that. What the caller may not know
    /// of is refused in the same words as what is not there.
    async fn authorised<R: Guarded>(
        &self,
        caller: &Caller,
        request: &R,
        name: &str,
        wish: Wish,
    ) -> Result<(RunApproval, Granted), Status> {
        let authorizer = self.engine.host.authorizer();
        let resolved = authorizer.resolve_name(caller, name).await?;
        let asked = ApprovalName::parse(&resolved)?;
        let memberships = authorizer.memberships(caller).await?;
        let candidate = caller.require_candidate()?;
        let found = self.engine.journal.approval(&asked.run.run_id, &asked.id).await?;
        let found = found.filter(|found| of_approval(found).is_meant_by(&asked.run.agent));
        let decides = found
            .as_ref()
            .is_some_and(|found| is_person(caller, candidate) && may_decide(candidate, &memberships, found));
        let acl = match (wish, decides) {
            // Naming somebody as an approver is the right to see and to decide.
            (_, true) => Some(Acl::owned_by(candidate)),
            // What follows from the name alone is a right to look, never to decide.
            (Wish::Look, false) => None,
            (Wish::Decide, false) => Some(Acl::default()),
        };
        let granted = authorizer.check(caller, request, acl.as_ref()).await?;
        match found {
            Some(found) => Ok((found, granted)),
            None => Err(status(Code::NotFound, Reason::NotFound, format!("there is no approval {resolved}"))),
        }
    }

    async fn list(
        &self,
        caller: &Caller,
        request: ListApprovalsRequest,
    ) -> Result<ListApprovalsResponse, Status> {
        if request.page_size < 0 {
            return Err(invalid_argument("page_size", "it cannot be negative"));
        }
        let authorizer = self.engine.host.authorizer();
        let resolved = authorizer.resolve_name(caller, &request.parent).await?;
        let (team, agent) = parent(&resolved)?;
        let memberships = authorizer.memberships(caller).await?;
        let candidate = caller.require_candidate()?;
        // Who administers the team sees what its runs ask, as it sees the runs.
        let administers = is_person(caller, candidate) && memberships.role_in(&team) == Some(TeamRole::Admin);
        let all = administers || authorizer.may(caller, &request.resource(), AccessLevel::Read, None).await?;
        if !all && memberships.role_in(&team).is_none() && !is_person(caller, candidate) {
            // Neither a member nor anybody who could be asked: the check refuses and says so in the audit.
            let _granted = authorizer.check(caller, &request, None).await?;
        }
        let page = self
            .engine
            .journal
            .approvals(ListRunApprovalsRequest {
                team,
                agent,
                state: stored_state(request.state()).into(),
                page_size: request.page_size,
                page_token: request.page_token,
                ..ListRunApprovalsRequest::default()
            })
            .await?;
        let seen = |found: &&RunApproval| {
            all || is_person(caller, candidate) && may_decide(candidate, &memberships, found)
        };
        Ok(ListApprovalsResponse {
            approvals: page.approvals.iter().filter(seen).map(message).collect(),
            next_page_token: page.next_page_token,
        })
    }
}

/// What a caller wants with an approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Look,
    Decide,
}

#[tonic::async_trait]
impl Approvals for ApprovalsService {
    async fn list_approvals(
        &self,
        request: Request<ListApprovalsRequest>,
    ) -> Result<Response<ListApprovalsResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        Ok(Response::new(self.list(Caller::of(&extensions)?, request).await?))
    }

    async fn get_approval(&self, request: Request<GetApprovalRequest>) -> Result<Response<Approval>, Status> {
        let (_, extensions, request) = request.into_parts();
        let caller = Caller::of(&extensions)?;
        let (found, _) = self.authorised(caller, &request, &request.name, Wish::Look).await?;
        Ok(Response::new(message(&found)))
    }

    async fn decide_approval(
        &self,
        request: Request<DecideApprovalRequest>,
    ) -> Result<Response<Approval>, Status> {
        let (_, extensions, request) = request.into_parts();
        let caller = Caller::of(&extensions)?;
        // The grant is recorded when it is dropped, after the work.
        let (found, _granted) = self.authorised(caller, &request, &request.name, Wish::Decide).await?;
        let decision = decision(&found, &request)?;
        let decided_by = caller.require_candidate()?.to_string();
        let decided = DecideRunApprovalRequest {
            run_id: found.run_id.clone(),
            id: found.id.clone(),
            decision: decision.into(),
            decided_by,
            comment: request.comment,
            decision_json: request.output_json,
        };
        Ok(Response::new(message(&self.engine.journal.decide(decided).await?)))
    }
}

/// What is decided, if it can be decided so.
fn decision(approval: &RunApproval, request: &DecideApprovalRequest) -> Result<ApprovalState, Status> {
    let decision = match request.decision() {
        gateway::ApprovalState::Approved => ApprovalState::Approved,
        gateway::ApprovalState::Rejected => ApprovalState::Rejected,
        _ => return Err(invalid_argument("decision", "it must be APPROVED or REJECTED")),
    };
    if request.comment.chars().count() > COMMENT_CHARACTERS {
        return Err(invalid_argument("comment", format!("it has {COMMENT_CHARACTERS} characters at most")));
    }
    if !request.output_json.is_empty() {
        if approval.kind != UNCERTAIN_EFFECT || decision != ApprovalState::Rejected {
            let message = "only the rejection of an uncertain effect brings an output with it";
            return Err(invalid_argument("output_json", message));
        }
        let object =
            serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&request.output_json);
        if request.output_json.len() > OUTPUT_BYTES || object.is_err() {
            return Err(invalid_argument("output_json", "it must be a JSON object of 1 MiB at most"));
        }
    }
    Ok(decision)
}

/// Whether somebody acts for themselves: no agent, and nothing that an agent's run could present.
fn is_person(caller: &Caller, candidate: &Candidate) -> bool {
    matches!(candidate.role(), Role::User | Role::Team) && caller.agent().is_none()
}

fn may_decide(candidate: &Candidate, memberships: &Memberships, approval: &RunApproval) -> bool {
    approval.approvers.iter().any(|approver| match approver.split_once('/') {
        None if approver == "admins" => memberships.role_in(&approval.team) == Some(TeamRole::Admin),
        None if approver == "members" => is_of_team(candidate, memberships, &approval.team),
        Some(("team", team)) => is_of_team(candidate, memberships, team),
        Some(("user", user)) => candidate.role() == Role::User && candidate.id() == user,
        _ => false,
    })
}

fn is_of_team(candidate: &Candidate, memberships: &Memberships, team: &str) -> bool {
    memberships.role_in(team).is_some() || candidate.role() == Role::Team && candidate.id() == team
}

/// `teams/{team}/agents/{agent}/runs/{run}/approvals/{approval}`.
struct ApprovalName {
    run: RunName,
    id: String,
}

impl ApprovalName {
    fn parse(name: &str) -> Result<Self, Status> {
        let wrong = || {
            let form = "teams/{team}/agents/{agent}/runs/{run}/approvals/{approval}";
            invalid_argument("name", format!("{name:?} is not {form}"))
        };
        let (run, id) = name.rsplit_once("/approvals/").ok_or_else(wrong)?;
        let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if id.is_empty() || id.len() > 128 || !id.bytes().all(fits) {
            return Err(wrong());
        }
        Ok(Self { run: RunName::parse("name", run).map_err(|_| wrong())?, id: id.to_owned() })
    }
}

/// The team of a list, and its agent where it is of one.
fn parent(name: &str) -> Result<(String, String), Status> {
    if let Some(team) = name.strip_prefix("teams/").filter(|team| !team.contains('/')) {
        let agent = AgentName::parse("parent", &format!("{name}/agents/any"));
        return agent.map(|_| (team.to_owned(), String::new())).map_err(|_| no_parent(name));
    }
    let agent = AgentName::parse("parent", name).map_err(|_| no_parent(name))?;
    Ok((agent.team, agent.agent))
}

fn no_parent(name: &str) -> Status {
    invalid_argument(
        "parent",
        format!("{name:?} is neither teams/{{team}} nor teams/{{team}}/agents/{{agent}}"),
    )
}

fn of_approval(approval: &RunApproval) -> AgentName {
    AgentName { team: approval.team.clone(), agent: approval.agent.clone() }
}

/// The name of an approval, for people.
pub fn name_of(agent: &AgentName, run_id: &str, id: &str) -> String {
    format!("{}/approvals/{id}", agent.run(run_id))
}

fn message(approval: &RunApproval) -> Approval {
    let kind = match approval.kind.as_str() {
        UNCERTAIN_EFFECT => ApprovalKind::UncertainEffect,
        _ => ApprovalKind::Approval,
    };
    Approval {
        name: name_of(&of_approval(approval), &approval.run_id, &approval.id),
        kind: kind.into(),
        component: approval.component.clone(),
        title: approval.title.clone(),
        details_json: approval.details_json.clone(),
        approvers: approval.approvers.clone(),
        create_time: approval.create_time,
        expire_time: approval.expire_time,
        state: state(approval.state()).into(),
        decided_by: approval.decided_by.clone(),
        comment: approval.comment.clone(),
        decide_time: approval.decide_time,
    }
}

fn state(state: ApprovalState) -> gateway::ApprovalState {
    match state {
        ApprovalState::Unspecified => gateway::ApprovalState::Unspecified,
        ApprovalState::Pending => gateway::ApprovalState::Pending,
        ApprovalState::Approved => gateway::ApprovalState::Approved,
        ApprovalState::Rejected => gateway::ApprovalState::Rejected,
        ApprovalState::Expired => gateway::ApprovalState::Expired,
    }
}

fn stored_state(state: gateway::ApprovalState) -> ApprovalState {
    match state {
        gateway::ApprovalState::Unspecified => ApprovalState::Unspecified,
        gateway::ApprovalState::Pending => ApprovalState::Pending,
        gateway::ApprovalState::Approved => ApprovalState::Approved,
        gateway::ApprovalState::Rejected => ApprovalState::Rejected,
        gateway::ApprovalState::Expired => ApprovalState::Expired,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sre_identity::TeamId;

    fn approval(approvers: &[&str]) -> RunApproval {
        RunApproval {
            team: "red".into(),
            agent: "a".into(),
            approvers: approvers.iter().map(|&name| name.to_owned()).collect(),
            ..RunApproval::default()
        }
    }

    fn member(team: &str, role: TeamRole) -> Memberships {
        Memberships { teams: vec![(TeamId::new(team).unwrap(), role)], ..Memberships::default() }
    }

    #[test]
    fn who_may_decide_is_what_the_component_says() {
        let (ann, red) = (Candidate::user("ann").unwrap(), Candidate::team("red").unwrap());
        let nobody = Memberships::default();
        for (approver, who, of, expected) in [
            ("user/ann", &ann, &nobody, true),
            ("user/bob", &ann, &nobody, false),
            ("user/red", &red, &nobody, false),
            ("admins", &ann, &member("red", TeamRole::Admin), true),
            ("admins", &ann, &member("red", TeamRole::Member), false),
            ("admins", &ann, &member("blue", TeamRole::Admin), false),
            ("members", &ann, &member("red", TeamRole::Member), true),
            ("members", &ann, &member("blue", TeamRole::Admin), false),
            ("members", &red, &nobody, true),
            ("team/blue", &ann, &member("blue", TeamRole::Member), true),
            ("team/blue", &ann, &member("red", TeamRole::Admin), false),
            ("everybody", &ann, &member("red", TeamRole::Admin), false),
        ] {
            assert_eq!(may_decide(who, of, &approval(&[approver])), expected, "{approver} {who} {of:?}");
        }
        assert!(!may_decide(&ann, &member("red", TeamRole::Admin), &approval(&[])));
    }

    #[test]
    fn only_the_rejection_of_an_uncertain_effect_brings_an_output() {
        let request = |decision: gateway::ApprovalState, output: &'static str| DecideApprovalRequest {
            decision: decision.into(),
            output_json: output.into(),
            ..DecideApprovalRequest::default()
        };
        let effect = RunApproval { kind: UNCERTAIN_EFFECT.into(), ..RunApproval::default() };
        let rejected = request(gateway::ApprovalState::Rejected, r#"{"Response":1}"#);
        assert_eq!(decision(&effect, &rejected).unwrap(), ApprovalState::Rejected);
        for (approval, request) in [
            (&approval(&[]), rejected.clone()),
            (&effect, request(gateway::ApprovalState::Approved, "{}")),
            (&effect, request(gateway::ApprovalState::Rejected, "[1]")),
            (&effect, request(gateway::ApprovalState::Expired, "")),
            (&effect, request(gateway::ApprovalState::Unspecified, "")),
        ] {
            assert_eq!(decision(approval, &request).unwrap_err().code(), Code::InvalidArgument);
        }
    }

    #[test]
    fn names_are_read_and_written() {
        let agent = AgentName { team: "t".into(), agent: "a".into() };
        let run = sre_proto::ids::new_id();
        let name = ApprovalName::parse(&name_of(&agent, &run, "0a1b")).unwrap();
        assert_eq!((name.run.agent, name.run.run_id, name.id.as_str()), (agent, run, "0a1b"));
        assert!(ApprovalName::parse("teams/t/agents/a/approvals/x").is_err());
        assert_eq!(parent("teams/t").unwrap(), ("t".to_owned(), String::new()));
        assert_eq!(parent("teams/t/agents/a").unwrap(), ("t".to_owned(), "a".to_owned()));
        for wrong in ["teams/", "teams/t/x", "agents/a", ""] {
            assert_eq!(parent(wrong).unwrap_err().code(), Code::InvalidArgument, "{wrong}");
        }
    }
}
