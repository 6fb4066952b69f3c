//! What can go wrong here, as kinds. `rescue` maps them to codes.

use sre_engine::issue::Issue;
use sre_store::StoreError;

/// An error of this service's domain.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// There is no such thing. Told only to callers who may know.
    #[error("{0} is not there")]
    NotFound(String),
    /// The access list changed after the decision: decide again.
    #[error("the access list was changed meanwhile: try again")]
    AclChanged,
    /// Another version is there.
    #[error("{0} is not the current one: read it again and repeat the change over that")]
    OtherVersion(&'static str),
    /// The id is taken.
    #[error("agent {0} exists: choose another id, or update it")]
    Exists(String),
    /// The name of a component type is taken.
    #[error("component type {0} is registered: choose another name, or put a version of it")]
    ComponentExists(String),
    /// The request id was used for another creation.
    #[error("request id {0} was used with another agent: use a fresh one")]
    RequestReused(String),
    /// A field of the request is wrong.
    #[error("{field}: {message}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// The document is wrong.
    #[error("the agent document has {} errors", .0.iter().filter(|issue| issue.is_error()).count())]
    Document(Vec<Issue>),
    /// More bytes than a document may have.
    #[error("the document is larger than {limit_bytes} bytes: split the agent")]
    TooLarge {
        /// How far.
        limit_bytes: usize,
    },
    /// A stored value cannot be read.
    #[error("stored {what} of agent {agent} cannot be read: {message}")]
    Damaged {
        /// The agent.
        agent: String,
        /// What.
        what: &'static str,
        /// Why.
        message: String,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}
