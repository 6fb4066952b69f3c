//! PostgreSQL's errors as store errors.

use std::time::Duration;

use deadpool_postgres::PoolError;
use tokio_postgres::error::{DbError, SqlState};

use crate::{ConstraintKind, StoreError};

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        if let Some(db) = error.as_db_error() {
            return from_db(db);
        }
        // `query_one` without a row is told apart by its words only.
        if std::error::Error::source(&error).is_none() && error.to_string().contains("number of rows") {
            return Self::NotFound;
        }
        if error.is_closed() || is_io(&error) {
            return Self::Unavailable { message: with_causes(&error) };
        }
        Self::backend(with_causes(&error))
    }
}

/// Whether the connection failed, and not what was asked.
fn is_io(error: &dyn std::error::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.is::<std::io::Error>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The message without `detail`, which quotes the row.
fn from_db(error: &DbError) -> StoreError {
    let message = || error.message().to_owned();
    let constraint = |kind| {
        let name = error.constraint().or(error.column()).unwrap_or_default();
        StoreError::Constraint { kind, name: name.to_owned() }
    };
    let code = error.code();
    match code {
        c if *c == SqlState::UNIQUE_VIOLATION => constraint(ConstraintKind::Unique),
        c if *c == SqlState::FOREIGN_KEY_VIOLATION || *c == SqlState::RESTRICT_VIOLATION => {
            constraint(ConstraintKind::ForeignKey)
        }
        c if *c == SqlState::NOT_NULL_VIOLATION => constraint(ConstraintKind::NotNull),
        c if *c == SqlState::CHECK_VIOLATION || *c == SqlState::EXCLUSION_VIOLATION => {
            constraint(ConstraintKind::Check)
        }
        // 40: serialization failures and deadlocks; the others: timeouts of a statement or a lock, and a server
        // that has no connection left.
        c if c.code().starts_with("40")
            || *c == SqlState::QUERY_CANCELED
            || *c == SqlState::LOCK_NOT_AVAILABLE
            || *c == SqlState::TOO_MANY_CONNECTIONS =>
        {
            StoreError::Busy { message: message() }
        }
        // A server that starts or stops, also in the middle of a commit.
        c if c.code().starts_with("08")
            || *c == SqlState::ADMIN_SHUTDOWN
            || *c == SqlState::CRASH_SHUTDOWN
            || *c == SqlState::CANNOT_CONNECT_NOW =>
        {
            StoreError::Unavailable { message: message() }
        }
        c => StoreError::Backend { message: format!("{} (sqlstate {})", error.message(), c.code()) },
    }
}

/// What the pool says when it lends nothing.
pub(super) fn from_pool(error: PoolError, name: &str, waited: Duration) -> StoreError {
    match error {
        PoolError::Timeout(deadpool_postgres::TimeoutType::Wait) => {
            StoreError::Overloaded { store: name.to_owned(), waited }
        }
        PoolError::Timeout(_) => StoreError::Unavailable { message: format!("{name} does not answer") },
        PoolError::Closed => StoreError::Closed,
        PoolError::Backend(error) => match StoreError::from(error) {
            StoreError::Backend { message } => StoreError::Backend { message: format!("{name}: {message}") },
            StoreError::Unavailable { message } => {
                StoreError::Unavailable { message: format!("{name}: {message}") }
            }
            other => other,
        },
        other => StoreError::backend(format!("{name}: {other}")),
    }
}

/// The driver's own message is a category; the reason is in its causes.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}
