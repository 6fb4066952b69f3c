//! What can go wrong in a backend, and the one table to statuses.

use sre_proto::error::{Reason, status, with_metadata};
use tonic::{Code, Status};

/// An error of a backend.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CacheError {
    /// It cannot be reached. Nothing was done.
    #[error("the cache cannot be reached: {0}")]
    Unavailable(String),
    /// Whether a change took place is not known.
    #[error("the cache gave no answer, so that a change may or may not have been made: {0}")]
    Uncertain(String),
    /// Too much at once. Nothing was done.
    #[error("too many calls of the cache are under way: try again later")]
    Overloaded,
    /// There is no room, and nothing may be thrown out.
    #[error("the cache is full: {0}")]
    Full(String),
    /// An entry of the reference's can be read, replaced and deleted, and nothing else.
    #[error("an entry of the reference cannot be changed in part: set it anew")]
    ReadOnly,
    /// Others change the entry all the time.
    #[error("the entry changes all the time: try again")]
    Contended,
    /// Anything else.
    #[error("{0}")]
    Broken(String),
}

impl From<CacheError> for Status {
    fn from(failed: CacheError) -> Self {
        let (code, reason) = match &failed {
            CacheError::Unavailable(cause) | CacheError::Uncertain(cause) => {
                // What a backend says may name hosts: it is for the log.
                tracing::warn!(cause, "a cache backend is not available");
                let message = match &failed {
                    CacheError::Unavailable(_) => "the cache cannot be reached: try again later",
                    _ => "the cache gave no answer: read the entry before you repeat a change",
                };
                return status(Code::Unavailable, Reason::BackendUnavailable, message);
            }
            CacheError::Full(cause) => {
                tracing::warn!(cause, "a cache backend is full");
                let message = "the cache is full: delete some entries, or ask the operator for more room";
                return status(Code::ResourceExhausted, Reason::QuotaExceeded, message);
            }
            CacheError::Overloaded => (Code::ResourceExhausted, Reason::Overloaded),
            CacheError::ReadOnly => (Code::FailedPrecondition, Reason::InvalidArgument),
            CacheError::Contended => (Code::Aborted, Reason::VersionConflict),
            CacheError::Broken(cause) => {
                let error_id = sre_proto::ids::new_uuid().to_string();
                tracing::error!(error_id, cause, "internal error");
                let message = format!("internal error {error_id}: look for this id in the log");
                return with_metadata(Code::Internal, Reason::Internal, message, [("error_id", error_id)]);
            }
        };
        status(code, reason, failed.to_string())
    }
}
