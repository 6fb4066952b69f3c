//! `[store]`: where services keep their state.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sre_store::pg::PgConfig;

/// Stores.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StoreSection {
    /// The folder of embedded stores, one file per service, under the data folder unless absolute.
    pub dir: PathBuf,
    /// When an embedded write counts as done.
    pub synchronous: Synchronous,
    /// Where services keep their state: `sqlite` in files of this machine, each held by one process; `postgres` in
    /// the database of `[store.postgres]`, which replicas share. The run journal can be set apart: `journal.backend`.
    pub backend: Backend,
    /// The database, with a backend `postgres`. Each service has a schema of its own in it, created when
    /// missing: `<schema>_<service>`, and `sre_<service>` where no `schema` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postgres: Option<PgConfig>,
}

impl Default for StoreSection {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("store"),
            synchronous: Synchronous::default(),
            backend: Backend::default(),
            postgres: None,
        }
    }
}

/// When an embedded write counts as done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Synchronous {
    /// On the disk: survives a power cut.
    #[default]
    Full,
    /// With the operating system: survives a killed process.
    Normal,
}

/// Where services keep their state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// One file per service.
    #[default]
    Sqlite,
    /// A PostgreSQL database.
    Postgres,
}
