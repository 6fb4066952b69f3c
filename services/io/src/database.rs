//! The database of this role: the embedded store, or PostgreSQL, as `[store] backend` says.

use std::sync::Arc;

use sre_service::Host;
use sre_service::config::Backend;
use sre_store::Store;
use sre_store::pg::Pg;

use crate::error::IoError;
use crate::router::{LinkStore, PostgresLinks, SqliteLinks};
use crate::schema::{MIGRATIONS, PG_MIGRATIONS};
use crate::storage::{FileIndex, PG_SESSION, PostgresIndex, SqliteIndex, usage_pg};
use crate::usage::{self, Kind};

/// The database, open and migrated. Clones share it.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "one of a process, cloned per request at most")]
pub enum Database {
    /// A file of this role.
    Embedded(Store),
    /// A schema of this role, which replicas share.
    Postgres(Pg),
}

impl Database {
    /// Opens what the configuration says.
    pub async fn open(host: &Host) -> anyhow::Result<Self> {
        match host.config().store.backend {
            Backend::Sqlite => Ok(Self::Embedded(host.store(MIGRATIONS).await?)),
            Backend::Postgres => Ok(Self::Postgres(host.postgres(PG_MIGRATIONS, PG_SESSION).await?)),
        }
    }

    /// The index of files in it.
    pub fn files(&self) -> Arc<dyn FileIndex> {
        match self {
            Self::Embedded(store) => Arc::new(SqliteIndex::new(store.clone())),
            Self::Postgres(pg) => Arc::new(PostgresIndex::new(pg.clone())),
        }
    }

    /// What a holder has: things and bytes.
    pub async fn usage(&self, holder: &str, kind: Kind) -> Result<(i64, i64), IoError> {
        match self {
            Self::Embedded(store) => {
                let holder = holder.to_owned();
                Ok(store.read(move |conn| usage::of(conn, &holder, kind)).await?)
            }
            Self::Postgres(pg) => Ok(usage_pg::of(&pg.get().await?, holder, kind).await?),
        }
    }

    /// Bytes of what teams hold, after this team and kind in order.
    pub async fn held(
        &self,
        after: &(String, String),
        limit: u32,
    ) -> Result<Vec<(String, String, i64)>, IoError> {
        match self {
            Self::Embedded(store) => {
                let after = after.clone();
                Ok(store.read(move |conn| usage::held(conn, &after, limit)).await?)
            }
            Self::Postgres(pg) => Ok(usage_pg::held(&pg.get().await?, after, limit).await?),
        }
    }

    /// Agents of a team with files, and what they hold: things and bytes. Those that hold most come first.
    pub async fn usage_of_agents(&self, team: &str, limit: u32) -> Result<Vec<(String, i64, i64)>, IoError> {
        match self {
            Self::Embedded(store) => {
                let team = team.to_owned();
                Ok(store.read(move |conn| usage::of_agents(conn, &team, limit)).await?)
            }
            Self::Postgres(pg) => Ok(usage_pg::of_agents(&pg.get().await?, team, limit).await?),
        }
    }

    /// The links in it.
    pub fn links(&self) -> Arc<dyn LinkStore> {
        match self {
            Self::Embedded(store) => Arc::new(SqliteLinks::new(store.clone())),
            Self::Postgres(pg) => Arc::new(PostgresLinks::new(pg.clone())),
        }
    }
}
