//! The one table from this service's errors to statuses. Internal causes are logged under an id; the client
//! gets the id.

use sre_proto::error::{self, Reason, with_metadata};
use sre_store::{ErrorKind, StoreError};
use sre_vectors::BackendError;
use tonic::{Code, Status};

use crate::error::IoError;
use crate::storage::connectors::ObjectError;

impl From<IoError> for Status {
    fn from(failed: IoError) -> Self {
        let message = failed.to_string();
        let (code, reason) = match failed {
            IoError::NotFound(_) => (Code::NotFound, Reason::NotFound),
            IoError::AclChanged | IoError::OtherVersion => (Code::Aborted, Reason::VersionConflict),
            IoError::Exists => (Code::AlreadyExists, Reason::AlreadyExists),
            IoError::Invalid { field, message } => return error::invalid_argument(field, message),
            IoError::TooLarge { .. } => (Code::ResourceExhausted, Reason::TooLarge),
            IoError::Quota { .. } => (Code::ResourceExhausted, Reason::QuotaExceeded),
            IoError::Interrupted(_) => (Code::Aborted, Reason::Cancelled),
            IoError::Unavailable(cause) => {
                return unavailable(&cause, "the store cannot be reached: try again");
            }
            IoError::Uncertain(cause) => {
                let message = "the store gave no answer: read the value before you repeat a change";
                return unavailable(&cause, message);
            }
            IoError::Overloaded => (Code::ResourceExhausted, Reason::Overloaded),
            IoError::Full(cause) => return full(&cause),
            IoError::Broken(cause) => return internal(&cause),
            IoError::OtherRequest => (Code::AlreadyExists, Reason::AlreadyExists),
            IoError::NoInstance(error) => return error.into(),
            IoError::Vectors(error) => return vectors(&error),
            IoError::Store(error) => return store(&error),
            IoError::Object(ObjectError::Unavailable { .. }) => {
                return unavailable(&message, "the storage backend cannot be reached: try again");
            }
            IoError::Object(ObjectError::Full { .. }) => return full(&message),
            IoError::Object(error) => return internal(&error.to_string()),
        };
        error::status(code, reason, message)
    }
}

fn store(failed: &StoreError) -> Status {
    match failed.kind() {
        ErrorKind::Overloaded | ErrorKind::Busy => {
            error::status(Code::ResourceExhausted, Reason::Overloaded, failed.to_string())
        }
        ErrorKind::Unavailable => {
            error::status(Code::Unavailable, Reason::BackendUnavailable, failed.to_string())
        }
        ErrorKind::Closed => {
            let message = "the service is stopping: try again";
            error::status(Code::Unavailable, Reason::BackendUnavailable, message)
        }
        _ => internal(&failed.to_string()),
    }
}

/// What a backend says may name hosts: it is for the log.
fn unavailable(cause: &str, message: &str) -> Status {
    tracing::warn!(cause, "a backend is not available");
    error::status(Code::Unavailable, Reason::BackendUnavailable, message)
}

fn full(cause: &str) -> Status {
    tracing::warn!(cause, "a backend is full");
    let message = "the store is full: delete some, or ask the operator for more room";
    error::status(Code::ResourceExhausted, Reason::QuotaExceeded, message)
}

fn vectors(failed: &BackendError) -> Status {
    match failed {
        BackendError::Unavailable(_) => {
            // What the backend said is for the operator.
            tracing::warn!(cause = %failed, "the backend of vectors does not answer");
            let message = "the backend of vectors does not answer: try again";
            error::status(Code::Unavailable, Reason::BackendUnavailable, message)
        }
        BackendError::Full(_) => {
            tracing::warn!(cause = %failed, "the backend of vectors takes no more");
            let message = "the backend of vectors takes no more now: try again later";
            error::status(Code::ResourceExhausted, Reason::Overloaded, message)
        }
        BackendError::Refused(message) => error::invalid_argument("rows", message.as_str()),
        BackendError::Failed(cause) => internal(cause),
    }
}

fn internal(cause: &str) -> Status {
    let error_id = sre_proto::ids::new_uuid().to_string();
    tracing::error!(error_id, cause, "internal error");
    let message = format!("internal error {error_id}: look for this id in the log");
    with_metadata(Code::Internal, Reason::Internal, message, [("error_id", error_id)])
}
