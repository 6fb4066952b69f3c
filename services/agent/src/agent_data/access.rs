//! Who may do what: lists of new agents, replacements of lists, and decisions for other services.

use sre_identity::{Acl, Candidate, Level, TeamId, decide};
use sre_proto::error::invalid_argument;
use sre_proto::types::v1 as types;
use tonic::Status;

use super::{Aspect, Known};
use crate::error::AgentError;

/// The lists of a new agent: definition and skills.
#[derive(Debug)]
pub(super) struct NewLists {
    pub definition: Acl,
    pub skills: Acl,
}

/// Ruling 32: the creator owns both; the agent reads its definition; its home team may use its skills.
pub(super) fn of_new_agent(creator: &Candidate, agent: &str, team: &str) -> Result<NewLists, Status> {
    let wrong = |error: &dyn std::fmt::Display| invalid_argument("agent_id", error.to_string());
    let agent = Candidate::agent(agent).map_err(|error| wrong(&error))?;
    let team = Candidate::team(team).map_err(|error| wrong(&error))?;
    let (mut definition, mut skills) = (Acl::owned_by(creator), Acl::owned_by(creator));
    definition.grant(&agent, &[Level::Read]).map_err(|error| wrong(&error))?;
    skills.grant(&team, &[Level::Read]).map_err(|error| wrong(&error))?;
    Ok(NewLists { definition, skills })
}

/// The list that replaces another: made over the current one where it says so, and with an owner.
pub(crate) fn replacement(message: Option<&types::Acl>, current: &Acl) -> Result<Acl, Status> {
    let message = message.ok_or_else(|| invalid_argument("acl", "is missing: give the whole new list"))?;
    let new = Acl::try_from(message).map_err(|error| invalid_argument("acl", error.to_string()))?;
    new.require_owner().map_err(|error| invalid_argument("acl.entries", error.to_string()))?;
    if !message.etag.is_empty() && message.etag != current.etag() {
        return Err(AgentError::OtherVersion("the list's etag").into());
    }
    Ok(new)
}

/// Whether a Candidate of these teams has a level. An absent agent gives nobody anything.
pub(super) fn is_allowed(
    agent: Option<&Known>,
    aspect: Aspect,
    candidate: &Candidate,
    teams: &[TeamId],
    level: Level,
) -> bool {
    agent.is_some_and(|agent| decide(candidate, teams, &[level], agent.acl(aspect)).is_allowed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_agent_belongs_to_its_creator_alone() {
        let (alice, bob) = (Candidate::user("alice").unwrap(), Candidate::user("bob").unwrap());
        let agent = Candidate::agent("a").unwrap();
        let team = [TeamId::new("t").unwrap()];
        let lists = of_new_agent(&alice, "a", "t").unwrap();
        let may = |who: &Candidate, teams: &[TeamId], level, list: &Acl| {
            decide(who, teams, &[level], list).is_allowed()
        };
        for level in [Level::Read, Level::Write, Level::Owner] {
            assert!(may(&alice, &[], level, &lists.definition) && may(&alice, &[], level, &lists.skills));
            assert!(!may(&bob, &team, level, &lists.definition));
            assert!(!may(&bob, &[], level, &lists.skills));
            assert_eq!(may(&bob, &team, level, &lists.skills), level == Level::Read);
            assert_eq!(may(&agent, &[], level, &lists.definition), level == Level::Read);
        }
    }

    /// H7: the last owner cannot be removed, and a list made from an older one is refused.
    #[test]
    fn h7_a_list_keeps_an_owner() {
        let (alice, bob) = (Candidate::user("alice").unwrap(), Candidate::user("bob").unwrap());
        let current = Acl::owned_by(&alice);
        let given = Acl::owned_by(&bob);
        let mut ownerless = Acl::new();
        ownerless.grant(&bob, &[Level::Write]).unwrap();
        let message = |acl: &Acl, etag: &str| types::Acl { etag: etag.into(), ..types::Acl::from(acl) };
        assert!(replacement(None, &current).is_err());
        assert!(replacement(Some(&message(&ownerless, "")), &current).is_err());
        assert!(replacement(Some(&message(&Acl::new(), "")), &current).is_err());
        let stale = replacement(Some(&message(&given, "other")), &current).unwrap_err();
        assert_eq!(stale.code(), tonic::Code::Aborted);
        assert_eq!(replacement(Some(&message(&given, &current.etag())), &current).unwrap(), given);
    }
}
