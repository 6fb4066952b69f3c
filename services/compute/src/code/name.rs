//! Names of code and what belongs to it. They are compared as they are written.

use std::fmt;

use sre_identity::candidate::is_valid_id;
use sre_identity::resource::Pattern;
use sre_proto::error::invalid_argument;
use tonic::Status;

use crate::workers::Owner;

static AGENT: Pattern = Pattern::new("teams/{team}/agents/{agent}");
static CODE: Pattern = Pattern::new("teams/{team}/agents/{agent}/code/{code}");
static DEPLOYMENT: Pattern = Pattern::new("teams/{team}/agents/{agent}/code/{code}/deployments/{deployment}");

/// Reads an agent's name.
pub(super) fn agent(field: &str, name: &str) -> Result<Owner, Status> {
    let found = AGENT.parse_field(field, name)?;
    Ok(Owner { team: found.get("team").to_owned(), agent: found.get("agent").to_owned() })
}

/// `teams/{team}/agents/{agent}/code/{code}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CodeName {
    /// Whose it is.
    pub owner: Owner,
    /// Its id.
    pub code: String,
}

impl CodeName {
    /// Reads a name.
    pub(super) fn parse(field: &str, name: &str) -> Result<Self, Status> {
        let found = CODE.parse_field(field, name)?;
        Self::new(field, [found.get("team"), found.get("agent"), found.get("code")])
    }

    fn new(field: &str, [team, agent, code]: [&str; 3]) -> Result<Self, Status> {
        if !is_valid_id(code) {
            let message = "the id of code has 1 to 64 letters, digits, hyphens and underscores";
            return Err(invalid_argument(field, message));
        }
        let owner = Owner { team: team.to_owned(), agent: agent.to_owned() };
        Ok(Self { owner, code: code.to_owned() })
    }
}

impl fmt::Display for CodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "teams/{}/agents/{}/code/{}", self.owner.team, self.owner.agent, self.code)
    }
}

/// `teams/{team}/agents/{agent}/code/{code}/deployments/{deployment}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DeploymentName {
    /// The code.
    pub code: CodeName,
    /// Its id.
    pub deployment: String,
}

impl DeploymentName {
    /// Reads a name.
    pub(super) fn parse(name: &str) -> Result<Self, Status> {
        let found = DEPLOYMENT.parse(name)?;
        let code = CodeName::new("name", [found.get("team"), found.get("agent"), found.get("code")])?;
        Ok(Self { code, deployment: found.get("deployment").to_owned() })
    }
}

impl fmt::Display for DeploymentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/deployments/{}", self.code, self.deployment)
    }
}
