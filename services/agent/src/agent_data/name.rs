//! Names of agents and versions.

use sre_identity::candidate::is_valid_id;

use crate::error::AgentError;

/// The team of a name that stands for the caller's own.
pub const OWN_TEAM: &str = "-";

/// `teams/{team}/agents/{agent}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentName {
    /// The team; `-` until it is resolved.
    pub team: String,
    /// The id.
    pub id: String,
}

impl AgentName {
    /// Reads the name in a field of a request.
    pub fn parse(field: &'static str, name: &str) -> Result<Self, AgentError> {
        match name.split('/').collect::<Vec<_>>().as_slice() {
            ["teams", team, "agents", id] if is_team(team) && is_valid_id(id) => {
                Ok(Self { team: (*team).to_owned(), id: (*id).to_owned() })
            }
            _ => {
                let message = "expected teams/{team}/agents/{agent}, ids of [A-Za-z0-9_-]{1,64}".to_owned();
                Err(AgentError::Invalid { field, message })
            }
        }
    }
}

impl std::fmt::Display for AgentName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "teams/{}/agents/{}", self.team, self.id)
    }
}

/// Reads `teams/{team}`; gives the team.
pub fn parse_team(field: &'static str, parent: &str) -> Result<String, AgentError> {
    match parent.strip_prefix("teams/") {
        Some(team) if is_team(team) => Ok(team.to_owned()),
        _ => {
            let message = "expected teams/{team}, or teams/- for your home team".to_owned();
            Err(AgentError::Invalid { field, message })
        }
    }
}

fn is_team(team: &str) -> bool {
    team == OWN_TEAM || is_valid_id(team)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written_back() {
        for name in ["teams/t/agents/a_B-9", "teams/-/agents/a"] {
            assert_eq!(AgentName::parse("name", name).unwrap().to_string(), name);
        }
        for name in [
            "",
            "teams/t/agents/",
            "teams/t/agents/a/b",
            "teams/../agents/a",
            "agents/a",
            "teams/t/agents/a.b",
            "teams/t/agents/-",
        ] {
            assert!(AgentName::parse("name", name).is_err(), "{name}");
        }
        assert_eq!(parse_team("parent", "teams/-").unwrap(), "-");
        for parent in ["", "teams/", "teams/a/b", "a"] {
            assert!(parse_team("parent", parent).is_err(), "{parent}");
        }
    }
}
