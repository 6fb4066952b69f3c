//! What runs ask people, and by the rules who may see and decide it.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use sre_proto::gateway::v1::approvals_client::ApprovalsClient;
use sre_proto::gateway::v1::{
    Approval, ApprovalState, DecideApprovalRequest, GetApprovalRequest, ListApprovalsRequest,
};
use sre_service::Link;
use tonic::Status;

use super::calls::Op;
use super::people::People;
use super::rights::{Person, READ, WRITE, by_name};
use super::things::Kind;

/// A question.
#[derive(Debug, Clone)]
pub(super) struct Question {
    /// The team of the agent whose run asks.
    pub(super) team: String,
    /// Who is asked: `user/alice`, `team/red`, `admins`, `members`.
    pub(super) approver: String,
}

impl Question {
    fn decides(&self, person: &Person) -> bool {
        let asked = match self.approver.split_once('/') {
            None if self.approver == "admins" => person.role_in(&self.team) == Some(true),
            None => person.role_in(&self.team).is_some(),
            Some(("team", team)) => person.role_in(team).is_some(),
            Some(_) => person.name == self.approver,
        };
        is_person(person) && asked
    }

    /// Whether somebody may look at it, or decide it.
    pub(super) fn allows(
        &self,
        person: &Person,
        level: u8,
        name: &str,
        homes: &BTreeMap<String, String>,
    ) -> bool {
        // What follows from the name alone is a right to look.
        self.decides(person) || level != WRITE && by_name(person, READ, name, homes)
    }
}

/// Agents are asked nothing, their own runs' questions least of all.
fn is_person(person: &Person) -> bool {
    person.name.starts_with("user/") || person.name.starts_with("team/")
}

/// Whether somebody may ask for a list: anybody may have been asked, and sees that; members of the team, agents too,
/// may see an empty one.
pub(super) fn may_list(
    person: &Person,
    team: &str,
    resource: &str,
    homes: &BTreeMap<String, String>,
) -> bool {
    is_person(person) || person.role_in(team).is_some() || by_name(person, READ, resource, homes)
}

/// Whom an agent's question is put to.
pub(super) fn approver(rng: &mut StdRng, people: &People) -> String {
    let mut all = vec!["admins".to_owned(), "members".to_owned()];
    let named = people.known.iter().filter(|person| is_person(person));
    all.extend(named.map(|person| person.name.clone()));
    all.choose(rng).cloned().unwrap_or_else(|| "admins".to_owned())
}

/// Makes a call on a question; gives the mark of each that it answers.
pub(super) async fn make(op: Op, link: Link, name: String) -> Result<String, Status> {
    let mut approvals = ApprovalsClient::new(link.clone());
    let answered = match op {
        Op::Write => {
            let decision = ApprovalState::Approved.into();
            let request = DecideApprovalRequest { name, decision, ..DecideApprovalRequest::default() };
            approvals.decide_approval(request).await?.into_inner()
        }
        Op::List => return listed(link, of_agent(&name).to_owned()).await,
        _ => approvals.get_approval(GetApprovalRequest { name }).await?.into_inner(),
    };
    Ok(mark(&answered))
}

/// What a list of a team or an agent shows.
pub(super) async fn listed(link: Link, parent: String) -> Result<String, Status> {
    let listed = all(link, parent).await?;
    Ok(listed.iter().map(mark).collect())
}

/// The questions of a team or an agent that a caller sees.
pub(super) async fn all(link: Link, parent: String) -> Result<Vec<Approval>, Status> {
    let request = ListApprovalsRequest { parent, page_size: 1000, ..ListApprovalsRequest::default() };
    Ok(ApprovalsClient::new(link).list_approvals(request).await?.into_inner().approvals)
}

/// The agent in a question's name.
pub(super) fn of_agent(name: &str) -> &str {
    name.split_once("/runs/").map_or(name, |(agent, _)| agent)
}

fn mark(approval: &Approval) -> String {
    format!("<<{:?} {}>>", Kind::Approval, approval.name)
}
