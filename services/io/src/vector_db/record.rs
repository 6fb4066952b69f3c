//! The audit record of a change, written in the change's own transaction.

use std::sync::Arc;

use sre_service::Granted;
use sre_store::StoreError;
use sre_store::pg::PgClient;
use sre_store::rusqlite::Connection;

/// Records a change; none for changes of the service's own.
#[derive(Debug, Clone, Default)]
pub struct Recorder(Option<Arc<Granted>>);

impl Recorder {
    /// The record of a call that may go on.
    pub fn of(granted: Granted) -> Self {
        Self(Some(Arc::new(granted)))
    }

    /// No record.
    pub fn none() -> Self {
        Self(None)
    }

    /// Writes it with a change in SQLite.
    pub fn sqlite(&self, tx: &Connection) -> Result<(), StoreError> {
        self.0.as_ref().map_or(Ok(()), |granted| granted.record(tx))
    }

    /// Writes it with a change in PostgreSQL; see [`Granted::record_pg`].
    pub async fn postgres(&self, tx: &PgClient) -> Result<(), StoreError> {
        match &self.0 {
            Some(granted) => granted.record_pg(tx).await,
            None => Ok(()),
        }
    }

    /// The change in PostgreSQL is committed.
    pub fn committed(&self) {
        if let Some(granted) = &self.0 {
            granted.recorded();
        }
    }
}
