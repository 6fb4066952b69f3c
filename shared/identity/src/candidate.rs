//! On whose behalf something is done.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};
use sre_proto::types::v1 as proto;

use crate::spiffe::{Kind, Principal};

/// The longest id, in characters.
pub const MAX_ID_CHARS: usize = 64;

/// The one id of [`Role::Public`].
pub const PUBLIC_ID: &str = "public";

/// Whether `id` may name an agent, a user or a team: `[A-Za-z0-9_-]{1,64}`, and not the single `-`, which
/// stands for the caller's home team in resource names.
pub fn is_valid_id(id: &str) -> bool {
    (1..=MAX_ID_CHARS).contains(&id.len())
        && id != "-"
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// The kind of a Candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// An agent.
    Agent,
    /// A person.
    User,
    /// A team.
    Team,
    /// Everybody.
    Public,
}

impl Role {
    /// The role's word in texts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::User => "user",
            Self::Team => "team",
            Self::Public => "public",
        }
    }
}

/// Why a text or message is not a Candidate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CandidateError {
    /// The id has other characters or another length.
    #[error(
        "invalid id {0:?}: use 1 to 64 ASCII letters, digits, hyphens and underscores, not a single hyphen"
    )]
    Id(String),
    /// The role is unknown.
    #[error("unknown role {0:?}: use agent, user, team or public")]
    Role(String),
    /// The text is not `role/id`.
    #[error("invalid candidate {0:?}: write it as `role/id`, for example `user/alice`")]
    Shape(String),
    /// Public has one id.
    #[error("invalid public id {0:?}: the only one is `public`")]
    PublicId(String),
}

/// The id of a team.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TeamId(Arc<str>);

impl TeamId {
    /// Checks an id.
    pub fn new(id: &str) -> Result<Self, CandidateError> {
        if !is_valid_id(id) {
            return Err(CandidateError::Id(id.to_owned()));
        }
        Ok(Self(id.into()))
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The team as a Candidate.
    pub fn candidate(&self) -> Candidate {
        Candidate { role: Role::Team, id: self.0.clone() }
    }
}

impl fmt::Display for TeamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who acts: an immutable pair of role and id, written `user/alice`. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Candidate {
    role: Role,
    id: Arc<str>,
}

impl Candidate {
    /// Checks and builds a Candidate.
    ///
    /// ```
    /// use sre_identity::{Candidate, Role};
    /// let alice = Candidate::new(Role::User, "alice")?;
    /// assert_eq!(alice.to_string(), "user/alice");
    /// assert!(Candidate::new(Role::Agent, "../x").is_err());
    /// # Ok::<(), sre_identity::candidate::CandidateError>(())
    /// ```
    pub fn new(role: Role, id: &str) -> Result<Self, CandidateError> {
        if role == Role::Public && id != PUBLIC_ID {
            return Err(CandidateError::PublicId(id.to_owned()));
        }
        if !is_valid_id(id) {
            return Err(CandidateError::Id(id.to_owned()));
        }
        Ok(Self { role, id: id.into() })
    }

    /// An agent.
    pub fn agent(id: &str) -> Result<Self, CandidateError> {
        Self::new(Role::Agent, id)
    }

    /// A person.
    pub fn user(id: &str) -> Result<Self, CandidateError> {
        Self::new(Role::User, id)
    }

    /// A team.
    pub fn team(id: &str) -> Result<Self, CandidateError> {
        Self::new(Role::Team, id)
    }

    /// Everybody. There is one such Candidate: the reference looked it up under an empty id and stored it under
    /// another (hole H1).
    pub fn public() -> Self {
        static PUBLIC: LazyLock<Arc<str>> = LazyLock::new(|| PUBLIC_ID.into());
        Self { role: Role::Public, id: PUBLIC.clone() }
    }

    /// The kind.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The principal that this Candidate is when it calls by itself; none for the public.
    pub fn principal(&self) -> Option<Principal> {
        let kind = match self.role {
            Role::Agent => Kind::Agent,
            Role::User => Kind::User,
            Role::Team => Kind::Team,
            Role::Public => return None,
        };
        Principal::new(kind, &self.id).ok()
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.role.as_str(), self.id)
    }
}

impl FromStr for Role {
    type Err = CandidateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "agent" => Ok(Self::Agent),
            "user" => Ok(Self::User),
            "team" => Ok(Self::Team),
            "public" => Ok(Self::Public),
            other => Err(CandidateError::Role(other.to_owned())),
        }
    }
}

impl FromStr for Candidate {
    type Err = CandidateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (role, id) = text.split_once('/').ok_or_else(|| CandidateError::Shape(text.to_owned()))?;
        Self::new(role.parse()?, id)
    }
}

impl TryFrom<String> for Candidate {
    type Error = CandidateError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Candidate> for String {
    fn from(candidate: Candidate) -> Self {
        candidate.to_string()
    }
}

impl TryFrom<&Principal> for Candidate {
    type Error = CandidateError;

    /// Fails for services: a service never is a data Candidate.
    fn try_from(principal: &Principal) -> Result<Self, Self::Error> {
        match principal.kind() {
            Kind::Agent => Self::agent(principal.name()),
            Kind::User => Self::user(principal.name()),
            Kind::Team => Self::team(principal.name()),
            Kind::Service => Err(CandidateError::Role("service".to_owned())),
        }
    }
}

impl From<Role> for proto::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Agent => Self::Agent,
            Role::User => Self::User,
            Role::Team => Self::Team,
            Role::Public => Self::Public,
        }
    }
}

impl TryFrom<proto::Role> for Role {
    type Error = CandidateError;

    fn try_from(role: proto::Role) -> Result<Self, Self::Error> {
        match role {
            proto::Role::Agent => Ok(Self::Agent),
            proto::Role::User => Ok(Self::User),
            proto::Role::Team => Ok(Self::Team),
            proto::Role::Public => Ok(Self::Public),
            proto::Role::Unspecified => Err(CandidateError::Role("unspecified".to_owned())),
        }
    }
}

impl From<&Candidate> for proto::Candidate {
    fn from(candidate: &Candidate) -> Self {
        Self { role: proto::Role::from(candidate.role).into(), id: candidate.id.to_string() }
    }
}

impl TryFrom<&proto::Candidate> for Candidate {
    type Error = CandidateError;

    fn try_from(message: &proto::Candidate) -> Result<Self, Self::Error> {
        let role = proto::Role::try_from(message.role)
            .map_err(|_| CandidateError::Role(message.role.to_string()))?;
        Self::new(role.try_into()?, &message.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_go_both_ways() {
        for text in ["agent/a_B-9", "user/alice", "team/default", "public/public"] {
            assert_eq!(text.parse::<Candidate>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn ids_outside_the_set_are_refused() {
        let long = "x".repeat(65);
        for id in ["", "-", "a b", "../x", "a/b", "ü", "a.b", "a\0", long.as_str()] {
            assert!(Candidate::agent(id).is_err(), "{id:?}");
            assert!(TeamId::new(id).is_err(), "{id:?}");
        }
        assert!(Candidate::agent(&"x".repeat(64)).is_ok());
    }

    #[test]
    fn shapes_outside_the_grammar_are_refused() {
        for text in
            ["", "alice", "user", "user/", "/alice", "User/alice", "service/io", "user/a/b", " user/a"]
        {
            assert!(text.parse::<Candidate>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn h1_there_is_one_public_identity() {
        assert!(Candidate::new(Role::Public, "").is_err());
        assert!(Candidate::new(Role::Public, "everyone").is_err());
        assert_eq!(Candidate::new(Role::Public, "public").unwrap(), Candidate::public());
    }

    #[test]
    fn h13_a_service_is_never_a_candidate() {
        let service = Principal::new(Kind::Service, "io").unwrap();
        assert!(Candidate::try_from(&service).is_err());
    }

    #[test]
    fn messages_go_both_ways() {
        let alice = Candidate::user("alice").unwrap();
        let message = proto::Candidate::from(&alice);
        assert_eq!(Candidate::try_from(&message).unwrap(), alice);
        assert!(Candidate::try_from(&proto::Candidate { role: 0, id: "a".into() }).is_err());
        assert!(Candidate::try_from(&proto::Candidate { role: 99, id: "a".into() }).is_err());
    }
}
