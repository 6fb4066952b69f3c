//! Names of debug sessions.

use std::fmt;

use sre_proto::error::invalid_argument;
use tonic::Status;

use crate::engine::names::AgentName;

const LONGEST: usize = 64;

/// `teams/{team}/agents/{agent}/debugSessions/{session}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionName {
    /// The agent.
    pub agent: AgentName,
    /// The session's id, as people see it.
    pub id: String,
}

impl SessionName {
    /// A session of an agent.
    pub fn new(agent: AgentName, id: &str) -> Result<Self, Status> {
        if !is_id(id) {
            return Err(invalid_argument(
                "debug_session_id",
                format!("{id:?} is not one: up to {LONGEST} letters, digits, - and _"),
            ));
        }
        Ok(Self { agent, id: id.to_owned() })
    }

    /// Reads a name.
    pub fn parse(field: &str, name: &str) -> Result<Self, Status> {
        let wrong = || {
            let form = "teams/{team}/agents/{agent}/debugSessions/{session}";
            invalid_argument(field, format!("{name:?} is not {form}"))
        };
        let (agent, id) = name.rsplit_once("/debugSessions/").ok_or_else(wrong)?;
        Self::new(AgentName::parse(field, agent).map_err(|_| wrong())?, id).map_err(|_| wrong())
    }

    /// Who its run belongs to in the store: together with the id this finds it from any engine.
    pub fn owner(&self) -> String {
        owner(&self.agent)
    }
}

impl fmt::Display for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/debugSessions/{}", self.agent, self.id)
    }
}

/// Who the sessions of an agent belong to in the store.
pub fn owner(agent: &AgentName) -> String {
    format!("debug/{agent}")
}

/// A new id: `dbg-` or `inj-` and some letters.
pub fn new_id(prefix: &str) -> String {
    format!("{prefix}-{}", sre_proto::ids::new_uuid().simple())
}

fn is_id(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !text.is_empty() && text.len() <= LONGEST && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        let text = "teams/t/agents/a/debugSessions/dbg-1";
        let name = SessionName::parse("name", text).unwrap();
        assert_eq!((name.to_string().as_str(), name.id.as_str()), (text, "dbg-1"));
        assert_eq!(name.owner(), "debug/teams/t/agents/a");
        for bad in ["", "dbg-1", "teams/t/agents/a/debugSessions/", "teams/t/agents/a/debugSessions/a b"] {
            assert!(SessionName::parse("name", bad).is_err(), "{bad}");
        }
        let made = new_id("inj");
        assert!(is_id(&made) && made.starts_with("inj-") && made != new_id("inj"));
    }
}
