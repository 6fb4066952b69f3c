//! What can go wrong here, as kinds, and the one table from them to codes.

use sre_service::connectors::NoInstance;
use sre_store::StoreError;
use sre_vectors::BackendError;

use crate::basis::ConditionFailed;
use crate::storage::connectors::ObjectError;

/// An error of this service's domain.
#[derive(Debug, thiserror::Error)]
pub enum IoError {
    /// There is no such thing. Told only to callers who may know.
    #[error("{0} is not there")]
    NotFound(String),
    /// The access list changed after the decision: decide again.
    #[error("the access list was changed meanwhile: try again")]
    AclChanged,
    /// Another version is there.
    #[error("the version given is not the current one: read it again and repeat the change over that")]
    OtherVersion,
    /// There is one already.
    #[error("there is one already: leave if_absent out to replace it")]
    Exists,
    /// A field of the request is wrong.
    #[error("{field}: {message}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// More bytes than one thing may have.
    #[error("larger than {limit_bytes} bytes, the most that {what} may have")]
    TooLarge {
        /// What is limited.
        what: &'static str,
        /// How far.
        limit_bytes: u64,
    },
    /// The team holds as much as it may.
    #[error("the quota of team {team} for {what} is used up: delete some first")]
    Quota {
        /// The team.
        team: String,
        /// What is limited.
        what: &'static str,
    },
    /// The upload ended before it was whole.
    #[error("the upload ended before it was whole: {0}")]
    Interrupted(String),
    /// A backend cannot be reached. Nothing was done.
    #[error("the store cannot be reached: {0}")]
    Unavailable(String),
    /// A backend gave no answer: a change may or may not have been made.
    #[error("the store gave no answer: {0}")]
    Uncertain(String),
    /// Too many calls of a backend are under way. Nothing was done.
    #[error("too many calls of the store are under way: try again later")]
    Overloaded,
    /// A backend has no room.
    #[error("the store is full: {0}")]
    Full(String),
    /// A backend refuses, or holds what it should not.
    #[error("{0}")]
    Broken(String),
    /// A request id was used before, for something else.
    #[error("the request id was used for another request: choose a new one")]
    OtherRequest,
    /// The configuration has no such instance, or it is not open.
    #[error(transparent)]
    NoInstance(#[from] NoInstance),
    /// A backend of vectors.
    #[error(transparent)]
    Vectors(BackendError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The backend of objects.
    #[error(transparent)]
    Object(#[from] ObjectError),
}

impl From<ConditionFailed> for IoError {
    fn from(failed: ConditionFailed) -> Self {
        match failed {
            ConditionFailed::OtherVersion => Self::OtherVersion,
            ConditionFailed::Exists => Self::Exists,
        }
    }
}

impl From<rusqlite::Error> for IoError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}
