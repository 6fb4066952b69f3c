//! The embedded backend: rows in a file of their own, an index over them in memory.
//!
//! A row is durable in the file before a call answers ([`table`]). The index is rebuilt from it, so nothing that
//! matters is in memory alone: it is an exact scan for small collections ([`index`]) and a graph above
//! ([`graph`]), which is built behind the answers while what is not in it yet is scanned ([`upkeep`]). The graph
//! is kept in a file with a checksum; where that does not fit the rows, it is built again.

mod collections;
mod graph;
mod index;
mod snapshot;
mod table;
mod top;
mod upkeep;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sre_store::{ErrorKind, Migration, Store, StoreError};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::backend::{Backend, BackendError};
use crate::features::Features;
use crate::model::{Collection, Found, Generation, Query, Row, RowKey, best};
use collections::{Collections, Entry};

/// Schema of the file.
pub static MIGRATIONS: &[Migration] =
    &[Migration { version: 1, name: "vectors", expand: table::TABLES, contract: None }];

/// Rows removed in one transaction, so that others get their turn.
const REMOVE_BATCH: u32 = 1000;

/// Settings of the embedded backend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EmbeddedSettings {
    /// Up to so many rows a collection is scanned exactly; beyond, a graph answers.
    pub exact_below: usize,
    /// Neighbours of a row in the graph: more find more and cost memory.
    pub connectivity: usize,
    /// How widely the graph looks when a row is added, and
    pub expansion_add: usize,
    /// when it is searched: more find more and cost time.
    pub expansion_search: usize,
    /// Collections that were not used lately leave memory when all take more than this, in MiB.
    pub memory_mib: usize,
}

impl Default for EmbeddedSettings {
    fn default() -> Self {
        Self {
            exact_below: 10_000,
            connectivity: 16,
            expansion_add: 128,
            expansion_search: 128,
            memory_mib: 4096,
        }
    }
}

/// Rows in a file, found in memory.
pub struct Embedded {
    store: Store,
    collections: Arc<Collections>,
    /// Bounds the threads that search at once.
    searches: Arc<Semaphore>,
    _upkeep: JoinSet<()>,
}

impl Embedded {
    /// Over a store with [`MIGRATIONS`]; `folder` is for the files of graphs.
    pub async fn open(
        store: Store,
        folder: PathBuf,
        settings: EmbeddedSettings,
    ) -> Result<Self, BackendError> {
        std::fs::create_dir_all(&folder).map_err(|error| {
            BackendError::Failed(format!("the folder {} cannot be made: {error}", folder.display()))
        })?;
        let threads = std::thread::available_parallelism().map_or(4, usize::from) * 2;
        let collections = Arc::new(Collections::new(store.clone(), folder, settings, threads));
        let mut tasks = JoinSet::new();
        tasks.spawn(upkeep::run(Arc::clone(&collections)));
        sweep(&store).await?;
        Ok(Self { store, collections, searches: Arc::new(Semaphore::new(threads)), _upkeep: tasks })
    }

    /// Waits until every collection in memory has its graph, for measurements and tests.
    pub async fn settled(&self) {
        self.collections.settled().await;
    }

    async fn entry(&self, collection: &Collection) -> Result<Arc<Entry>, BackendError> {
        self.collections.get(collection).await
    }
}

#[async_trait]
impl Backend for Embedded {
    async fn create(&self, collection: &Collection) -> Result<(), BackendError> {
        let wanted = *collection;
        self.store.write(move |tx| table::create(tx, &wanted)).await?;
        Ok(())
    }

    async fn remove(&self, collection: &Collection) -> Result<(), BackendError> {
        let id = collection.id;
        self.store.write(move |tx| table::remove(tx, id)).await?;
        self.collections.forget(id);
        sweep(&self.store).await
    }

    async fn put(&self, collection: &Collection, rows: Vec<Row>) -> Result<(), BackendError> {
        let wanted = *collection;
        let collections = Arc::clone(&self.collections);
        self.store
            .try_write_then(
                move |tx| table::put(tx, &wanted, rows),
                move |change| collections.tell(wanted.id, change),
            )
            .await
    }

    async fn delete(&self, collection: &Collection, keys: Vec<RowKey>) -> Result<(), BackendError> {
        let id = collection.id;
        let collections = Arc::clone(&self.collections);
        self.store
            .try_write_then(
                move |tx| table::delete(tx, id, &keys),
                move |change| collections.tell(id, change),
            )
            .await
    }

    async fn delete_generation(
        &self,
        collection: &Collection,
        generation: Generation,
    ) -> Result<(), BackendError> {
        let id = collection.id;
        loop {
            let collections = Arc::clone(&self.collections);
            let removed: usize = self
                .store
                .try_write_then(
                    move |tx| table::delete_generation(tx, id, generation, REMOVE_BATCH),
                    move |change: collections::Change| {
                        let removed = change.removed.len();
                        collections.tell(id, change);
                        removed
                    },
                )
                .await?;
            if removed < REMOVE_BATCH as usize {
                return Ok(());
            }
        }
    }

    async fn search(&self, collection: &Collection, query: Query) -> Result<Vec<Found>, BackendError> {
        let entry = self.entry(collection).await?;
        let closed = |_| BackendError::Unavailable("the service is stopping: try again".to_owned());
        let permit = Arc::clone(&self.searches).acquire_owned().await.map_err(closed)?;
        let (wanted, top_k) = (query.wanted, query.top_k);
        let hits = tokio::task::spawn_blocking(move || {
            let hits = entry.search(&query);
            drop(permit);
            hits
        });
        let hits = hits.await.map_err(|error| BackendError::Failed(format!("a search ended: {error}")))??;
        if hits.is_empty() {
            return Ok(Vec::new());
        }
        let found = self.store.read(move |conn| table::found(conn, &hits, wanted)).await?;
        Ok(best(found, top_k))
    }

    async fn check(&self) -> Result<(), BackendError> {
        self.store.read(|conn| Ok(conn.query_row("select 1", [], |_| Ok(()))?)).await?;
        Ok(())
    }

    async fn close(&self) {
        self.searches.close();
        self.collections.save_all().await;
    }
}

/// Removes rows whose collection is gone, a batch at a time.
async fn sweep(store: &Store) -> Result<(), BackendError> {
    while store.write(|tx| table::sweep(tx, REMOVE_BATCH)).await? {}
    Ok(())
}

impl From<StoreError> for BackendError {
    fn from(error: StoreError) -> Self {
        match error.kind() {
            ErrorKind::Overloaded | ErrorKind::Busy | ErrorKind::Closed | ErrorKind::Unavailable => {
                Self::Unavailable(error.to_string())
            }
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// A row as the index takes it.
#[derive(Debug, Clone)]
struct Indexed {
    seq: i64,
    generation: Generation,
    vector: Vec<f32>,
    features: Features,
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedded").field("file", &self.store.path()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
