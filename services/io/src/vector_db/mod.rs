//! Vectors: texts found by likeness.
//!
//! Read in this order: [`name`], [`registry`] (what there is, and which rows count), `sre_vectors` (backends: where
//! rows are), `write.rs` and `find.rs` (the two brought together), [`embed`] (texts as vectors), `service.rs`
//! (gRPC and access).

mod citation;
pub mod connectors;
mod embed;
mod find;
mod message;
mod name;
mod record;
pub mod registry;
mod service;
mod sweeper;
#[cfg(test)]
mod tests;
mod write;

use std::sync::Arc;
use std::time::Duration;

use sre_service::Host;
use sre_service::config::Backend as StoreBackend;
use sre_service::connectors::{Instance, Instances};
use sre_vectors::BackendError;

pub use connectors::{VECTORS, VectorStore};
pub use name::{DatasourceName, NamespaceName};
pub use service::VectorDbService;

use crate::clock::Clock;
use crate::error::IoError;
use registry::{
    MIGRATIONS, NamespaceRow, PG_MIGRATIONS, PG_SESSION, PostgresRegistry, Registry, SqliteRegistry,
};

/// The most bytes of a request: rows with their vectors.
pub const MESSAGE_BYTES: usize = 4 << 20;
/// The store of the registry.
const STORE: &str = "vectors";
/// A writing that takes longer does not count any more.
const WRITE_TIME: Duration = Duration::from_secs(900);
/// Rows that do not count any more stay so long: longer than any search that may still look at them.
const GRACE: Duration = Duration::from_secs(60);
/// The longest search.
const SEARCH_TIME: Duration = Duration::from_secs(25);

/// The namespaces of all teams.
#[derive(Clone)]
pub struct Vectors {
    registry: Arc<dyn Registry>,
    stores: Instances<dyn VectorStore>,
    clock: Clock,
}

/// Opens registry and backends, and gives the service.
pub async fn start(host: &Host) -> anyhow::Result<VectorDbService> {
    let registry: Arc<dyn Registry> = match host.config().store.backend {
        StoreBackend::Sqlite => Arc::new(SqliteRegistry::new(host.named_store(STORE, MIGRATIONS).await?)),
        StoreBackend::Postgres => {
            let pg = host.named_postgres(STORE, PG_MIGRATIONS, PG_SESSION).await?;
            Arc::new(PostgresRegistry::new(pg))
        }
    };
    let stores = VECTORS.open(host).await?;
    let vectors = Vectors { registry, stores, clock: Clock::system() };
    host.spawn("vectors: sweep", sweeper::run(vectors.clone()));
    Ok(VectorDbService::new(host.clone(), vectors))
}

impl Vectors {
    /// What a team holds: rows and bytes.
    pub async fn usage(&self, team: &str) -> Result<(i64, i64), IoError> {
        self.registry.usage(team).await
    }

    /// The instance that has a namespace.
    fn store_of(&self, namespace: &NamespaceRow) -> Result<Instance<dyn VectorStore>, IoError> {
        self.instance(&namespace.instance)
    }

    fn instance(&self, id: &str) -> Result<Instance<dyn VectorStore>, IoError> {
        Ok(self.stores.get(id)?)
    }
}

impl From<BackendError> for IoError {
    fn from(error: BackendError) -> Self {
        Self::Vectors(error)
    }
}

impl std::fmt::Debug for Vectors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vectors").field("stores", &self.stores).finish_non_exhaustive()
    }
}
