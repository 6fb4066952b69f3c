//! Names of agents and runs.

use std::fmt;

use sre_proto::error::{Reason, invalid_argument, status};
use tonic::{Code, Status};

/// `teams/{team}/agents/{agent}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AgentName {
    /// The team's id.
    pub team: String,
    /// The agent's id.
    pub agent: String,
}

impl AgentName {
    /// Reads a name; `-` as team is kept.
    pub fn parse(field: &str, name: &str) -> Result<Self, Status> {
        let parts: Vec<&str> = name.split('/').collect();
        match parts[..] {
            ["teams", team, "agents", agent] if (team == "-" || is_id(team)) && is_id(agent) => {
                Ok(Self { team: team.to_owned(), agent: agent.to_owned() })
            }
            _ => Err(invalid_argument(field, format!("{name:?} is not teams/{{team}}/agents/{{agent}}"))),
        }
    }

    /// Whether a name that may have `-` as team can mean this one.
    pub fn is_meant_by(&self, asked: &Self) -> bool {
        self.agent == asked.agent && (asked.team == "-" || asked.team == self.team)
    }

    /// The name of one of its runs.
    pub fn run(&self, run_id: &str) -> String {
        format!("{self}/runs/{run_id}")
    }
}

impl fmt::Display for AgentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "teams/{}/agents/{}", self.team, self.agent)
    }
}

/// `teams/{team}/agents/{agent}/runs/{run}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunName {
    /// The agent; its team may be `-`.
    pub agent: AgentName,
    /// The run's id.
    pub run_id: String,
}

impl RunName {
    /// Reads a name.
    pub fn parse(field: &str, name: &str) -> Result<Self, Status> {
        let wrong = || {
            invalid_argument(field, format!("{name:?} is not teams/{{team}}/agents/{{agent}}/runs/{{run}}"))
        };
        let (agent, run) = name.rsplit_once("/runs/").ok_or_else(wrong)?;
        let agent = AgentName::parse(field, agent).map_err(|_| wrong())?;
        sre_proto::ids::parse(run).ok_or_else(wrong)?;
        Ok(Self { agent, run_id: run.to_owned() })
    }
}

/// The answer for a run that is not there.
pub fn no_such_run(name: &str) -> Status {
    status(Code::NotFound, Reason::NotFound, format!("there is no run {name}"))
}

fn is_id(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    !text.is_empty() && text != "-" && text.len() <= 64 && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        let agent = AgentName::parse("agent", "teams/t1/agents/greeter_1").unwrap();
        assert_eq!(agent.to_string(), "teams/t1/agents/greeter_1");
        assert!(agent.is_meant_by(&AgentName::parse("agent", "teams/-/agents/greeter_1").unwrap()));
        assert!(!agent.is_meant_by(&AgentName::parse("agent", "teams/t2/agents/greeter_1").unwrap()));
        let id = sre_proto::ids::new_id();
        let run = RunName::parse("name", &agent.run(&id)).unwrap();
        assert_eq!((run.agent, run.run_id), (agent, id));
    }

    #[test]
    fn other_texts_are_refused() {
        for name in
            ["", "teams/t", "teams/t/agents/", "teams/t/agents/a/b", "teams/../agents/a", "teams/t/agents/-"]
        {
            assert_eq!(AgentName::parse("agent", name).unwrap_err().code(), Code::InvalidArgument, "{name}");
        }
        for name in ["teams/t/agents/a", "teams/t/agents/a/runs/x", "teams/t/agents/a/runs/../x"] {
            assert_eq!(RunName::parse("name", name).unwrap_err().code(), Code::InvalidArgument, "{name}");
        }
    }
}
