//! Resume grants: what a journal keeps so that a run can go on after its tokens ended.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::candidate::Candidate;
use crate::spiffe::{SpiffeError, SpiffeId};

/// The longest life of a grant.
pub const MAX_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);

/// The one role that may present a grant, and only at `Identity.Exchange`.
pub const PRESENTER: &str = "engine";

/// The header type: no service takes a grant for a token.
pub(crate) const TYP: &str = "sre-rg+jwt";

/// The content of a grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Who signed it: `spiffe://<trust-domain>/service/security`.
    pub iss: String,
    /// The agent that runs.
    pub sub: String,
    /// The agents that the chain passed through before `sub`, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub via: Vec<String>,
    /// The caller at the beginning of the chain; its rights are checked again at each use.
    pub root: String,
    /// What tokens obtained by the grant may at most be for.
    pub ceil: Vec<String>,
    /// The grant's own id, which can be revoked.
    pub jti: String,
    /// When it was issued, in seconds since 1970.
    pub iat: i64,
    /// When it ends, in seconds since 1970.
    pub exp: i64,
    /// The agent's full name, `teams/{team}/agents/{agent}`.
    pub agent: String,
    /// The subject's home team when the grant was issued. A hint: Account decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// The same over the whole chain.
    pub txn: String,
}

impl Grant {
    /// The subject as a Candidate.
    pub fn candidate(&self) -> Result<Candidate, SpiffeError> {
        let id: SpiffeId = self.sub.parse()?;
        Candidate::try_from(id.principal()).map_err(|_| SpiffeError::Shape(self.sub.clone()))
    }
}
