//! SPIFFE identities: `spiffe://<trust-domain>/<kind>/<name>`, and the table that maps other shapes to services.

mod pattern;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

pub use pattern::{PatternError, PatternRule, PatternTable};

use crate::candidate::is_valid_id;

/// The trust domain of a deployment that configures none.
pub const DEFAULT_TRUST_DOMAIN: &str = "sre.local";

/// The longest name of a service, as DNS labels allow.
const MAX_SERVICE_CHARS: usize = 63;

/// What is wrong with an identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeError {
    /// Not a trust domain.
    #[error("invalid trust domain {0:?}: use 1 to 255 of a-z, 0-9, dot, hyphen and underscore")]
    TrustDomain(String),
    /// Not a SPIFFE id of ours.
    #[error(
        "invalid identity {0:?}: it has the form spiffe://<trust-domain>/<agent|user|team|service>/<name>"
    )]
    Shape(String),
    /// The kind is unknown.
    #[error("unknown kind {0:?}: use agent, user, team or service")]
    Kind(String),
    /// The name has other characters or another length.
    #[error("invalid {kind} name {name:?}")]
    Name {
        /// The kind whose rule is broken.
        kind: Kind,
        /// The name.
        name: String,
    },
}

/// The trust domain: who vouches for identities.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// Checks a trust domain.
    pub fn new(text: &str) -> Result<Self, SpiffeError> {
        let valid = (1..=255).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-' || b == b'_');
        if valid { Ok(Self(text.into())) } else { Err(SpiffeError::TrustDomain(text.to_owned())) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What kind of principal holds an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// An agent's own workload.
    Agent,
    /// A person's device.
    User,
    /// A team's automation.
    Team,
    /// A service of the suite; never a data Candidate.
    Service,
}

impl Kind {
    /// The kind's word in identities.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::User => "user",
            Self::Team => "team",
            Self::Service => "service",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = SpiffeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "agent" => Ok(Self::Agent),
            "user" => Ok(Self::User),
            "team" => Ok(Self::Team),
            "service" => Ok(Self::Service),
            other => Err(SpiffeError::Kind(other.to_owned())),
        }
    }
}

/// A kind and a name, written `service/io`. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Principal {
    kind: Kind,
    name: Arc<str>,
}

impl Principal {
    /// Checks and builds a principal.
    pub fn new(kind: Kind, name: &str) -> Result<Self, SpiffeError> {
        let valid = match kind {
            Kind::Service => is_service_name(name),
            Kind::Agent | Kind::User | Kind::Team => is_valid_id(name),
        };
        if !valid {
            return Err(SpiffeError::Name { kind, name: name.to_owned() });
        }
        Ok(Self { kind, name: name.into() })
    }

    /// A service of the suite, by its role.
    pub fn service(role: &str) -> Result<Self, SpiffeError> {
        Self::new(Kind::Service, role)
    }

    /// The kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether this is the service of that role.
    pub fn is_service(&self, role: &str) -> bool {
        self.kind == Kind::Service && &*self.name == role
    }

    /// The identity in a trust domain.
    pub fn in_domain(&self, trust_domain: &TrustDomain) -> SpiffeId {
        SpiffeId::new(trust_domain, self.clone())
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

impl FromStr for Principal {
    type Err = SpiffeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, name) = text.split_once('/').ok_or_else(|| SpiffeError::Shape(text.to_owned()))?;
        Self::new(kind.parse()?, name)
    }
}

/// `[a-z][a-z0-9-]{0,62}`.
pub(crate) fn is_service_name(name: &str) -> bool {
    name.len() <= MAX_SERVICE_CHARS
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// An identity in its canonical form. Cheap to clone.
///
/// ```
/// use sre_identity::{Kind, SpiffeId};
/// let id: SpiffeId = "spiffe://sre.local/service/io".parse()?;
/// assert_eq!(id.principal().kind(), Kind::Service);
/// assert!("spiffe://sre.local/service/io/x".parse::<SpiffeId>().is_err());
/// # Ok::<(), sre_identity::spiffe::SpiffeError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SpiffeId {
    trust_domain: TrustDomain,
    principal: Principal,
    text: Arc<str>,
}

impl SpiffeId {
    /// The identity of a principal in a trust domain.
    pub fn new(trust_domain: &TrustDomain, principal: Principal) -> Self {
        let text = format!("spiffe://{trust_domain}/{principal}").into();
        Self { trust_domain: trust_domain.clone(), principal, text }
    }

    /// Who vouches.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Who it is.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeError;

    /// Strict: no percent-decoding, no normalisation, exactly two path segments.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shape = || SpiffeError::Shape(text.to_owned());
        let rest = text.strip_prefix("spiffe://").ok_or_else(shape)?;
        let (domain, path) = rest.split_once('/').ok_or_else(shape)?;
        let trust_domain = TrustDomain::new(domain)?;
        Ok(Self::new(&trust_domain, path.parse()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_go_both_ways() {
        for text in [
            "spiffe://sre.local/agent/a_B-9",
            "spiffe://sre.local/user/alice",
            "spiffe://prod_1.example-x.org/team/t",
            "spiffe://sre.local/service/observability",
        ] {
            assert_eq!(text.parse::<SpiffeId>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn other_shapes_are_refused() {
        for text in [
            "",
            "spiffe://",
            "spiffe://sre.local",
            "spiffe://sre.local/",
            "spiffe://sre.local/agent",
            "spiffe://sre.local/agent/",
            "spiffe://sre.local//a",
            "spiffe://sre.local/agent/a/b",
            "spiffe://sre.local/agent/a%62",
            "spiffe://sre.local/agent/a?x",
            "spiffe://sre.local/agent/a#x",
            "spiffe://SRE.local/agent/a",
            "spiffe://sre.local:443/agent/a",
            "spiffe://user@sre.local/agent/a",
            "SPIFFE://sre.local/agent/a",
            "https://sre.local/agent/a",
            "spiffe://sre.local/robot/a",
            "spiffe://sre.local/public/public",
            "spiffe://sre.local/service/IO",
            "spiffe://sre.local/service/1io",
            "spiffe://sre.local/service/i_o",
            "spiffe:///agent/a",
        ] {
            assert!(text.parse::<SpiffeId>().is_err(), "{text:?}");
        }
    }
}
