//! The service's own store: one SQLite file, held by its process. Changes of many callers share a commit, and the
//! audit record of a change is in its transaction.

mod table;

use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::Connection;
use sre_service::config::Backend;
use sre_service::connectors::{Connector, Opening, Unhealthy};
use sre_store::Store;

use self::table::NamespaceRow;
use super::NkvStore;
use super::postgres::{self, PostgresValues};
use crate::basis::{Basis, Condition, Recorder};
use crate::clock::{Clock, Millis};
use crate::error::IoError;
use crate::nkv::model::{Found, Names, Namespace, Page, Range, Set, ValueRow};
use crate::nkv::name::{KeyName, NamespaceName};
use crate::usage::{self, Change, Kind, Outcome};

const SWEEP_BATCH: u32 = 500;

/// No settings: the store is the service's.
#[derive(Debug, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(default)]
struct Settings {}

/// Checks the settings.
pub(super) fn check(opening: &Opening) -> anyhow::Result<()> {
    opening.check::<Settings>()
}

/// Opens an instance over the service's store: a file, or the database that `store.backend` says.
pub(super) async fn open(opening: Opening) -> anyhow::Result<Arc<dyn NkvStore>> {
    let Settings {} = opening.settings()?;
    let host = opening.host()?;
    match host.config().store.backend {
        Backend::Sqlite => {
            let store = host.store(crate::schema::MIGRATIONS).await?;
            Ok(Arc::new(SqliteValues::new(store, Clock::system())))
        }
        Backend::Postgres => {
            let pg = host.named_postgres("io_nkv", postgres::MIGRATIONS, postgres::SESSION).await?;
            Ok(Arc::new(PostgresValues::new(pg, Clock::system())))
        }
    }
}

/// Namespaces in SQLite. Clones share the store.
#[derive(Clone, Debug)]
pub struct SqliteValues {
    store: Store,
    clock: Clock,
}

impl SqliteValues {
    /// Namespaces in a store.
    pub fn new(store: Store, clock: Clock) -> Self {
        Self { store, clock }
    }
}

#[async_trait]
impl Connector for SqliteValues {
    async fn check(&self) -> Result<(), Unhealthy> {
        let asked = self.store.read(|conn| Ok(conn.query_row("select 1", [], |_| Ok(()))?)).await;
        asked.map_err(Unhealthy::new)
    }
}

#[async_trait]
impl NkvStore for SqliteValues {
    async fn find(&self, name: &NamespaceName) -> Result<Option<Namespace>, IoError> {
        let name = name.clone();
        let row = self.store.look_up(move |conn| table::namespace(conn, &name)).await?;
        Ok(row.map(Namespace::from))
    }

    async fn get(&self, name: &KeyName) -> Result<Found, IoError> {
        let (name, now) = (name.clone(), self.clock.now());
        let found = self.store.look_up(move |conn| {
            let Some(namespace) = table::namespace(conn, &name.parent)? else { return Ok((None, None)) };
            let value = table::value(conn, namespace.id, &name.key)?;
            Ok((Some(namespace.into()), value.filter(|row| row.is_live(now))))
        });
        Ok(found.await?)
    }

    async fn list(&self, name: &NamespaceName, range: &Range) -> Result<(Option<Namespace>, Page), IoError> {
        let (name, range, now) = (name.clone(), range.clone(), self.clock.now());
        let found = self.store.read(move |conn| {
            let Some(namespace) = table::namespace(conn, &name)? else { return Ok((None, Page::default())) };
            let page = table::values(conn, namespace.id, &range, now)?;
            Ok((Some(namespace.into()), page))
        });
        Ok(found.await?)
    }

    async fn namespaces(&self, team: &str, after: &str, limit: usize) -> Result<Names, IoError> {
        let (team, after) = (team.to_owned(), after.to_owned());
        Ok(self.store.read(move |conn| table::namespaces(conn, &team, &after, limit)).await?)
    }

    async fn set(&self, set: Set, record: Recorder) -> Result<ValueRow, IoError> {
        let now = self.clock.now();
        self.store
            .try_write(move |tx| {
                let row = set_value(tx, set, now)?;
                record.sqlite(tx)?;
                Ok(row)
            })
            .await
    }

    async fn delete(
        &self,
        name: &KeyName,
        basis: Basis,
        condition: Condition,
        record: Recorder,
    ) -> Result<(), IoError> {
        let (name, now) = (name.clone(), self.clock.now());
        self.store
            .try_write(move |tx| {
                let absent = || IoError::NotFound(name.to_string());
                let namespace = decided(tx, &name.parent, &basis)?.ok_or_else(absent)?;
                let row = table::value(tx, namespace.id, &name.key)?.filter(|row| row.is_live(now));
                let row = row.ok_or_else(absent)?;
                condition.check(Some(&row.etag))?;
                table::remove(tx, namespace.id, &name.key)?;
                usage::release(tx, &name.parent.team, Kind::Values, 1, row.size_bytes())?;
                Ok(record.sqlite(tx)?)
            })
            .await
    }

    /// Its values are gone at once; their rows go with the next sweeps.
    async fn delete_namespace(
        &self,
        name: &NamespaceName,
        basis: Basis,
        record: Recorder,
    ) -> Result<(), IoError> {
        let name = name.clone();
        self.store
            .try_write(move |tx| {
                let row = decided(tx, &name, &basis)?.ok_or_else(|| IoError::NotFound(name.to_string()))?;
                table::drop_namespace(tx, &name, row.id)?;
                Ok(record.sqlite(tx)?)
            })
            .await
    }

    async fn set_list(
        &self,
        name: &NamespaceName,
        basis: Basis,
        list: String,
        record: Recorder,
    ) -> Result<(), IoError> {
        let name = name.clone();
        self.store
            .try_write(move |tx| {
                let row = decided(tx, &name, &basis)?.ok_or_else(|| IoError::NotFound(name.to_string()))?;
                table::set_list(tx, row.id, &list)?;
                Ok(record.sqlite(tx)?)
            })
            .await
    }

    async fn sweep(&self) -> Result<u64, IoError> {
        let mut total = 0;
        loop {
            let now = self.clock.now();
            let (gone, more) = self
                .store
                .write(move |tx| {
                    let mut swept = table::sweep_expired(tx, now, SWEEP_BATCH)?;
                    let dropped = table::sweep_dropped(tx, SWEEP_BATCH)?;
                    let more = dropped.is_some() || swept.len() == SWEEP_BATCH as usize;
                    swept.extend(dropped);
                    for row in &swept {
                        usage::release(tx, &row.team, Kind::Values, row.items, row.bytes)?;
                    }
                    Ok((swept.iter().map(|row| row.items).sum::<i64>(), more))
                })
                .await?;
            total += gone.unsigned_abs();
            if !more {
                return Ok(total);
            }
        }
    }

    async fn used(&self, team: &str) -> Result<(i64, i64), IoError> {
        let team = team.to_owned();
        Ok(self.store.read(move |conn| usage::of(conn, &team, Kind::Values)).await?)
    }
}

fn set_value(tx: &Connection, set: Set, now: Millis) -> Result<ValueRow, IoError> {
    let name = &set.name.parent;
    let namespace = match decided(tx, name, &set.basis)? {
        Some(namespace) => namespace,
        None => table::create_namespace(tx, name, &set.list_when_new, now)?,
    };
    // An expired row that was not swept yet still counts; replacing it takes its place.
    let before = table::brief(tx, namespace.id, &set.name.key)?;
    let live = before.as_ref().filter(|row| row.is_live(now));
    set.condition.check(live.map(|row| row.etag.as_str()))?;
    let (team, quota) = (name.team.clone(), set.quota);
    let row = set.row(now);
    let change = Change {
        items: i64::from(before.is_none()),
        bytes: row.size_bytes() - before.as_ref().map_or(0, |row| row.size_bytes),
    };
    if usage::book(tx, &team, Kind::Values, change, quota)? == Outcome::OverQuota {
        return Err(IoError::Quota { team, what: "values" });
    }
    table::put(tx, namespace.id, &row)?;
    Ok(row)
}

/// The namespace, if the decision still stands on its list.
fn decided(tx: &Connection, name: &NamespaceName, basis: &Basis) -> Result<Option<NamespaceRow>, IoError> {
    let row = table::namespace(tx, name)?;
    if basis.holds(row.as_ref().map(|row| &*row.list)) { Ok(row) } else { Err(IoError::AclChanged) }
}
