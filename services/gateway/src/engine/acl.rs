//! Who may see and steer a run: whoever is at the beginning of its chain, and its agent.

use sre_identity::{Acl, Candidate, Level};
use sre_proto::error::{Reason, status};
use sre_proto::types::v1 as proto;
use tonic::{Code, Status};

/// The Candidate of a SPIFFE id that a token names: `spiffe://<domain>/user/alice` is `user/alice`.
pub fn candidate_of(spiffe_id: &str) -> Result<Candidate, Status> {
    let principal = spiffe_id.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/'));
    let parsed = principal.and_then(|(_, principal)| principal.parse().ok());
    parsed.ok_or_else(|| internal(&format!("{spiffe_id:?} in a token is no agent, user or team")))
}

/// The access list of a new run.
pub fn of_run(root: &Candidate, agent: &str) -> Result<Acl, Status> {
    let mut acl = Acl::owned_by(root);
    let agent = Candidate::agent(agent).map_err(|error| internal(&error.to_string()))?;
    acl.grant(&agent, &[Level::Owner]).map_err(|error| internal(&error.to_string()))?;
    Ok(acl)
}

/// The access list of a stored run.
pub fn of_record(acl: Option<&proto::Acl>) -> Result<Acl, Status> {
    let acl = acl.ok_or_else(|| internal("a stored run has no access list"))?;
    Acl::try_from(acl).map_err(|error| internal(&format!("a stored run's access list: {error}")))
}

fn internal(message: &str) -> Status {
    tracing::error!(message, "a run's access list cannot be used");
    status(Code::Internal, Reason::Internal, "the run's access list cannot be used: see the engine's log")
}

#[cfg(test)]
mod tests {
    use super::*;
    use sre_identity::decide;

    #[test]
    fn its_root_caller_and_its_agent_own_a_run_and_nobody_else() {
        let root = candidate_of("spiffe://sre.local/user/alice").unwrap();
        assert_eq!(root, Candidate::user("alice").unwrap());
        let acl = of_record(Some(&proto::Acl::from(&of_run(&root, "greeter").unwrap()))).unwrap();
        let may = |who: &Candidate| decide(who, &[], &[Level::Owner], &acl).is_allowed();
        assert!(may(&root));
        assert!(may(&Candidate::agent("greeter").unwrap()));
        assert!(!may(&Candidate::user("bob").unwrap()));
    }

    #[test]
    fn an_agent_can_be_at_the_beginning_of_its_own_chain() {
        let agent = candidate_of("spiffe://sre.local/agent/a").unwrap();
        assert_eq!(of_run(&agent, "a").unwrap().entries().count(), 1);
    }
}
