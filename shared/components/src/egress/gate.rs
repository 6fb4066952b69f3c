//! The way out for each agent: what the deployment allows, its team, and the agent itself.

use std::collections::BTreeMap;

use super::client::Client;
use super::policy::{AllowError, Policy};
use super::request::Limits;

/// The lists of one team or agent.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    /// Inner targets that are open, beside those of everybody.
    pub allow: Vec<String>,
    /// Where this is set, nothing else is reached, public addresses included.
    pub only: Option<Vec<String>>,
}

/// The lists of a deployment.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Inner targets that are open to everybody.
    pub allow: Vec<String>,
    /// By team.
    pub teams: BTreeMap<String, Lists>,
    /// By agent, `{team}/{agent}`.
    pub agents: BTreeMap<String, Lists>,
}

/// Why no way out can be made.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// A list cannot be read.
    #[error(transparent)]
    List(#[from] AllowError),
    /// An agent's key is not `{team}/{agent}`.
    #[error("egress.agents has the key `{0}`: write \"team/agent\"")]
    Agent(String),
    /// TLS cannot be set up.
    #[error("the outbound HTTP client: {0}")]
    Tls(#[from] reqwest::Error),
}

/// The clients of a deployment: one for everybody, and one for each team and agent with lists of its own.
#[derive(Clone, Debug)]
pub struct Gate {
    everybody: Client,
    teams: BTreeMap<String, Client>,
    agents: BTreeMap<String, Client>,
}

impl Gate {
    /// The way out under these lists.
    ///
    /// # Errors
    /// [`GateError`] names the list, or says that TLS cannot be set up.
    pub fn new(table: &Table, limits: Limits) -> Result<Self, GateError> {
        let base = Policy::new(&table.allow)?;
        let client = |policy: Policy| Client::new(policy, limits).map_err(GateError::from);
        let mut teams = BTreeMap::new();
        for (team, lists) in &table.teams {
            teams.insert(team.clone(), client(base.with(&lists.allow, lists.only.as_deref())?)?);
        }
        let mut agents = BTreeMap::new();
        for (agent, lists) in &table.agents {
            let (team, _) = agent.split_once('/').ok_or_else(|| GateError::Agent(agent.clone()))?;
            let of_team = match table.teams.get(team) {
                Some(team) => base.with(&team.allow, team.only.as_deref())?,
                None => base.clone(),
            };
            agents.insert(agent.clone(), client(of_team.with(&lists.allow, lists.only.as_deref())?)?);
        }
        Ok(Self { everybody: client(base)?, teams, agents })
    }

    /// The client of an agent.
    pub fn of(&self, team: &str, agent: &str) -> &Client {
        let own = (!self.agents.is_empty()).then(|| self.agents.get(&format!("{team}/{agent}"))).flatten();
        own.or_else(|| self.teams.get(team)).unwrap_or(&self.everybody)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists(allow: &[&str], only: Option<&[&str]>) -> Lists {
        let owned = |list: &[&str]| list.iter().map(|rule| (*rule).to_owned()).collect::<Vec<_>>();
        Lists { allow: owned(allow), only: only.map(owned) }
    }

    fn permits(gate: &Gate, team: &str, agent: &str, host: &str, address: &str) -> bool {
        gate.of(team, agent).policy().permits(host, address.parse().unwrap(), 443)
    }

    #[test]
    fn a_team_and_an_agent_add_to_what_all_may_and_narrow_it() {
        let table = Table {
            allow: vec!["10.0.0.1".into()],
            teams: [
                ("blue".to_owned(), lists(&["10.0.0.2"], None)),
                ("shut".to_owned(), lists(&[], Some(&["api.example"]))),
            ]
            .into(),
            agents: [("blue/greeter".to_owned(), lists(&["10.0.0.3"], Some(&["10.0.0.0/8"])))].into(),
        };
        let gate = Gate::new(&table, Limits::default()).unwrap();
        assert!(permits(&gate, "red", "a", "h", "10.0.0.1") && permits(&gate, "red", "a", "h", "1.1.1.1"));
        assert!(!permits(&gate, "red", "a", "h", "10.0.0.2"));
        assert!(permits(&gate, "blue", "a", "h", "10.0.0.2") && permits(&gate, "blue", "a", "h", "10.0.0.1"));
        assert!(!permits(&gate, "blue", "a", "h", "10.0.0.3"));
        for inner in ["10.0.0.1", "10.0.0.2", "10.0.0.3"] {
            assert!(permits(&gate, "blue", "greeter", "h", inner), "{inner}");
        }
        assert!(!permits(&gate, "blue", "greeter", "h", "1.1.1.1"));
        assert!(permits(&gate, "shut", "a", "api.example", "1.1.1.1"));
        assert!(!permits(&gate, "shut", "a", "other.example", "1.1.1.1"));
        // To be named in `only` opens nothing by itself.
        assert!(!permits(&gate, "shut", "a", "api.example", "127.0.0.1"));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let team = Table { teams: [("t".to_owned(), lists(&["a b"], None))].into(), ..Table::default() };
        assert!(Gate::new(&team, Limits::default()).unwrap_err().to_string().contains("`a b`"));
        let agent = Table { agents: [("greeter".to_owned(), Lists::default())].into(), ..Table::default() };
        assert!(Gate::new(&agent, Limits::default()).unwrap_err().to_string().contains("`greeter`"));
    }
}
