//! What a run may do: tokens of its agent, one per role it calls, each for what the compiled plan declares
//! and no more. A run that outlives the token it came with goes on with the resume grant of its journal.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sre_engine::{EntryId, Plan};
use sre_proto::error::{Reason, status};
use sre_service::tokens::Purpose;
use sre_service::{ExchangeKey, Link, Proof, Role, Tokens};
use tonic::{Code, Status};

use super::nesting::Nesting;

/// Before its end a presented token is no longer used as proof.
const MARGIN: Duration = Duration::from_secs(45);
/// Grants are asked for in these sizes, so that one serves many runs.
const SHORT_GRANT: Duration = Duration::from_secs(26 * 60 * 60);
const LONG_GRANT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

const RUN: &str = "sre.gateway.v1.Runs:read";
const READ_AGENT: &str = "sre.agent.v1.AgentData:read";
const READ_COMPONENTS: &str = "sre.agent.v1.Components:read";
const STORAGE: [&str; 2] = ["sre.io.v1.Storage:read", "sre.io.v1.Storage:write"];
const JOURNAL: &str = "sre.memory.v1.RuntimeContext";
/// Types of inputs for which files are stored and read, and for which they are read.
const FILES: [&str; 4] = ["binary", "image", "audio", "video"];
const TEXTS: [&str; 2] = ["text", "string"];
const VAULT: &str = "sre.security.v1.Vault:read";

/// Whose authority a run uses.
#[derive(Clone)]
pub struct Authority {
    tokens: Tokens,
    presented: Option<(Arc<str>, SystemTime)>,
    grant: Option<Arc<str>>,
    scopes: Arc<[Scope]>,
    /// Of a sub-agent: its full name.
    agent: Option<Arc<str>>,
    /// The run that uses it, and those it was started from.
    nesting: Option<Nesting>,
}

/// A scope and the role it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    role: Role,
    text: String,
}

impl Authority {
    /// The authority of a token that was presented to the engine.
    pub fn presented(tokens: Tokens, token: Arc<str>, expires: SystemTime) -> Self {
        Self { presented: Some((token, expires)), ..Self::none(tokens) }
    }

    /// The authority of a journalled run.
    pub fn granted(tokens: Tokens, grant: impl Into<Arc<str>>) -> Self {
        Self { grant: Some(grant.into()), ..Self::none(tokens) }
    }

    fn none(tokens: Tokens) -> Self {
        Self { tokens, presented: None, grant: None, scopes: Arc::from([]), agent: None, nesting: None }
    }

    /// The authority of an agent that this one calls, behind it in the chain: granted where this agent may run it.
    pub async fn of_sub_agent(&self, agent: &str) -> Result<Self, Status> {
        let key = ExchangeKey {
            purpose: Purpose::SubAgent,
            agent: Some(agent.to_owned()),
            ..self.key(self.proof()?, Role::Engine, vec![RUN.to_owned()])
        };
        let token = self.tokens.exchange(key).await?;
        let known = Self::presented(self.tokens.clone(), token.jwt.as_str().into(), token.expires);
        Ok(Self { agent: token.agent.as_deref().map(Into::into), ..known })
    }

    /// Of a sub-agent's: its full name.
    pub fn agent(&self) -> Option<&str> {
        self.agent.as_deref()
    }

    /// The same for what a plan declares.
    pub fn with_scopes(mut self, scopes: Arc<[Scope]>) -> Self {
        self.scopes = scopes;
        self
    }

    /// The same for a run, for which all counts that is used by it.
    pub fn of_run(mut self, nesting: Nesting) -> Self {
        self.nesting = Some(nesting);
        self
    }

    /// Obtains the grant that the journal keeps, for a run of this length.
    pub async fn grant(&mut self, run_for: Duration) -> Result<Arc<str>, Status> {
        if let Some(grant) = &self.grant {
            return Ok(grant.clone());
        }
        let time = if run_for < SHORT_GRANT { SHORT_GRANT } else { LONG_GRANT };
        let key = ExchangeKey {
            resume_grant: Some(time),
            ..self.key(self.proof()?, Role::Agent, vec![READ_AGENT.to_owned()])
        };
        let token = self.tokens.exchange(key).await?;
        let (grant, _) = token.resume_grant.as_ref().ok_or_else(|| {
            status(
                Code::Internal,
                Reason::Internal,
                "security answered without the resume grant that was asked for",
            )
        })?;
        let grant: Arc<str> = grant.as_str().into();
        self.grant = Some(grant.clone());
        Ok(grant)
    }

    /// The link to the agent service, to read the agent's own document and the components that it may use.
    pub async fn agent_link(&self, link: Link) -> Result<Link, Status> {
        self.linked(link, Role::Agent, vec![READ_AGENT.to_owned(), READ_COMPONENTS.to_owned()]).await
    }

    /// A token of the agent for what a component out of process declares, which that component alone can present, and
    /// the roles it is for.
    pub async fn for_component(
        &self,
        declared: &[String],
        presenter: &str,
    ) -> Result<(String, Vec<Role>), Status> {
        let mut roles: Vec<Role> = declared.iter().filter_map(|scope| role_of(scope)).collect();
        roles.sort_unstable_by_key(|role| role.name());
        roles.dedup();
        let key = ExchangeKey {
            proof: self.proof()?,
            purpose: Purpose::Component,
            agent: None,
            audience: roles.iter().map(|role| role.name().to_owned()).collect(),
            scopes: declared.to_vec(),
            resume_grant: None,
            presenter: Some(presenter.to_owned()),
            runs: self.nesting.as_ref().map(Nesting::to_kept).unwrap_or_default(),
        };
        Ok((self.tokens.exchange(key).await?.jwt.clone(), roles))
    }

    /// A link that acts as the agent, for what the plan declares of this role.
    pub async fn link(&self, link: Link, role: Role) -> Result<Link, Status> {
        let scopes: Vec<String> =
            self.scopes.iter().filter(|scope| scope.role == role).map(|scope| scope.text.clone()).collect();
        if scopes.is_empty() {
            return Err(status(
                Code::PermissionDenied,
                Reason::ScopeExceeded,
                format!("no component of this skill declares that it calls {role}"),
            ));
        }
        self.linked(link, role, scopes).await
    }

    async fn linked(&self, link: Link, role: Role, scopes: Vec<String>) -> Result<Link, Status> {
        let token = self.tokens.exchange(self.key(self.proof()?, role, scopes)).await?;
        let link = link.with_token(&token);
        // Whoever counts what runs use is told of them; nobody else asks.
        let counts = matches!(role, Role::Llm | Role::Io);
        Ok(match self.nesting.as_ref().filter(|_| counts) {
            Some(nesting) => link.with_runs(nesting.runs()),
            None => link,
        })
    }

    fn key(&self, proof: Proof, role: Role, scopes: Vec<String>) -> ExchangeKey {
        ExchangeKey {
            proof,
            purpose: Purpose::NextHop,
            agent: None,
            audience: vec![role.name().to_owned()],
            scopes,
            resume_grant: None,
            presenter: None,
            runs: Vec::new(),
        }
    }

    fn proof(&self) -> Result<Proof, Status> {
        match (&self.presented, &self.grant) {
            (Some((token, expires)), grant) if grant.is_none() || SystemTime::now() + MARGIN < *expires => {
                Ok(Proof::Token(token.to_string()))
            }
            (_, Some(grant)) => Ok(Proof::ResumeGrant(grant.to_string())),
            (_, None) => {
                Err(status(Code::Unauthenticated, Reason::CredentialsMissing, "the run has no authority"))
            }
        }
    }
}

/// What a turn of a conversation calls: its model, and the files of its messages. Its tools are runs of their own.
pub fn turn_scopes() -> Arc<[Scope]> {
    let inference = ["sre.llm.v1.Inference:read", "sre.llm.v1.Models:read"];
    let texts = inference.into_iter().chain(STORAGE);
    texts.filter_map(|text| Some(Scope { role: role_of(text)?, text: text.to_owned() })).collect()
}

/// What a run from this entry declares that it calls.
pub fn scopes_of(plan: &Plan, entry: EntryId) -> Vec<Scope> {
    let mut texts: Vec<String> = Vec::new();
    for declared in plan.scopes(entry) {
        match *declared {
            "sre.io.v1.Storage" => texts.extend(STORAGE.map(str::to_owned)),
            scope if scope.contains(':') => texts.push(scope.to_owned()),
            service => texts.push(format!("{service}:read")),
        }
    }
    if !plan.secret_names(entry).is_empty() {
        texts.push(VAULT.to_owned());
    }
    if takes(plan, &FILES) {
        texts.extend(STORAGE.map(str::to_owned));
    }
    if takes(plan, &TEXTS) {
        // A file that arrives where text is wanted becomes its content.
        texts.push(STORAGE[0].to_owned());
    }
    texts.sort();
    texts.dedup();
    texts
        .into_iter()
        .filter_map(|text| {
            // The journal is called for every run under the engine's own name, never as the agent.
            let role = role_of(&text).filter(|_| !text.starts_with(JOURNAL))?;
            Some(Scope { role, text })
        })
        .collect()
}

/// Whether a value may have to be stored or read on its way into an input of these types.
fn takes(plan: &Plan, kinds: &[&str]) -> bool {
    plan.nodes()
        .iter()
        .flat_map(|node| &node.inputs)
        .any(|port| port.is_file || kinds.iter().any(|kind| port.type_name.eq_ignore_ascii_case(kind)))
}

fn role_of(scope: &str) -> Option<Role> {
    let package = scope.strip_prefix("sre.")?.split('.').next()?;
    Role::of_package(package).filter(|role| *role != Role::Engine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_belong_to_the_role_that_serves_them() {
        assert_eq!(role_of("sre.llm.v1.Inference:read"), Some(Role::Llm));
        assert_eq!(role_of("sre.io.v1.Storage:write"), Some(Role::Io));
        assert_eq!(role_of(VAULT), Some(Role::Security));
        assert_eq!(role_of("sre.gateway.v1.Runs:read"), None);
        assert_eq!(role_of("other"), None);
    }
}
