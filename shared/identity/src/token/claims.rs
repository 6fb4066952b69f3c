//! What a token says.

use serde::{Deserialize, Serialize};
use sre_proto::security::v1 as proto;

use crate::candidate::Candidate;
use crate::spiffe::{SpiffeError, SpiffeId};

/// What a token was obtained for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Running an agent: `sub` is the agent.
    Run,
    /// A forwarded call: `sub` is the caller itself.
    Forward,
    /// The next hop of a call: `sub` stays.
    NextHop,
    /// Running another agent from inside a run.
    SubAgent,
    /// A component out of process, working for a run: `sub` stays, and the component alone may present it.
    Component,
}

impl Purpose {
    /// From a message's field; none where it is not set or not known.
    pub fn from_proto(number: i32) -> Option<Self> {
        match proto::Purpose::try_from(number) {
            Ok(proto::Purpose::Run) => Some(Self::Run),
            Ok(proto::Purpose::Forward) => Some(Self::Forward),
            Ok(proto::Purpose::NextHop) => Some(Self::NextHop),
            Ok(proto::Purpose::SubAgent) => Some(Self::SubAgent),
            Ok(proto::Purpose::Component) => Some(Self::Component),
            Ok(proto::Purpose::Unspecified) | Err(_) => None,
        }
    }

    /// As a message's field.
    pub fn to_proto(self) -> proto::Purpose {
        match self {
            Self::Run => proto::Purpose::Run,
            Self::Forward => proto::Purpose::Forward,
            Self::NextHop => proto::Purpose::NextHop,
            Self::SubAgent => proto::Purpose::SubAgent,
            Self::Component => proto::Purpose::Component,
        }
    }
}

/// The content of a token. Identities are SPIFFE ids in full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// Who signed it: `spiffe://<trust-domain>/service/security`.
    pub iss: String,
    /// For whom it acts: an agent, user or team. The Candidate of every decision.
    pub sub: String,
    /// Who alone may present it: a service.
    pub act: String,
    /// The agents that the chain passed through before `sub`, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub via: Vec<String>,
    /// The caller at the beginning of the chain.
    pub root: String,
    /// The roles that may accept it.
    pub aud: Vec<String>,
    /// What may be called: `<proto service>:<level>`.
    pub scope: Vec<String>,
    /// What tokens derived from this one may at most be for; never used directly.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ceil: Vec<String>,
    /// The token's own id.
    pub jti: String,
    /// When it was issued, in seconds since 1970.
    pub iat: i64,
    /// When it ends, in seconds since 1970.
    pub exp: i64,
    /// What it was obtained for.
    pub purpose: Purpose,
    /// The agent's full name, `teams/{team}/agents/{agent}`, where an agent is run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The subject's home team. A hint: Account decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// The same over the whole chain, to find its parts in logs.
    pub txn: String,
    /// The runs that its calls are made in, outermost first: see [`crate::runs`]. Only where the presenter's own word
    /// for it does not count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<String>,
}

impl Claims {
    /// The subject as a Candidate.
    pub fn candidate(&self) -> Result<Candidate, SpiffeError> {
        let id: SpiffeId = self.sub.parse()?;
        Candidate::try_from(id.principal()).map_err(|_| SpiffeError::Shape(self.sub.clone()))
    }

    /// Whether the scope covers a level of a proto service. `owner` covers all; `write` does not cover `read`.
    pub fn covers(&self, service: &str, level: &str) -> bool {
        self.scope.iter().any(|entry| covers(entry, service, level))
    }
}

/// Whether one scope entry covers a level of a proto service.
pub(crate) fn covers(entry: &str, service: &str, level: &str) -> bool {
    match entry.rsplit_once(':') {
        Some((name, given)) => name == service && (given == level || given == "owner"),
        None => false,
    }
}
