//! What can go wrong in this role, and the one table from it to statuses.

use sre_proto::error::{self, Reason};
use sre_store::{ErrorKind, StoreError};
use tonic::{Code, Status};

/// An error of the security domain.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A field of the request is wrong.
    #[error("{field}: {message}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What is wrong and what is expected.
        message: String,
    },
    /// There is no such thing, and the caller may know.
    #[error("{0} does not exist")]
    NotFound(String),
    /// The vault has no such key.
    #[error("the vault has no key {0:?}: set it, or name another key")]
    SecretNotFound(String),
    /// There is one already.
    #[error("{0}")]
    AlreadyExists(String),
    /// The state forbids it.
    #[error("{0}")]
    Precondition(String),
    /// The caller may not.
    #[error("{message}")]
    Denied {
        /// The stable reason.
        reason: Reason,
        /// What is refused; tells nothing that the caller may not know.
        message: String,
    },
    /// The proof of identity does not hold.
    #[error("{message}")]
    Credentials {
        /// The stable reason.
        reason: Reason,
        /// What is wrong with it; never the credential.
        message: String,
    },
    /// Too much of something.
    #[error("{0}")]
    Exhausted(String),
    /// Somebody else changed it meanwhile.
    #[error("{0}")]
    Conflict(String),
    /// Not now.
    #[error("{0}")]
    Busy(String),
    /// Another role or a backend is away.
    #[error("{message}")]
    Unavailable {
        /// The stable reason.
        reason: Reason,
        /// What is away.
        message: String,
    },
    /// Declared, not built.
    #[error("{0} is not built yet")]
    NotImplemented(&'static str),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Anything that a caller cannot do anything about.
    #[error("{0}")]
    Internal(String),
    /// A status of another layer, passed on as it is.
    #[error("{0}")]
    Status(Box<Status>),
}

impl Error {
    /// A wrong field.
    pub fn invalid(field: &'static str, message: impl Into<String>) -> Self {
        Self::Invalid { field, message: message.into() }
    }

    /// A refusal.
    pub fn denied(reason: Reason, message: impl Into<String>) -> Self {
        Self::Denied { reason, message: message.into() }
    }

    /// A credential that does not hold.
    pub fn credentials(reason: Reason, message: impl Into<String>) -> Self {
        Self::Credentials { reason, message: message.into() }
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::Invalid { field, message } => error::invalid_argument(field, message),
            Error::NotFound(_) => error::status(Code::NotFound, Reason::NotFound, text),
            Error::SecretNotFound(key) => {
                error::with_metadata(Code::NotFound, Reason::SecretNotFound, text, [("key", key)])
            }
            Error::AlreadyExists(_) => error::status(Code::AlreadyExists, Reason::AlreadyExists, text),
            Error::Precondition(_) => error::status(Code::FailedPrecondition, Reason::InvalidArgument, text),
            Error::Denied { reason, message } => error::status(Code::PermissionDenied, reason, message),
            Error::Credentials { reason, message } => error::status(Code::Unauthenticated, reason, message),
            Error::Exhausted(_) => error::status(Code::ResourceExhausted, Reason::QuotaExceeded, text),
            Error::Conflict(_) => error::status(Code::Aborted, Reason::VersionConflict, text),
            Error::Busy(_) => error::status(Code::ResourceExhausted, Reason::Overloaded, text),
            Error::Unavailable { reason, message } => error::status(Code::Unavailable, reason, message),
            Error::NotImplemented(method) => error::not_implemented(method),
            Error::Store(cause) => of_store(&cause),
            Error::Internal(cause) => internal(&cause),
            Error::Status(status) => *status,
        }
    }
}

fn of_store(cause: &StoreError) -> Status {
    match cause.kind() {
        ErrorKind::Overloaded | ErrorKind::Busy => {
            error::status(Code::ResourceExhausted, Reason::Overloaded, "the store is busy: try again")
        }
        ErrorKind::Closed => {
            error::status(Code::Unavailable, Reason::BackendUnavailable, "the store is closing: try again")
        }
        _ => internal(&cause.to_string()),
    }
}

/// Logs the cause under an id and tells the caller the id alone.
fn internal(cause: &str) -> Status {
    let error_id = sre_proto::ids::new_uuid().to_string();
    tracing::error!(error_id, cause, "a call of the security role failed inside");
    error::with_metadata(
        Code::Internal,
        Reason::Internal,
        format!("something failed inside: the log has it under {error_id}"),
        [("error_id", error_id)],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_is_busy_can_be_tried_again() {
        let status = Status::from(Error::Store(StoreError::Busy { message: "x".into() }));
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(error::reason(&status), Some(Reason::Overloaded));
    }

    #[test]
    fn a_missing_secret_names_its_key_for_machines() {
        let status = Status::from(Error::SecretNotFound("openai".into()));
        assert_eq!(status.code(), Code::NotFound);
        assert_eq!(error::reason(&status), Some(Reason::SecretNotFound));
        assert!(status.message().contains("openai"));
    }
}
