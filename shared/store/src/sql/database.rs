//! The handle that services hold.

use std::path::PathBuf;

use tokio::sync::watch;

use super::Connection;
#[cfg(feature = "postgres")]
use super::postgres::Session;
#[cfg(feature = "postgres")]
use crate::pg::{Pg, PgConfig, shared::Shared};
use crate::{Migration, SchemaState, Store, StoreError};

/// A service's state: a SQLite file of this process, or a schema in PostgreSQL that replicas share. Clones share it.
///
/// Both keep what [`Store`] promises: writes are done one after the other, of all replicas, and committed in groups;
/// a write sees all that came before it; an error undoes its own changes only, but for
/// [`write_decided`](Self::write_decided); `read` sees one snapshot.
#[derive(Debug, Clone)]
pub struct Database(Kind);

/// A turn. Dropped, it ends with its connection; [`end`](Self::end) keeps that for others.
#[derive(Debug, Default)]
#[must_use = "a turn that is dropped is over"]
pub struct Turn {
    #[cfg(feature = "postgres")]
    loan: Option<crate::pg::Loan>,
}

impl Turn {
    /// It is over.
    pub async fn end(self) {
        #[cfg(feature = "postgres")]
        if let Some(loan) = self.loan {
            // An error makes it roll back; there is nothing that could fail.
            drop(loan.finish(Err::<(), _>(StoreError::Closed)).await);
        }
    }
}

#[derive(Debug, Clone)]
enum Kind {
    Sqlite(Store),
    #[cfg(feature = "postgres")]
    Postgres(Shared),
}

impl From<Store> for Database {
    fn from(store: Store) -> Self {
        Self(Kind::Sqlite(store))
    }
}

impl Database {
    /// Connects to PostgreSQL and migrates. The schemas of SQLite are said in PostgreSQL's words.
    #[cfg(feature = "postgres")]
    pub async fn connect(config: &PgConfig, migrations: &'static [Migration]) -> Result<Self, StoreError> {
        Ok(Self(Kind::Postgres(Shared::connect(config, migrations).await?)))
    }

    /// The embedded store, where it is one.
    pub fn sqlite(&self) -> Option<&Store> {
        match &self.0 {
            Kind::Sqlite(store) => Some(store),
            #[cfg(feature = "postgres")]
            Kind::Postgres(_) => None,
        }
    }

    /// The pool, where it is PostgreSQL.
    #[cfg(feature = "postgres")]
    pub fn postgres(&self) -> Option<&Pg> {
        match &self.0 {
            Kind::Sqlite(_) => None,
            Kind::Postgres(shared) => Some(shared.pg()),
        }
    }

    /// See [`Store::write`].
    pub async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        F: FnOnce(&Connection<'_>) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        self.try_write(work).await
    }

    /// See [`Store::try_write`].
    pub async fn try_write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&Connection<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.try_write_then(work, |value| value).await
    }

    /// See [`Store::try_write_then`].
    pub async fn try_write_then<T, U, E, F, G>(&self, work: F, then: G) -> Result<U, E>
    where
        F: FnOnce(&Connection<'_>) -> Result<T, E> + Send + 'static,
        G: FnOnce(T) -> U + Send + 'static,
        T: Send + 'static,
        U: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        match &self.0 {
            Kind::Sqlite(store) => store.try_write_then(move |conn| work(&conn.into()), then).await,
            #[cfg(feature = "postgres")]
            Kind::Postgres(shared) => {
                shared.write(move |session: &Session| work(&session.into()), then).await
            }
        }
    }

    /// See [`Store::try_write_decided_then`].
    pub async fn write_decided<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        F: FnOnce(&Connection<'_>) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        match &self.0 {
            Kind::Sqlite(store) => {
                store.try_write_decided_then(move |conn| work(&conn.into()), |value| value).await
            }
            #[cfg(feature = "postgres")]
            Kind::Postgres(_) => self.try_write_then(work, |value| value).await,
        }
    }

    /// See [`Store::read`].
    pub async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        F: FnOnce(&Connection<'_>) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        self.try_read(work).await
    }

    /// See [`Store::try_read`].
    pub async fn try_read<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&Connection<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        match &self.0 {
            Kind::Sqlite(store) => store.try_read(move |conn| work(&conn.into())).await,
            #[cfg(feature = "postgres")]
            Kind::Postgres(shared) => shared.read(move |session: &Session| work(&session.into())).await,
        }
    }

    /// See [`Store::look_up`]: one statement, so no snapshot is needed.
    pub async fn look_up<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        F: FnOnce(&Connection<'_>) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        match &self.0 {
            Kind::Sqlite(store) => store.look_up(move |conn| work(&conn.into())).await,
            #[cfg(feature = "postgres")]
            Kind::Postgres(shared) => shared.look_up(move |session: &Session| work(&session.into())).await,
        }
    }

    /// Takes a turn that no other replica has until it ends, for work that includes calls of other services. Within
    /// a process, callers take turns by themselves first.
    pub async fn turn(&self, of: &str) -> Result<Turn, StoreError> {
        match &self.0 {
            Kind::Sqlite(_) => Ok(Turn::default()),
            #[cfg(feature = "postgres")]
            Kind::Postgres(shared) => Ok(Turn { loan: Some(shared.turn(of).await?) }),
        }
    }

    /// A counter that rises after each commit that changed something, of any replica. It ends with the store.
    pub fn watch(&self) -> watch::Receiver<u64> {
        match &self.0 {
            Kind::Sqlite(store) => store.watch(),
            #[cfg(feature = "postgres")]
            Kind::Postgres(shared) => shared.watch(),
        }
    }

    /// A counter that rises when another replica may have changed something, so that what is kept in memory is read
    /// again. It ends at once where there is no other.
    pub fn watch_others(&self) -> watch::Receiver<u64> {
        match &self.0 {
            Kind::Sqlite(_) => watch::channel(0).1,
            #[cfg(feature = "postgres")]
            Kind::Postgres(shared) => shared.watch_others(),
        }
    }

    /// See [`Store::backup`]. A database of PostgreSQL is backed up by its own means.
    pub async fn backup(&self, to: impl Into<PathBuf>) -> Result<(), StoreError> {
        match &self.0 {
            Kind::Sqlite(store) => store.backup(to).await,
            #[cfg(feature = "postgres")]
            Kind::Postgres(_) => {
                Err(StoreError::backend("this state is in PostgreSQL: use pg_dump or its backups"))
            }
        }
    }

    /// Where the schema stands.
    pub async fn schema(&self) -> Result<SchemaState, StoreError> {
        match &self.0 {
            Kind::Sqlite(store) => store.schema().await,
            #[cfg(feature = "postgres")]
            Kind::Postgres(shared) => shared.pg().schema().await,
        }
    }

    /// See [`Store::close`].
    pub async fn close(&self) -> Result<(), StoreError> {
        match &self.0 {
            Kind::Sqlite(store) => store.close().await,
            #[cfg(feature = "postgres")]
            Kind::Postgres(shared) => {
                shared.close().await;
                Ok(())
            }
        }
    }
}
