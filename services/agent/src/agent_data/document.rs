//! A document that was looked at: what is wrong with it, and what it says.

use serde_json::Value as Json;
use sre_engine::issue::Issue;
use sre_engine::plan::{Identity, Skill};
use sre_engine::{Types, compile};

use crate::error::AgentError;

/// The most bytes of a document: it must fit into a message.
pub const MAX_DOCUMENT_BYTES: usize = 4 << 20;

/// A document that may be stored.
#[derive(Debug)]
pub struct Checked {
    /// What it says about the agent as a whole.
    pub identity: Identity,
    /// Its skills.
    pub skills: Vec<Skill>,
    /// What is doubtful.
    pub warnings: Vec<Issue>,
}

/// The name of a document's content: `b3:` and 64 hex digits.
pub fn digest(document: &[u8]) -> String {
    format!("b3:{}", blake3::hash(document).to_hex())
}

/// Reads a document; refuses one that is too large or that no run could load.
pub fn check(document: &[u8], types: &dyn Types, limit_bytes: usize) -> Result<Checked, AgentError> {
    if document.len() > limit_bytes {
        return Err(AgentError::TooLarge { limit_bytes });
    }
    let json = read(document)?;
    let plan = compile(&json, types).map_err(AgentError::Document)?;
    Ok(Checked {
        identity: plan.identity().clone(),
        skills: plan.skills(),
        warnings: plan.warnings().to_vec(),
    })
}

/// Everything that is wrong with a document, errors first, and its skills where it has any.
pub fn findings(
    document: &[u8],
    types: &dyn Types,
    limit_bytes: usize,
) -> Result<(Vec<Issue>, Vec<Skill>), AgentError> {
    match check(document, types, limit_bytes) {
        Ok(checked) => Ok((checked.warnings, checked.skills)),
        Err(AgentError::Document(issues)) => Ok((issues, Vec::new())),
        Err(other) => Err(other),
    }
}

/// Reads a document's JSON.
pub fn read(document: &[u8]) -> Result<Json, AgentError> {
    serde_json::from_slice(document).map_err(|error| {
        let issue = Issue::error(format!("is not JSON: {error}"))
            .field("document_json")
            .hint("an agent is one JSON object with the lists components and connections");
        AgentError::Document(vec![issue])
    })
}

/// The bare object of a document, with today's names.
pub fn bare(document: &[u8]) -> Result<Json, AgentError> {
    let mut issues = Vec::new();
    match sre_engine::document::parse(&read(document)?, &mut issues) {
        Some(document) => Ok(document.bare),
        None => Err(AgentError::Document(issues)),
    }
}

/// What is said where a document's own id is not the one it is stored under.
pub fn id_warning(identity: &Identity, stored: &str) -> Option<Issue> {
    let own = identity.id.as_deref().filter(|own| *own != stored)?;
    let issue = Issue::warning(format!("the document's id is {own}, it is stored as {stored}"));
    Some(issue.field("id").hint("make them equal, so that a later put finds the same agent"))
}
