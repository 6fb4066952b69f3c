//! What a role's `start` gets: everything that it shares with the other roles.

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use sre_identity::{Peer, SvidSource};
use sre_store::pg::{Pg, PgConfig};
use sre_store::sql::Database;
use sre_store::{ErrorKind, Migration, Store, StoreError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::accounts::Accounts;
use crate::audit::AuditSink;
use crate::authorizer::Authorizer;
use crate::config::{Backend, Config, Synchronous};
use crate::connectors::Table;
use crate::limits::Limiter;
use crate::link::Link;
use crate::process::Process;
use crate::readiness::{Readiness, ReadyGuard};
use crate::role::Role;
use crate::server::http_door::{self, Door};
use crate::task::Outcome;
use crate::tokens::Tokens;

/// How long a role that starts waits for its database,
const DATABASE_WAIT: Duration = Duration::from_secs(60);
/// and how often it looks for it.
const DATABASE_RETRY: Duration = Duration::from_millis(250);

/// What a role's `start` gets. Clones share everything.
#[derive(Clone)]
pub struct Host {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) process: Arc<Process>,
    pub(crate) role: Role,
    pub(crate) identity: Arc<SvidSource>,
    pub(crate) links: [Link; Role::ALL.len()],
    pub(crate) tokens: Tokens,
    pub(crate) authorizer: Authorizer,
    pub(crate) accounts: Accounts,
    pub(crate) audit: AuditSink,
    pub(crate) limits: Limiter,
    pub(crate) readiness: Readiness,
}

impl Host {
    /// The role.
    pub fn role(&self) -> Role {
        self.inner.role
    }

    /// The whole configuration.
    pub fn config(&self) -> &Arc<Config> {
        &self.inner.process.config
    }

    /// The way to another role, under this role's identity: a direct call where it runs in this process, else
    /// mTLS. Cheap; clients are built over it, `LogClient::new(host.link(Role::Observability))`.
    pub fn link(&self, to: Role) -> Link {
        self.inner.links[to.index()].clone()
    }

    /// Obtains tokens for acting for somebody.
    pub fn tokens(&self) -> &Tokens {
        &self.inner.tokens
    }

    /// Decides whether a caller may do what a request asks.
    pub fn authorizer(&self) -> &Authorizer {
        &self.inner.authorizer
    }

    /// Memberships of principals.
    pub fn accounts(&self) -> &Accounts {
        &self.inner.accounts
    }

    /// Where audit records go.
    pub fn audit(&self) -> &AuditSink {
        &self.inner.audit
    }

    /// What teams may ask for and hold.
    pub fn limits(&self) -> &Limiter {
        &self.inner.limits
    }

    /// This role's own identity.
    pub fn identity(&self) -> &Arc<SvidSource> {
        &self.inner.identity
    }

    /// This role as others see it.
    pub fn peer(&self) -> Peer {
        self.inner.identity.peer()
    }

    /// Opens this role's embedded store, creating and migrating it. Where its schema has
    /// [`crate::audit::MIGRATION_SQL`], its outbox is shipped from now on.
    pub async fn store(&self, migrations: &'static [Migration]) -> anyhow::Result<Store> {
        self.named_store(self.role().name(), migrations).await
    }

    /// Opens this role's state where `[store] backend` says: in its file, or in its schema of PostgreSQL. Its outbox is
    /// shipped as [`store`](Self::store) says.
    pub async fn database(&self, migrations: &'static [Migration]) -> anyhow::Result<Database> {
        self.named_database(self.role().name(), migrations).await
    }

    /// The same of further state of this role.
    pub async fn named_database(
        &self,
        name: &str,
        migrations: &'static [Migration],
    ) -> anyhow::Result<Database> {
        match self.config().store.backend {
            Backend::Sqlite => Ok(self.file_store(name, migrations).await?.into()),
            Backend::Postgres => {
                let config = self.postgres_config(name, &[])?;
                let database = self.wait_for(|| Database::connect(&config, migrations)).await?;
                if let Some(pg) = database.postgres() {
                    self.inner.audit.ship_pg_outbox(self, pg).await?;
                }
                Ok(database)
            }
        }
    }

    /// A further store of this role, `<name>.db`. One that is open already is shared, and keeps the migrations
    /// that it was opened with.
    pub async fn named_store(&self, name: &str, migrations: &'static [Migration]) -> anyhow::Result<Store> {
        let config = self.config();
        if config.store.backend == Backend::Postgres {
            anyhow::bail!(
                "store.backend is postgres, and a store of {} is in a file so far: leave it out and set \
                 journal.backend to postgres, which is for the run journal",
                self.role()
            );
        }
        self.file_store(name, migrations).await
    }

    /// A store of this role in a file, also where the role's own state is in PostgreSQL: for a backend that is
    /// one by its configuration. One that is open already is shared.
    pub async fn file_store(&self, name: &str, migrations: &'static [Migration]) -> anyhow::Result<Store> {
        let config = self.config();
        let file = format!("{name}.db");
        let is_it = |store: &&Store| store.path().file_name() == Some(std::ffi::OsStr::new(&file));
        if let Some(open) = self.inner.process.stores.lock().iter().find(is_it) {
            return Ok(open.clone());
        }
        let path = config.store_dir().join(&file);
        let mut options = sre_store::OpenOptions::new(path, "store.dir", migrations);
        options.synchronous = match config.store.synchronous {
            Synchronous::Full => sre_store::Synchronous::Full,
            Synchronous::Normal => sre_store::Synchronous::Normal,
        };
        let store = tokio::task::spawn_blocking(move || Store::open(options)).await??;
        self.inner.process.stores.lock().push(store.clone());
        self.inner.audit.ship_outbox(self, &store).await?;
        Ok(store)
    }

    /// Connects this role's schema of the database `[store.postgres]` and migrates it, waiting for a database
    /// that is not there yet. `session` sets what the statements of the service are written for. Where the schema
    /// has [`crate::audit::PG_MIGRATION_SQL`], its outbox is shipped from now on.
    pub async fn postgres(
        &self,
        migrations: &'static [Migration],
        session: &'static [(&'static str, &'static str)],
    ) -> anyhow::Result<Pg> {
        self.named_postgres(self.role().name(), migrations, session).await
    }

    /// A further schema of this role in that database, `<schema>_<name>`.
    pub async fn named_postgres(
        &self,
        name: &str,
        migrations: &'static [Migration],
        session: &'static [(&'static str, &'static str)],
    ) -> anyhow::Result<Pg> {
        self.connect_postgres(&self.postgres_config(name, session)?, migrations).await
    }

    fn postgres_config(
        &self,
        name: &str,
        session: &'static [(&'static str, &'static str)],
    ) -> anyhow::Result<PgConfig> {
        let configured = self.config().store.postgres.clone();
        let mut config = configured.context("no database is configured: set store.postgres.url")?;
        config.schema = Some(format!("{}_{name}", config.schema.as_deref().unwrap_or("sre")));
        config.session = session;
        Ok(config)
    }

    /// The same with any database: one that a connector's settings name.
    pub async fn connect_postgres(
        &self,
        config: &PgConfig,
        migrations: &'static [Migration],
    ) -> anyhow::Result<Pg> {
        let pg = self.wait_for(|| Pg::connect(config, migrations)).await?;
        self.inner.audit.ship_pg_outbox(self, &pg).await?;
        Ok(pg)
    }

    /// Connects, waiting for a database that is not there yet.
    async fn wait_for<T, F>(&self, connect: impl Fn() -> F) -> anyhow::Result<T>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let give_up = Instant::now() + DATABASE_WAIT;
        let draining = self.draining();
        loop {
            let error = match connect().await {
                Ok(connected) => return Ok(connected),
                Err(error) => error,
            };
            let may_come = error.is_retryable() || error.kind() == ErrorKind::Unavailable;
            if !may_come || Instant::now() >= give_up || draining.is_cancelled() {
                return Err(error.into());
            }
            tracing::warn!(%error, "the database is not there yet, trying again");
            tokio::time::sleep(DATABASE_RETRY).await;
        }
    }

    /// The backend instances of this process.
    pub(crate) fn connectors(&self) -> &Table {
        &self.inner.process.connectors
    }

    /// The data folder.
    pub fn data_dir(&self) -> &Path {
        &self.config().data_dir
    }

    /// Cancelled when work in flight is done, or its time is over: tasks end now.
    pub fn shutdown(&self) -> CancellationToken {
        self.inner.process.shutdown.clone()
    }

    /// Cancelled when the process is told to stop: long-lived streams end now, nothing new is begun, work in
    /// flight goes on.
    pub fn draining(&self) -> CancellationToken {
        self.inner.process.draining.clone()
    }

    /// Spawns a task that is dropped at shutdown. Its failure is logged; it is not restarted.
    pub fn spawn<F>(&self, name: &'static str, future: F)
    where
        F: Future + Send + 'static,
        F::Output: Outcome,
    {
        self.inner.process.tasks.spawn(name, future);
    }

    /// Spawns a task that watches [`Self::shutdown`] itself and is waited for, within the drain deadline.
    pub fn spawn_to_end<F>(&self, name: &'static str, future: F)
    where
        F: Future + Send + 'static,
        F::Output: Outcome,
    {
        self.inner.process.tasks.spawn_to_end(name, future);
    }

    /// Holds this role's readiness back until the guard is dropped.
    pub fn ready_guard(&self, what: &'static str) -> ReadyGuard {
        self.inner.readiness.guard(what)
    }

    /// Serves the HTTP door at `[http] listen`, with TLS where configured, until the process drains. Returns
    /// its address; none where the door is switched off.
    pub async fn serve_http(&self, router: axum::Router) -> anyhow::Result<Option<SocketAddr>> {
        let http = &self.config().http;
        if !http.enabled {
            return Ok(None);
        }
        let door = Door { name: "http", listen: http.listen, tls: http.tls.as_ref() };
        http_door::serve(self, door, router).await.map(Some)
    }

    /// Serves the door of files at `[files] listen`, like [`Self::serve_http`].
    pub async fn serve_files(&self, router: axum::Router) -> anyhow::Result<Option<SocketAddr>> {
        let files = &self.config().files;
        if !files.enabled {
            return Ok(None);
        }
        let door = Door { name: "files", listen: files.listen, tls: files.tls.as_ref() };
        http_door::serve(self, door, router).await.map(Some)
    }

    /// Where a role is reached by others than this process: as configured, or as it listens on this machine. None
    /// where it listens nowhere.
    pub fn address_of(&self, role: Role) -> Option<String> {
        if let Some(addresses) = self.config().endpoints.0.get(&role) {
            return addresses.first().cloned();
        }
        let own = self.inner.process.addresses.lock().get(role.name()).map(ToString::to_string);
        own.or_else(|| crate::endpoints::read(self.data_dir()).remove(role.name()))
    }

    /// Where roles and doors of this process listen, by name (`edge`, `http`, `admin`).
    pub fn addresses(&self) -> std::collections::BTreeMap<String, SocketAddr> {
        self.inner.process.addresses.lock().clone()
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("role", &self.role()).finish_non_exhaustive()
    }
}
