//! What a run may do: tokens of its agent, one per role it calls, each for what the compiled plan declares
//! and no more. A run that outlives the token it came with goes on with the resume grant of its journal.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sre_engine::{EntryId, Plan};
use sre_proto::error::{Reason, status};
use sre_service::tokens::Purpose;
use sre_service::{ExchangeKey, Link, Proof, Role, Tokens};
use tonic::{Code, Status};

/// Before its end a presented token is no longer used as proof.
const MARGIN: Duration = Duration::from_secs(45);
/// Grants are asked for in these sizes, so that one serves many runs.
const SHORT_GRANT: Duration = Duration::from_secs(26 * 60 * 60);
const LONG_GRANT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

const READ_AGENT: &str = "sre.agent.v1.AgentData:read";
const STORAGE: [&str; 2] = ["sre.io.v1.Storage:read", "sre.io.v1.Storage:write"];
const JOURNAL: &str = "sre.memory.v1.RuntimeContext";
const VAULT: &str = "sre.security.v1.Vault:read";

/// Whose authority a run uses.
#[derive(Clone)]
pub struct Authority {
    tokens: Tokens,
    presented: Option<(Arc<str>, SystemTime)>,
    grant: Option<Arc<str>>,
    scopes: Arc<[Scope]>,
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
        Self { tokens, presented: Some((token, expires)), grant: None, scopes: Arc::from([]) }
    }

    /// The authority of a journalled run.
    pub fn granted(tokens: Tokens, grant: impl Into<Arc<str>>) -> Self {
        Self { tokens, presented: None, grant: Some(grant.into()), scopes: Arc::from([]) }
    }

    /// The same for what a plan declares.
    pub fn with_scopes(mut self, scopes: Arc<[Scope]>) -> Self {
        self.scopes = scopes;
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

    /// The link to the agent service, to read the agent's own document.
    pub async fn agent_link(&self, link: Link) -> Result<Link, Status> {
        self.linked(link, Role::Agent, vec![READ_AGENT.to_owned()]).await
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
        Ok(link.with_token(&token))
    }

    fn key(&self, proof: Proof, role: Role, scopes: Vec<String>) -> ExchangeKey {
        ExchangeKey {
            proof,
            purpose: Purpose::NextHop,
            agent: None,
            audience: vec![role.name().to_owned()],
            scopes,
            resume_grant: None,
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
    if takes_files(plan) {
        texts.extend(STORAGE.map(str::to_owned));
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

/// Whether a value may have to be stored or read on its way into a component.
fn takes_files(plan: &Plan) -> bool {
    const KINDS: [&str; 4] = ["binary", "image", "audio", "video"];
    plan.nodes()
        .iter()
        .flat_map(|node| &node.inputs)
        .any(|port| port.is_file || KINDS.iter().any(|kind| port.type_name.eq_ignore_ascii_case(kind)))
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
