//! What an access decision was made on.

use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::Connection;
use sre_service::Granted;
use sre_store::StoreError;
use sre_store::pg::PgClient;

/// The access list that a decision was made on, as the store holds it; none where there was no row.
///
/// A decision asks Account, so it cannot be made inside a transaction. Instead, the transaction that acts on it
/// checks that the list is still the one that was decided on; where it is not, the decision is made again. So
/// there is no moment between check and act (H33).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Basis(Option<String>);

impl Basis {
    /// A decision on this list.
    pub fn row(acl: &str) -> Self {
        Self(Some(acl.to_owned()))
    }

    /// A decision on the scope's rights, because there was no row.
    pub fn absent() -> Self {
        Self(None)
    }

    /// The list, where there was one: for backends that compare it in their own language.
    pub fn list(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// Whether `acl` is still what the decision was made on.
    pub fn holds(&self, acl: Option<&str>) -> bool {
        self.0.as_deref() == acl
    }
}

/// Writes the audit record of a change in the change's own transaction, in any database.
#[async_trait]
pub trait Recording: Send + Sync {
    /// In the embedded store.
    fn sqlite(&self, tx: &Connection) -> Result<(), StoreError>;

    /// In PostgreSQL; again where the transaction is tried again.
    async fn postgres(&self, tx: &PgClient) -> Result<(), StoreError>;

    /// The transaction in PostgreSQL was committed.
    fn committed(&self);
}

/// The record of one change.
pub type Recorder = Arc<dyn Recording>;

#[async_trait]
impl Recording for Granted {
    fn sqlite(&self, tx: &Connection) -> Result<(), StoreError> {
        self.record(tx)
    }

    async fn postgres(&self, tx: &PgClient) -> Result<(), StoreError> {
        self.record_pg(tx).await
    }

    fn committed(&self) {
        self.recorded();
    }
}

/// No record: for what the service does by itself.
#[derive(Debug, Clone, Copy)]
pub struct Unrecorded;

#[async_trait]
impl Recording for Unrecorded {
    fn sqlite(&self, _tx: &Connection) -> Result<(), StoreError> {
        Ok(())
    }

    async fn postgres(&self, _tx: &PgClient) -> Result<(), StoreError> {
        Ok(())
    }

    fn committed(&self) {}
}

/// What version a change may be made over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Any, or none.
    Always,
    /// Only this version.
    IfMatch(String),
    /// Only where there is none.
    IfAbsent,
}

impl Condition {
    /// Reads the two fields of a request; none where they contradict each other.
    pub fn of(if_match: &str, if_absent: bool) -> Option<Self> {
        match (if_match, if_absent) {
            ("", false) => Some(Self::Always),
            ("", true) => Some(Self::IfAbsent),
            (etag, false) => Some(Self::IfMatch(etag.to_owned())),
            _ => None,
        }
    }

    /// Whether it holds over the version that is there.
    pub fn check(&self, etag: Option<&str>) -> Result<(), ConditionFailed> {
        match (self, etag) {
            (Self::Always, _) | (Self::IfAbsent, None) => Ok(()),
            (Self::IfMatch(wanted), Some(etag)) if wanted == etag => Ok(()),
            (Self::IfMatch(_), _) => Err(ConditionFailed::OtherVersion),
            (Self::IfAbsent, Some(_)) => Err(ConditionFailed::Exists),
        }
    }
}

/// Why a condition does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConditionFailed {
    /// Another version is there, or none.
    OtherVersion,
    /// There is one already.
    Exists,
}
