//! Values under keys in namespaces, in the service's store.

mod name;
mod service;
#[cfg(test)]
mod service_tests;
mod table;
#[cfg(test)]
mod tests;

use std::time::Duration;

use sre_store::Store;

pub use name::{KeyName, NameError, NamespaceName};
pub use service::NkvService;
pub use table::{NamespaceRow, ValueRow};

use crate::basis::{Basis, Condition, Record};
use crate::clock::{Clock, Millis, millis};
use crate::error::IoError;
use crate::usage::{self, Change, Kind, Outcome, Quota};
use table::Range;

/// The most bytes of one value.
pub const MAX_VALUE_BYTES: usize = 1 << 20;
/// What a team's values may amount to.
pub const TEAM_QUOTA: Quota = Quota { items: 1_000_000, bytes: 2 << 30 };
/// A page's values stay well below what a message may hold.
const PAGE_BYTES: usize = 2 << 20;
const SWEEP_BATCH: u32 = 500;

/// Refuses a configuration that names another backend than the service's own store.
pub fn check_backend(config: &sre_service::Config) -> anyhow::Result<()> {
    match config.connectors.default_of("nkv").map(sre_service::config::ConnectorEntry::canonical) {
        None | Some("local" | "memory" | "embedded") => Ok(()),
        Some(other) => anyhow::bail!("nkv connector {other} is not built: use local"),
    }
}

/// The namespaces of all teams.
#[derive(Clone)]
pub struct Namespaces {
    store: Store,
    clock: Clock,
    quota: Quota,
}

/// A value to be set.
#[derive(Debug, Clone)]
pub struct Set {
    /// Where.
    pub name: KeyName,
    /// The value.
    pub value: Vec<u8>,
    /// Its media type.
    pub content_type: String,
    /// Over which version.
    pub condition: Condition,
    /// What the right to write was decided on.
    pub basis: Basis,
    /// The access list of a new namespace.
    pub acl_when_new: String,
    /// How long it lives; for ever where absent.
    pub time_to_live: Option<Duration>,
}

/// A page of values.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The values, by key.
    pub values: Vec<ValueRow>,
    /// Whether there are more.
    pub has_more: bool,
}

impl Namespaces {
    /// Namespaces in a store.
    pub fn new(store: Store, clock: Clock) -> Self {
        Self { store, clock, quota: TEAM_QUOTA }
    }

    /// A namespace.
    pub async fn find(&self, name: &NamespaceName) -> Result<Option<NamespaceRow>, IoError> {
        let name = name.clone();
        Ok(self.store.read(move |conn| table::namespace(conn, &name)).await?)
    }

    /// A namespace and one of its values, of one moment.
    pub async fn get(&self, name: &KeyName) -> Result<(Option<NamespaceRow>, Option<ValueRow>), IoError> {
        let (name, now) = (name.clone(), self.clock.now());
        let found = self.store.read(move |conn| {
            let Some(namespace) = table::namespace(conn, &name.parent)? else { return Ok((None, None)) };
            let value = table::value(conn, namespace.id, &name.key)?;
            Ok((Some(namespace), value.filter(|row| row.is_live(now))))
        });
        Ok(found.await?)
    }

    /// A namespace and a page of its values, of one moment.
    pub async fn list(
        &self,
        name: &NamespaceName,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<(Option<NamespaceRow>, Page), IoError> {
        let (name, now) = (name.clone(), self.clock.now());
        let range =
            Range { prefix: prefix.to_owned(), after: after.to_owned(), limit, budget_bytes: PAGE_BYTES };
        let found = self.store.read(move |conn| {
            let Some(namespace) = table::namespace(conn, &name)? else { return Ok((None, Page::default())) };
            let (values, has_more) = table::values(conn, namespace.id, &range, now)?;
            Ok((Some(namespace), Page { values, has_more }))
        });
        Ok(found.await?)
    }

    /// Sets a value, creating its namespace with the first.
    pub async fn set(&self, set: Set, record: Record) -> Result<ValueRow, IoError> {
        let (now, quota) = (self.clock.now(), self.quota);
        self.store
            .try_write(move |tx| {
                let row = set_value(tx, set, now, quota)?;
                record(tx)?;
                Ok(row)
            })
            .await
    }

    /// Deletes a value.
    pub async fn delete(
        &self,
        name: &KeyName,
        basis: Basis,
        condition: Condition,
        record: Record,
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
                usage::release(tx, &name.parent.team, Kind::Values, 1, size(&row))?;
                Ok(record(tx)?)
            })
            .await
    }

    /// Deletes a namespace. Its values are gone at once; their rows go with the next sweeps.
    pub async fn delete_namespace(
        &self,
        name: &NamespaceName,
        basis: Basis,
        record: Record,
    ) -> Result<(), IoError> {
        let name = name.clone();
        self.store
            .try_write(move |tx| {
                let row = decided(tx, &name, &basis)?.ok_or_else(|| IoError::NotFound(name.to_string()))?;
                table::drop_namespace(tx, &name, row.id)?;
                Ok(record(tx)?)
            })
            .await
    }

    /// Replaces a namespace's access list.
    pub async fn set_acl(
        &self,
        name: &NamespaceName,
        basis: Basis,
        acl: String,
        record: Record,
    ) -> Result<(), IoError> {
        let name = name.clone();
        self.store
            .try_write(move |tx| {
                let row = decided(tx, &name, &basis)?.ok_or_else(|| IoError::NotFound(name.to_string()))?;
                table::set_acl(tx, row.id, &acl)?;
                Ok(record(tx)?)
            })
            .await
    }

    /// Removes what nobody can see any more; gives how many values went.
    pub async fn sweep(&self) -> Result<i64, IoError> {
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
            total += gone;
            if !more {
                return Ok(total);
            }
        }
    }
}

fn set_value(tx: &rusqlite::Connection, set: Set, now: Millis, quota: Quota) -> Result<ValueRow, IoError> {
    let namespace = match decided(tx, &set.name.parent, &set.basis)? {
        Some(namespace) => namespace,
        None => table::create_namespace(tx, &set.name.parent, set.acl_when_new, now)?,
    };
    // An expired row that was not swept yet still counts; replacing it takes its place.
    let before = table::value(tx, namespace.id, &set.name.key)?;
    let live = before.as_ref().filter(|row| row.is_live(now));
    set.condition.check(live.map(|row| row.etag.as_str()))?;
    let row = ValueRow {
        key: set.name.key,
        value: set.value,
        content_type: set.content_type,
        etag: sre_proto::ids::new_uuid().simple().to_string(),
        updated_ms: now,
        expires_ms: set.time_to_live.map(|life| now.saturating_add(millis(life))),
    };
    let change =
        Change { items: i64::from(before.is_none()), bytes: size(&row) - before.as_ref().map_or(0, size) };
    let team = set.name.parent.team;
    if usage::book(tx, &team, Kind::Values, change, quota)? == Outcome::OverQuota {
        return Err(IoError::Quota { team, what: "values" });
    }
    table::put(tx, namespace.id, &row)?;
    Ok(row)
}

/// The namespace, if the decision still stands on its list.
fn decided(
    tx: &rusqlite::Connection,
    name: &NamespaceName,
    basis: &Basis,
) -> Result<Option<NamespaceRow>, IoError> {
    let row = table::namespace(tx, name)?;
    if basis.holds(row.as_ref().map(|row| row.acl.as_str())) { Ok(row) } else { Err(IoError::AclChanged) }
}

fn size(row: &ValueRow) -> i64 {
    i64::try_from(row.value.len() + row.key.len()).unwrap_or(i64::MAX)
}
