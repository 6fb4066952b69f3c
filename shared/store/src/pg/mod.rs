//! The scaled-out store: a PostgreSQL pool.
//!
//! Statements are the service's own: [`Pg::get`] lends a connection, `?` turns the driver's errors into
//! [`StoreError`], and [`Pg::bounded`] gives a call the deadline that a dead network would not.

mod config;
mod error;
pub mod listen;
mod migrate;
pub(crate) mod shared;
mod tls;

use std::borrow::Cow;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use config::{PgConfig, PgTls};
pub use deadpool_postgres::{GenericClient, Transaction};
pub use tokio_postgres;

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};

use crate::sql::dialect;
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
    words: Words,
    config: PgConfig,
}

/// What migrations say, in PostgreSQL's words.
type Words = fn(&'static str) -> Cow<'static, str>;

impl std::fmt::Debug for Pg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pg").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Pg {
    /// Connects and migrates. Replicas may start together: one migrates, the others wait for it.
    pub async fn connect(config: &PgConfig, migrations: &'static [Migration]) -> Result<Self, StoreError> {
        Self::connect_in(config, migrations, Cow::Borrowed).await
    }

    /// [`connect`](Pg::connect) with migrations that are written for SQLite.
    pub(crate) async fn connect_portable(
        config: &PgConfig,
        migrations: &'static [Migration],
    ) -> Result<Self, StoreError> {
        Self::connect_in(config, migrations, |sql| Cow::Owned(dialect::schema(sql))).await
    }

    async fn connect_in(
        config: &PgConfig,
        migrations: &'static [Migration],
        words: Words,
    ) -> Result<Self, StoreError> {
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
            words,
            config: config.clone(),
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

    /// Lends a connection for a transaction; see [`Loan`].
    pub async fn lend(&self) -> Result<Loan, StoreError> {
        let client = Some(self.get().await?);
        Ok(Loan { client, deadline: self.deadline, lost: AtomicBool::new(false) })
    }

    /// Waits for `call` within the deadline of a statement.
    ///
    /// After [`StoreError::Unavailable`] by this deadline the connection may still be waiting: drop it.
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
            words: self.words,
            timeout: self.migration_timeout,
        }
    }

    /// A connection of its own, outside the pool, for `listen`: what others say on `channel` arrives in the
    /// receiver, which ends with the connection. At most `capacity` notices wait; where more came, an empty
    /// one tells that some were missed.
    pub async fn listen(
        &self,
        channel: &str,
        capacity: usize,
    ) -> Result<(listen::Listener, tokio::sync::mpsc::Receiver<String>), StoreError> {
        within(self.deadline, listen::open(&self.config, channel, capacity)).await
    }

    /// The schema of this pool's tables, where one is set.
    pub fn schema_name(&self) -> Option<&str> {
        self.schema.as_deref()
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
        Err(_elapsed) => Err(no_answer(deadline)),
    }
}

fn no_answer(deadline: Duration) -> StoreError {
    StoreError::Unavailable { message: format!("no answer within {} ms", deadline.as_millis()) }
}

/// A connection on loan for a transaction. Abandoned before [`Loan::finish`], it is closed, so that nobody
/// else gets a connection with a transaction that is open or waits for an answer.
#[derive(Debug)]
pub struct Loan {
    client: Option<PgClient>,
    deadline: Duration,
    lost: AtomicBool,
}

impl Loan {
    /// The connection.
    pub fn client(&self) -> Result<&PgClient, StoreError> {
        self.client.as_ref().ok_or(StoreError::Closed)
    }

    /// Waits for `work` on this connection within the deadline of a statement.
    pub async fn run<T, E: From<StoreError>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        match tokio::time::timeout(self.deadline, work).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => {
                self.lost.store(true, Ordering::Relaxed);
                Err(no_answer(self.deadline).into())
            }
        }
    }

    /// Gives the connection back, after rolling back what a failure left open.
    pub async fn finish<T, E>(mut self, outcome: Result<T, E>) -> Result<T, E> {
        let Some(client) = &self.client else { return outcome };
        let usable = !self.lost.load(Ordering::Relaxed)
            && (outcome.is_ok() || within(self.deadline, client.batch_execute("rollback")).await.is_ok());
        if usable {
            drop(self.client.take());
        }
        outcome
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            drop(deadpool_postgres::Object::take(client));
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
