//! The scaled-out store: a PostgreSQL pool.
//!
//! Statements are the service's own: [`Pg::get`] lends a connection, `?` turns the driver's errors into
//! [`StoreError`], and [`Pg::bounded`] gives a call the deadline that a dead network would not.

mod config;
mod error;
mod migrate;
mod tls;

use std::future::Future;
use std::time::Duration;

pub use config::{PgConfig, PgTls};
pub use deadpool_postgres::{GenericClient, Transaction};
pub use tokio_postgres;

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};

use crate::{Migration, SchemaState, StoreError};

/// A connection on loan from the pool.
pub type PgClient = deadpool_postgres::Client;

/// A pool of connections to one database and schema. Clones share it.
#[derive(Clone)]
pub struct Pg {
    pool: Pool,
    schema: Option<String>,
    name: String,
    acquire_timeout: Duration,
    deadline: Duration,
    migration_timeout: Duration,
    migrations: &'static [Migration],
}

impl std::fmt::Debug for Pg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pg").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Pg {
    /// Connects and migrates. Replicas may start together: one migrates, the others wait for it.
    pub async fn connect(config: &PgConfig, migrations: &'static [Migration]) -> Result<Self, StoreError> {
        let driver = config.driver()?;
        let manager_config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = match config.tls {
            PgTls::Disable => Manager::from_config(driver, tokio_postgres::NoTls, manager_config),
            PgTls::Require => {
                Manager::from_config(driver, tls::connector(config.tls_ca.as_deref())?, manager_config)
            }
        };
        let pool = Pool::builder(manager)
            .max_size(config.pool_size.max(1))
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(config.acquire_timeout()))
            .create_timeout(Some(config.connect_timeout()))
            .recycle_timeout(Some(config.connect_timeout()))
            .build()
            .map_err(|error| StoreError::backend(error.to_string()))?;
        let pg = Self {
            pool,
            schema: config.schema.clone(),
            name: config.name(),
            acquire_timeout: config.acquire_timeout(),
            // The server ends a statement first; this is for the server that no longer answers.
            deadline: config.statement_timeout() + config.connect_timeout(),
            migration_timeout: config.migration_timeout(),
            migrations,
        };
        let mut client = pg.get().await?;
        pg.target().migrate(&mut client).await?;
        drop(client);
        Ok(pg)
    }

    /// Lends a connection, within the configured time.
    pub async fn get(&self) -> Result<PgClient, StoreError> {
        self.pool.get().await.map_err(|error| error::from_pool(error, &self.name, self.acquire_timeout))
    }

    /// Waits for `call` within the deadline of a statement.
    ///
    /// After [`StoreError::Busy`] by this deadline the connection may still be waiting: drop it.
    pub async fn bounded<T>(
        &self,
        call: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, StoreError> {
        within(self.deadline, call).await
    }

    /// Where the schema stands.
    pub async fn schema(&self) -> Result<SchemaState, StoreError> {
        let client = self.get().await?;
        within(self.deadline, migrate::state(&client)).await
    }

    /// Runs the newest migration's contract now, when no binary of the version before is left.
    pub async fn contract(&self) -> Result<SchemaState, StoreError> {
        let mut client = self.get().await?;
        self.target().contract(&mut client).await
    }

    fn target(&self) -> migrate::Target<'_> {
        migrate::Target {
            name: &self.name,
            schema: self.schema.as_deref(),
            migrations: self.migrations,
            timeout: self.migration_timeout,
        }
    }

    /// Refuses new loans; connections on loan close when they come back.
    pub fn close(&self) {
        self.pool.close();
    }
}

pub(crate) async fn within<T, E: Into<StoreError>>(
    deadline: Duration,
    call: impl Future<Output = Result<T, E>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(deadline, call).await {
        Ok(result) => result.map_err(Into::into),
        Err(_elapsed) => Err(StoreError::Busy {
            message: format!("the database gave no answer within {} ms", deadline.as_millis()),
        }),
    }
}

#[cfg(test)]
mod tests;
