//! The fixed table of the token service: who may obtain what, for which purpose. What is not in it is refused.

use std::sync::LazyLock;

use sre_proto::error::{self, Reason};
use sre_proto::security::v1 as proto;
use sre_proto::{AccessLevel, METHODS, Rule, Visibility};
use tonic::{Code, Status};

use crate::peer::Peer;
use crate::token::{MAX_VIA, Purpose, covers};

/// What proves for whom a token is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// An API key, verified by the token service.
    ApiKey,
    /// An OpenID Connect token, verified by the token service.
    OidcToken,
    /// A peer that the edge attests.
    Peer,
    /// A delegation token that was presented to the asking service.
    Token,
    /// A resume grant.
    ResumeGrant,
}

impl Proof {
    /// The kind of a request's proof.
    pub fn of(proof: &proto::exchange_request::Proof) -> Self {
        use proto::exchange_request::Proof as Message;
        match proof {
            Message::ApiKey(_) => Self::ApiKey,
            Message::OidcToken(_) => Self::OidcToken,
            Message::Peer(_) => Self::Peer,
            Message::Token(_) => Self::Token,
            Message::ResumeGrant(_) => Self::ResumeGrant,
        }
    }
}

/// Which roles a token of a row may be for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Any of these.
    Roles(&'static [&'static str]),
    /// The one role that serves all the scopes asked for.
    Serving,
}

/// What a token of a row may be used for. Where the proof carries a ceiling, that bounds it besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scopes {
    /// These.
    Listed(&'static [&'static str]),
    /// Any level of any public service.
    Public,
    /// Whatever the proof's ceiling allows: for a run, what its plan declares.
    Ceiling,
}

/// One row: this service may obtain such a token for such a purpose with one of these proofs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The service that asks and will present the token.
    pub presenter: &'static str,
    /// What for.
    pub purpose: Purpose,
    /// Proofs that count.
    pub proofs: &'static [Proof],
    /// Where the token may go.
    pub audience: Audience,
    /// What it may do there.
    pub scopes: Scopes,
}

const FROM_CALLERS: &[Proof] = &[Proof::ApiKey, Proof::OidcToken, Proof::Peer];
const FROM_RUNS: &[Proof] = &[Proof::Token, Proof::ResumeGrant];
const SUBSYSTEMS: &[&str] = &["agent", "memory", "llm", "io", "security", "compute"];
/// What components out of process may call.
const CALLED_BY_COMPONENTS: &[&str] = &["agent", "memory", "llm", "io", "compute"];
const RUN: &str = "sre.gateway.v1.Runs:read";
/// A debug session is a run too. That its caller may write the definition is asked by the engine.
const DEBUG: &str = "sre.gateway.v1.Debugger:write";
/// A conversation is opened by whoever may run the agent, and a prompt is a run. That the conversation is its caller's
/// is asked by the engine.
const CONVERSE: &str = "sre.gateway.v1.Conversations:read";
const PROMPT: &str = "sre.gateway.v1.Conversations:write";
const USE_KEY: &str = "sre.security.v1.Vault:read";
/// Settings of its team, its own, and those that the user for whom it runs lets it inherit.
const READ_SETTINGS: &str = "sre.security.v1.Account:read";
const MANAGED: &str = "sre.security.v1.ManagedVault";
const READ_FILES: &str = "sre.io.v1.Storage:read";
const INFER: &str = "sre.llm.v1.Inference:read";
const READ_DEFINITION: &str = "sre.agent.v1.AgentData:read";
/// Whoever deletes a conversation deletes the files that came along with its prompts.
const DELETE_CONVERSATIONS: &str = "sre.gateway.v1.Conversations:owner";
const WRITE_FILES: &str = "sre.io.v1.Storage:write";
/// Which components out of process a definition may name.
const READ_COMPONENTS: &str = "sre.agent.v1.Components:read";

/// The table.
pub static TABLE: &[Row] = &[
    // The edge faces the network: it starts runs and forwards, nothing else.
    Row {
        presenter: "edge",
        purpose: Purpose::Run,
        proofs: FROM_CALLERS,
        audience: Audience::Roles(&["engine"]),
        scopes: Scopes::Listed(&[RUN, DEBUG, CONVERSE, PROMPT]),
    },
    Row {
        presenter: "edge",
        purpose: Purpose::Forward,
        proofs: FROM_CALLERS,
        audience: Audience::Serving,
        scopes: Scopes::Public,
    },
    // The engine calls for a run what its plan declares.
    Row {
        presenter: "engine",
        purpose: Purpose::NextHop,
        proofs: FROM_RUNS,
        audience: Audience::Roles(SUBSYSTEMS),
        scopes: Scopes::Ceiling,
    },
    Row {
        presenter: "engine",
        purpose: Purpose::SubAgent,
        proofs: FROM_RUNS,
        audience: Audience::Roles(SUBSYSTEMS),
        scopes: Scopes::Ceiling,
    },
    // A sub-agent's own proof: the engine holds it, as the edge's token is held for a root run, and exchanges it
    // for what that agent's plan declares. No engine accepts it as a call, because only the edge calls engines.
    Row {
        presenter: "engine",
        purpose: Purpose::SubAgent,
        proofs: FROM_RUNS,
        audience: Audience::Roles(&["engine"]),
        scopes: Scopes::Listed(&[RUN]),
    },
    // A component out of process: the token is bound to it, and nothing that is kept from runs comes along.
    Row {
        presenter: "engine",
        purpose: Purpose::Component,
        proofs: FROM_RUNS,
        audience: Audience::Roles(CALLED_BY_COMPONENTS),
        scopes: Scopes::Ceiling,
    },
    // A provider's key; a file that a request names.
    Row {
        presenter: "llm",
        purpose: Purpose::NextHop,
        proofs: &[Proof::Token],
        audience: Audience::Roles(&["security"]),
        scopes: Scopes::Listed(&[USE_KEY]),
    },
    Row {
        presenter: "llm",
        purpose: Purpose::NextHop,
        proofs: &[Proof::Token],
        audience: Audience::Roles(&["io"]),
        scopes: Scopes::Listed(&[READ_FILES]),
    },
    // Embedding.
    Row {
        presenter: "io",
        purpose: Purpose::NextHop,
        proofs: &[Proof::Token],
        audience: Audience::Roles(&["llm"]),
        scopes: Scopes::Listed(&[INFER]),
    },
    // A sandbox's keys.
    Row {
        presenter: "compute",
        purpose: Purpose::NextHop,
        proofs: &[Proof::Token],
        audience: Audience::Roles(&["security"]),
        scopes: Scopes::Listed(&[USE_KEY]),
    },
];

/// A request for a token, as far as the table is concerned.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// Who asks; the token will be bound to it.
    pub presenter: &'a Peer,
    /// What for.
    pub purpose: Purpose,
    /// What proves it.
    pub proof: Proof,
    /// The ceiling of a token or grant that is the proof; none for other proofs.
    pub ceiling: Option<&'a [String]>,
    /// The roles to be called.
    pub audience: &'a [String],
    /// What is to be called.
    pub scopes: &'a [String],
}

/// Why a token is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeError {
    /// No row.
    #[error("{presenter} may not obtain tokens for {purpose:?} to {audience} by this proof")]
    NotInTable {
        /// Who asked.
        presenter: String,
        /// What for.
        purpose: Purpose,
        /// Where to.
        audience: String,
    },
    /// The request names no audience or no scope.
    #[error("name at least one audience and one scope")]
    Empty,
    /// More than the row or the ceiling allows.
    #[error("the scope {0:?} is more than the caller may obtain")]
    Scope(String),
    /// One agent too many.
    #[error("the chain has {MAX_VIA} agents before its last already: call fewer agents through each other")]
    ChainTooDeep,
}

impl From<ExchangeError> for Status {
    fn from(cause: ExchangeError) -> Self {
        let reason = match &cause {
            ExchangeError::Empty => return error::invalid_argument("scopes", cause.to_string()),
            ExchangeError::NotInTable { .. } => Reason::MethodNotAllowed,
            ExchangeError::Scope(_) => Reason::ScopeExceeded,
            ExchangeError::ChainTooDeep => Reason::ChainTooDeep,
        };
        error::status(Code::PermissionDenied, reason, cause.to_string())
    }
}

/// Checks a request against the table and gives the ceiling of the new token: the proof's own, never more.
pub fn permit(ask: &Ask<'_>) -> Result<Vec<String>, ExchangeError> {
    if ask.audience.is_empty() || ask.scopes.is_empty() {
        return Err(ExchangeError::Empty);
    }
    let rows: Vec<&Row> = TABLE.iter().filter(|row| fits(row, ask)).collect();
    if rows.is_empty() {
        return Err(ExchangeError::NotInTable {
            presenter: ask.presenter.principal().to_string(),
            purpose: ask.purpose,
            audience: ask.audience.join(", "),
        });
    }
    for scope in ask.scopes {
        if !rows.iter().any(|row| allows(row, scope, ask)) {
            return Err(ExchangeError::Scope(scope.clone()));
        }
    }
    Ok(match (ask.ceiling, ask.purpose) {
        // The component can derive nothing. Those whom it calls may go on as they would for anybody else.
        (Some(ceiling), Purpose::Component) => {
            forward_ceiling(ask.audience).into_iter().filter(|scope| is_within(scope, ceiling)).collect()
        }
        (Some(ceiling), _) => ceiling.to_vec(),
        (None, Purpose::Run) => RUN_CEILING.clone(),
        (None, Purpose::Forward) => {
            let mut ceiling = forward_ceiling(ask.audience);
            if ask.scopes.iter().any(|scope| scope == DELETE_CONVERSATIONS) {
                ceiling.push(WRITE_FILES.to_owned());
            }
            ceiling
        }
        // Without a proof that has a ceiling nothing can be derived.
        (None, Purpose::NextHop | Purpose::SubAgent | Purpose::Component) => Vec::new(),
    })
}

/// Whether a service may have resume grants.
pub fn may_hold_grants(presenter: &Peer) -> bool {
    presenter.is_service(crate::grant::PRESENTER)
}

/// The chain of a sub-agent: the agents before it, its caller last.
pub fn extend_chain(via: &[String], caller: &str) -> Result<Vec<String>, ExchangeError> {
    if via.len() >= MAX_VIA {
        return Err(ExchangeError::ChainTooDeep);
    }
    Ok(via.iter().cloned().chain([caller.to_owned()]).collect())
}

/// The role that serves a package. The engine serves the gateway's; others are named like their package.
pub fn role_of_package(package: &str) -> &str {
    if package == "gateway" { "engine" } else { package }
}

fn fits(row: &Row, ask: &Ask<'_>) -> bool {
    ask.presenter.is_service(row.presenter)
        && row.purpose == ask.purpose
        && row.proofs.contains(&ask.proof)
        && match row.audience {
            Audience::Roles(roles) => ask.audience.iter().all(|role| roles.contains(&role.as_str())),
            Audience::Serving => ask.audience.len() == 1,
        }
}

fn allows(row: &Row, scope: &str, ask: &Ask<'_>) -> bool {
    let within_ceiling = || ask.ceiling.is_some_and(|ceiling| is_within(scope, ceiling));
    match row.scopes {
        // The right to run is not part of what a run may do, so no ceiling names it.
        Scopes::Listed(listed) => {
            listed.contains(&scope) && (scope == RUN || ask.ceiling.is_none() || within_ceiling())
        }
        Scopes::Public => ask.audience.first().is_some_and(|role| is_public(scope, role)),
        Scopes::Ceiling => within_ceiling(),
    }
}

fn is_within(scope: &str, ceiling: &[String]) -> bool {
    scope
        .rsplit_once(':')
        .is_some_and(|(service, level)| ceiling.iter().any(|entry| covers(entry, service, level)))
}

/// Whether a scope is that of a public method which `role` serves.
fn is_public(scope: &str, role: &str) -> bool {
    METHODS.iter().any(|method| match method.rule {
        Rule::Access { level, .. } => {
            method.visibility == Visibility::Public
                && role_of_package(method.package) == role
                && is_scope(scope, method.service, level)
        }
        Rule::System { .. } => false,
    })
}

fn is_scope(scope: &str, service: &str, level: AccessLevel) -> bool {
    scope.rsplit_once(':').is_some_and(|(name, word)| name == service && word == level_word(level))
}

pub(crate) fn level_word(level: AccessLevel) -> &'static str {
    match level {
        AccessLevel::Read => "read",
        AccessLevel::Write => "write",
        AccessLevel::Owner => "owner",
    }
}

/// The most that a run may come to do: data of its own, models, code, tokens that its agent was granted; definitions and
/// settings only read, keys only used; nothing of API keys, audit, logs and other runs. Of this a plan declares its part.
static RUN_CEILING: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut ceiling: Vec<String> = Vec::new();
    // Highest level first: what owner covers need not be named.
    for wanted in [AccessLevel::Owner, AccessLevel::Write, AccessLevel::Read] {
        for method in METHODS {
            let Rule::Access { level, .. } = method.rule else { continue };
            if level != wanted || !may_run_use(method.package, method.service, level) {
                continue;
            }
            let scope = format!("{}:{}", method.service, level_word(level));
            if !is_within(&scope, &ceiling) {
                ceiling.push(scope);
            }
        }
    }
    ceiling
});

fn may_run_use(package: &str, service: &str, level: AccessLevel) -> bool {
    match package {
        "memory" | "io" => true,
        // Components run code and deploy it; taking it away is for people.
        "compute" => level != AccessLevel::Owner,
        "agent" | "llm" => level == AccessLevel::Read,
        "security" => {
            is_scope(USE_KEY, service, level)
                || is_scope(READ_SETTINGS, service, level)
                // Tokens that people granted the agent, which its components renew.
                || service == MANAGED && level != AccessLevel::Owner
        }
        _ => false,
    }
}

/// What may follow from a forwarded call: the rows of the service that is called, and of those it may call.
fn forward_ceiling(audience: &[String]) -> Vec<String> {
    let mut ceiling: Vec<String> = Vec::new();
    let mut to_visit: Vec<&str> = audience.iter().map(String::as_str).collect();
    let mut visited: Vec<&str> = Vec::new();
    while let Some(role) = to_visit.pop() {
        if visited.contains(&role) {
            continue;
        }
        visited.push(role);
        for row in TABLE.iter().filter(|row| row.presenter == role && row.purpose == Purpose::NextHop) {
            let scopes: &[&str] = match row.scopes {
                Scopes::Listed(listed) => listed,
                // For a forwarded call the engine reads definitions; it runs nothing.
                Scopes::Ceiling | Scopes::Public => &[READ_DEFINITION, READ_COMPONENTS],
            };
            if let (Audience::Roles(next), Scopes::Listed(_)) = (row.audience, row.scopes) {
                to_visit.extend(next);
            }
            for scope in scopes {
                if !ceiling.iter().any(|known| known == scope) {
                    ceiling.push((*scope).to_owned());
                }
            }
        }
    }
    ceiling
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;
