//! What can go wrong in the journal, and the one table to gRPC.

use sre_proto::error::{Reason, invalid_argument, status};
use sre_proto::memory::v1::ApprovalState;
use sre_store::{ErrorKind, StoreError};
use tonic::{Code, Status};

use super::approval::Decision;

/// An error of the journal.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    /// No such run.
    #[error("there is no such run")]
    RunNotFound,
    /// No such conversation.
    #[error("there is no such conversation")]
    ConversationNotFound,
    /// A conversation stands elsewhere than the writer thinks.
    #[error("the conversation has {version} messages, another number was expected: read it again")]
    ConversationMoved {
        /// How many it has.
        version: i64,
    },
    /// A turn holds the conversation.
    #[error("a turn of the conversation goes on: wait for its end, or cancel it")]
    ConversationHeld,
    /// No such session.
    #[error("there is no such session any more: open another and claim runs anew")]
    SessionNotFound,
    /// No such payload.
    #[error("the run has no payload with that digest: put it before the record that names it")]
    BlobNotFound,
    /// The session is over.
    #[error("the session is over: open another and claim runs anew")]
    SessionOver,
    /// Another owner holds the run.
    #[error("another owner holds the run: stop working on it")]
    Fenced,
    /// The request id, idempotency key or run id stands for something else.
    #[error("{0}")]
    AlreadyExists(&'static str),
    /// The run goes on.
    #[error("the run has not ended: cancel it first")]
    NotEnded,
    /// The run ended.
    #[error("the run has ended")]
    RunEnded,
    /// A session owns the run.
    #[error("an engine owns the run at the moment: try again")]
    RunBusy,
    /// Written by a newer release.
    #[error("the run is of record format {format}, which this engine does not read: use a newer release")]
    NewerFormat {
        /// The run's.
        format: i32,
    },
    /// The journal stands elsewhere than the writer thinks.
    #[error("the run's next record is {next}, another was expected: read it again")]
    OutOfSequence {
        /// Sequence of the next record.
        next: i64,
    },
    /// No such approval.
    #[error("the run has asked for no approval of that id")]
    ApprovalNotFound,
    /// Somebody decided otherwise.
    #[error("{by} has {state} it before")]
    AlreadyDecided {
        /// Who.
        by: String,
        /// What.
        state: &'static str,
    },
    /// Too late.
    #[error("the time to decide has passed, or the run has ended")]
    ApprovalExpired,
    /// The inbox is full.
    #[error("the run's inbox is full: it holds {limit} signals")]
    InboxFull {
        /// Signals it may hold.
        limit: u32,
    },
    /// An argument is wrong.
    #[error("{field}: {message}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What is wrong and what to do.
        message: String,
    },
    /// Something is larger than allowed.
    #[error("{field} is larger than {limit_bytes} bytes: {advice}")]
    TooLarge {
        /// The field.
        field: &'static str,
        /// The limit.
        limit_bytes: u64,
        /// The way out.
        advice: &'static str,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sre_store::rusqlite::Error> for JournalError {
    fn from(error: sre_store::rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

impl JournalError {
    /// A wrong argument.
    pub fn invalid(field: &'static str, message: impl Into<String>) -> Self {
        Self::Invalid { field, message: message.into() }
    }

    /// Somebody decided otherwise before.
    pub fn already_decided(before: &Decision) -> Self {
        let state = if before.state == ApprovalState::Approved { "approved" } else { "rejected" };
        Self::AlreadyDecided { by: before.decided_by.clone(), state }
    }

    /// The reason that clients may branch on.
    pub fn reason(&self) -> Reason {
        match self {
            Self::RunNotFound | Self::SessionNotFound | Self::BlobNotFound | Self::ApprovalNotFound => {
                Reason::NotFound
            }
            Self::ConversationNotFound => Reason::NotFound,
            Self::RunEnded => Reason::RunState,
            Self::RunBusy | Self::ConversationHeld => Reason::RunBusy,
            Self::NewerFormat { .. } => Reason::RecordFormat,
            Self::OutOfSequence { .. } | Self::ConversationMoved { .. } => Reason::VersionConflict,
            Self::AlreadyDecided { .. } => Reason::AlreadyDecided,
            Self::ApprovalExpired => Reason::Expired,
            Self::SessionOver | Self::Fenced => Reason::Fenced,
            Self::AlreadyExists(_) => Reason::AlreadyExists,
            Self::NotEnded | Self::Invalid { .. } => Reason::InvalidArgument,
            Self::InboxFull { .. } => Reason::Overloaded,
            Self::TooLarge { .. } => Reason::TooLarge,
            Self::Store(error) => match error.kind() {
                ErrorKind::Overloaded | ErrorKind::Busy => Reason::Overloaded,
                ErrorKind::Unavailable | ErrorKind::Closed | ErrorKind::Io => Reason::BackendUnavailable,
                _ => Reason::Internal,
            },
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::RunNotFound
            | Self::SessionNotFound
            | Self::BlobNotFound
            | Self::ApprovalNotFound
            | Self::ConversationNotFound => Code::NotFound,
            // Not ABORTED, which clients retry: nothing the caller repeats will succeed.
            Self::SessionOver
            | Self::Fenced
            | Self::NotEnded
            | Self::RunEnded
            | Self::RunBusy
            | Self::NewerFormat { .. }
            | Self::OutOfSequence { .. }
            | Self::ConversationMoved { .. }
            | Self::ConversationHeld
            | Self::AlreadyDecided { .. }
            | Self::ApprovalExpired => Code::FailedPrecondition,
            Self::AlreadyExists(_) => Code::AlreadyExists,
            Self::InboxFull { .. } => Code::ResourceExhausted,
            Self::Invalid { .. } | Self::TooLarge { .. } => Code::InvalidArgument,
            Self::Store(error) => match error.kind() {
                ErrorKind::Overloaded => Code::ResourceExhausted,
                ErrorKind::Busy | ErrorKind::Unavailable | ErrorKind::Closed | ErrorKind::Io => {
                    Code::Unavailable
                }
                _ => Code::Internal,
            },
        }
    }
}

impl From<JournalError> for Status {
    fn from(error: JournalError) -> Self {
        match &error {
            JournalError::Invalid { field, message } => invalid_argument(field, message),
            // Callers learn an id; the cause, which may name files, is in the log.
            JournalError::Store(cause) if error.code() != Code::ResourceExhausted => {
                let error_id = sre_proto::ids::new_uuid().to_string();
                // An outage is told by who notices it, once; its callers try again.
                if matches!(cause.kind(), ErrorKind::Busy | ErrorKind::Unavailable) {
                    tracing::warn!(%error_id, %cause, "the journal's store is away");
                } else {
                    tracing::error!(%error_id, %cause, "the journal's store failed");
                }
                sre_proto::error::with_metadata(
                    error.code(),
                    error.reason(),
                    "the journal's store failed: look for the error id in the log of memory",
                    [("error_id", error_id)],
                )
            }
            _ => status(error.code(), error.reason(), error.to_string()),
        }
    }
}
