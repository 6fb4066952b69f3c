//! The closed list of what can go wrong.

use redis::{ErrorKind, ServerErrorKind};

/// An error of a call.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RedisError {
    /// The settings are wrong.
    #[error("{0}")]
    Settings(String),
    /// The server cannot be reached, or is not ready. Nothing was done.
    #[error("{server} cannot be reached: {message}")]
    Unavailable {
        /// Which server.
        server: String,
        /// What happened.
        message: String,
    },
    /// The connection was lost, or no answer came in time. Whether a change took place is not known: read before
    /// repeating it.
    #[error("{server} gave no answer: {message}")]
    NoAnswer {
        /// Which server.
        server: String,
        /// What happened.
        message: String,
    },
    /// Too many calls are under way. Nothing was done.
    #[error("too many calls of {server} are under way: try again later")]
    Overloaded {
        /// Which server.
        server: String,
    },
    /// The server has no room for more. Nothing was done.
    #[error("{server} is full: raise its maxmemory or delete some")]
    Full {
        /// Which server.
        server: String,
    },
    /// The server refused: a right is missing, a key has another type, a script is wrong.
    #[error("{server} refuses: {message}")]
    Refused {
        /// Which server.
        server: String,
        /// What it said.
        message: String,
    },
}

/// What to do about a failed attempt.
pub(crate) enum Verdict {
    /// Nothing was done, and another connection may do it.
    Again(RedisError),
    /// It is not known whether it was done, and the connection is of no use any more.
    Lost(RedisError),
    /// Final, and the connection is fine.
    Final(RedisError),
}

pub(crate) fn judge(error: &redis::RedisError, server: &str) -> Verdict {
    let server = server.to_owned();
    let message = error.to_string();
    match error.kind() {
        ErrorKind::Server(kind) => match kind {
            // A replica since a failover, or a server that starts: it did nothing.
            ServerErrorKind::ReadOnly
            | ServerErrorKind::MasterDown
            | ServerErrorKind::BusyLoading
            | ServerErrorKind::TryAgain
            | ServerErrorKind::ClusterDown => Verdict::Again(RedisError::Unavailable { server, message }),
            _ => Verdict::Final(RedisError::Refused { server, message }),
        },
        ErrorKind::Extension => match error.code() {
            Some("OOM") => Verdict::Final(RedisError::Full { server }),
            Some("NOREPLICAS" | "BUSY" | "MISCONF") => {
                Verdict::Final(RedisError::Unavailable { server, message })
            }
            _ => Verdict::Final(RedisError::Refused { server, message }),
        },
        ErrorKind::AuthenticationFailed
        | ErrorKind::InvalidClientConfig
        | ErrorKind::UnexpectedReturnType
        | ErrorKind::Client => Verdict::Final(RedisError::Refused { server, message }),
        _ => Verdict::Lost(RedisError::NoAnswer { server, message }),
    }
}

/// A server error inside a script comes as plain text.
pub(crate) fn is_full(error: &redis::RedisError) -> bool {
    error.code() == Some("OOM") || error.to_string().contains("OOM command not allowed")
}
