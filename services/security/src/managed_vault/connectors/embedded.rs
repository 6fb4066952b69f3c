//! The embedded managed vault: rows in a database of its own, in SQLite or what `store.backend` says, each value in its own envelope under a key of its own.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use sre_service::connectors::{Connector, Opening, Unhealthy};
use sre_store::sql::{Connection, Database, OptionalExtension, params};
use sre_store::{ErrorKind, Migration, StoreError};

use super::{Expected, ManagedInfo, ManagedStore, Place, Written};
use crate::moment::Moment;
use crate::vault::connectors::SecretStoreError;
use crate::vault::envelope::Sealed;
use crate::vault::keks::Keks;
use crate::vault::secret::SecretValue;

/// Secrets that one agent has at most.
pub const MAX_PER_AGENT: i64 = 1_000;
/// Rows of one transaction of a sweep or a rotation: calls go in between.
const BATCH: i64 = 500;

/// The schema of the store.
pub static MIGRATIONS: &[Migration] =
    &[Migration { version: 1, name: "managed_vault", expand: SCHEMA, contract: None }];

const SCHEMA: &str = "
create table managed_secret (
    team       text not null,
    agent      text not null,
    key        text not null,
    version    integer not null,
    updated_us integer not null,
    expires_us integer,
    kek        text not null,
    sealed     blob not null,
    primary key (team, agent, key)
) strict, without rowid;
create index managed_secret_by_end on managed_secret (expires_us) where expires_us is not null;
create index managed_secret_by_kek on managed_secret (kek);
";

/// Settings of the kind `embedded`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Settings {
    /// Its key file [default: `vault.managed_key` of the configuration].
    key_file: Option<PathBuf>,
}

/// Secrets of agents in rows.
pub struct Embedded {
    store: Database,
    keks: Keks,
}

/// Opens an instance.
pub async fn open(opening: Opening) -> anyhow::Result<Arc<dyn ManagedStore>> {
    let settings: Settings = opening.settings()?;
    let host = opening.host()?;
    // The built-in instance has its kind's name.
    let name =
        if opening.id == "embedded" { "managed".to_owned() } else { format!("managed-{}", opening.id) };
    let path = host.config().store_dir().join(format!("{name}.db"));
    let key = settings.key_file.unwrap_or_else(|| host.config().vault.managed_key.clone());
    let keks = crate::vault::keys::open(host.config(), &key, Some(&path)).await.context("managed vault")?;
    let store = host.named_database(&name, MIGRATIONS).await?;
    Ok(Arc::new(Embedded::new(store, keks)))
}

impl Embedded {
    /// Over an open store.
    pub fn new(store: Database, keks: Keks) -> Self {
        Self { store, keks }
    }

    async fn write<T, F>(&self, work: F) -> Result<T, SecretStoreError>
    where
        F: FnOnce(&Keks, &Connection<'_>) -> Result<T, SecretStoreError> + Send + 'static,
        T: Send + 'static,
    {
        let keks = self.keks.clone();
        self.store.try_write(move |tx| work(&keks, tx)).await
    }
}

struct Row {
    info: ManagedInfo,
    sealed: Vec<u8>,
}

/// The row, whether it has expired or not.
fn find(conn: &Connection<'_>, place: &Place) -> Result<Option<Row>, SecretStoreError> {
    let sql = "select version, updated_us, expires_us, sealed from managed_secret
               where team = ?1 and agent = ?2 and key = ?3";
    let read = |row: &sre_store::sql::Row<'_>| {
        let version: i64 = row.get(0)?;
        let info = ManagedInfo {
            version: u64::try_from(version).unwrap_or_default(),
            updated: row.get(1)?,
            expires: row.get(2)?,
        };
        Ok(Row { info, sealed: row.get(3)? })
    };
    let found = conn.prepare_cached(sql)?.query_row([&place.team, &place.agent, &place.key], read);
    Ok(found.optional()?)
}

fn live(row: Option<Row>, now: Moment) -> Option<Row> {
    row.filter(|row| row.info.expires.is_none_or(|end| end > now))
}

fn bound(place: &Place, version: u64) -> String {
    format!("sre-managed|1|{}|{}|{}|{version}", place.team, place.agent, place.key)
}

fn parse(place: &Place, bytes: &[u8]) -> Result<Sealed, SecretStoreError> {
    serde_json::from_slice(bytes).map_err(|error| damaged(place, &error))
}

fn damaged(place: &Place, problem: &dyn std::fmt::Display) -> SecretStoreError {
    SecretStoreError::Damaged(format!("managed secret {:?} of agent {}: {problem}", place.key, place.agent))
}

fn set(
    keks: &Keks,
    tx: &Connection<'_>,
    place: &Place,
    value: &SecretValue,
    expires: Option<Moment>,
    expected: Expected,
    now: Moment,
) -> Result<Written, SecretStoreError> {
    let row = find(tx, place)?;
    let last = row.as_ref().map(|row| row.info.version);
    let current = live(row, now).map(|row| row.info.version);
    let is_expected = match expected {
        Expected::Anything => true,
        Expected::Nothing => current.is_none(),
        Expected::Version(version) => current == Some(version),
    };
    if !is_expected {
        return Ok(Written::Conflict);
    }
    if last.is_none() {
        check_room(tx, place)?;
    }
    // From the clock, so that one that was deleted and is set again does not have a version it had before.
    let version = last.map_or(0, |last| last + 1).max(u64::try_from(now.0).unwrap_or_default()).max(1);
    let sealed = keks.seal(&bound(place, version), value.expose()).map_err(|error| damaged(place, &error))?;
    let kek = sealed.kek().unwrap_or_default().to_owned();
    let sealed = serde_json::to_vec(&sealed).map_err(|error| damaged(place, &error))?;
    let number = i64::try_from(version).map_err(|error| damaged(place, &error))?;
    let sql = "insert into managed_secret (team, agent, key, version, updated_us, expires_us, kek, sealed)
               values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
               on conflict (team, agent, key) do update set version = excluded.version,
                   updated_us = excluded.updated_us, expires_us = excluded.expires_us, kek = excluded.kek,
                   sealed = excluded.sealed";
    tx.prepare_cached(sql)?.execute(params![
        place.team,
        place.agent,
        place.key,
        number,
        now,
        expires,
        kek,
        sealed
    ])?;
    Ok(Written::Done(ManagedInfo { version, updated: now, expires }))
}

fn check_room(tx: &Connection<'_>, place: &Place) -> Result<(), SecretStoreError> {
    let sql = "select count(*) from managed_secret where team = ?1 and agent = ?2";
    let count: i64 = tx.prepare_cached(sql)?.query_row([&place.team, &place.agent], |row| row.get(0))?;
    if count >= MAX_PER_AGENT {
        return Err(SecretStoreError::Full(format!(
            "the agent has {MAX_PER_AGENT} managed secrets: delete those that it does not use"
        )));
    }
    Ok(())
}

/// Wraps one batch anew; 0 when all is done.
fn reseal(keks: &Keks, tx: &Connection<'_>) -> Result<u64, SecretStoreError> {
    let kek = keks.primary();
    let sql = "select team, agent, key, version, sealed from managed_secret where kek <> ?1 limit ?2";
    let mut statement = tx.prepare_cached(sql)?;
    let rows = statement
        .query_map(params![kek.id(), BATCH], |row| {
            let place = Place { team: row.get(0)?, agent: row.get(1)?, key: row.get(2)? };
            Ok((place, row.get::<i64>(3)?, row.get::<Vec<u8>>(4)?))
        })?
        .collect::<Result<Vec<_>, _>>()?;
    let sql = "update managed_secret set kek = ?4, sealed = ?5 where team = ?1 and agent = ?2 and key = ?3";
    let mut update = tx.prepare_cached(sql)?;
    let mut count = 0;
    for (place, version, sealed) in rows {
        let bound = bound(&place, u64::try_from(version).unwrap_or_default());
        let sealed = parse(&place, &sealed)?;
        let again = keks.reseal(&bound, &sealed).map_err(|error| damaged(&place, &error))?;
        let sealed = again.unwrap_or(sealed);
        let json = serde_json::to_vec(&sealed).map_err(|error| damaged(&place, &error))?;
        update.execute(params![
            place.team,
            place.agent,
            place.key,
            sealed.kek().unwrap_or_default(),
            json
        ])?;
        count += 1;
    }
    Ok(count)
}

#[async_trait]
impl Connector for Embedded {
    async fn check(&self) -> Result<(), Unhealthy> {
        let one = self.store.read(|conn| conn.query_row("select 1", params![], |_| Ok(()))).await;
        one.map_err(Unhealthy::new)
    }
}

#[async_trait]
impl ManagedStore for Embedded {
    async fn get(
        &self,
        place: &Place,
        now: Moment,
    ) -> Result<Option<(ManagedInfo, SecretValue)>, SecretStoreError> {
        let at = place.clone();
        let found = self.store.try_read(move |conn| find(conn, &at)).await?;
        let Some(row) = live(found, now) else { return Ok(None) };
        let sealed = parse(place, &row.sealed)?;
        let value = self.keks.unseal_shared(&bound(place, row.info.version), &sealed).await;
        let value = value.map_err(|error| damaged(place, &error))?;
        Ok(Some((row.info, SecretValue::from(value))))
    }

    async fn set(
        &self,
        place: &Place,
        value: SecretValue,
        expires: Option<Moment>,
        expected: Expected,
        now: Moment,
    ) -> Result<Written, SecretStoreError> {
        let place = place.clone();
        // Sealed in the transaction, so that a rotation which goes over the rows after it finds the row.
        self.write(move |keks, tx| set(keks, tx, &place, &value, expires, expected, now)).await
    }

    async fn delete(&self, place: &Place, now: Moment) -> Result<bool, SecretStoreError> {
        let place = place.clone();
        self.write(move |_, tx| {
            let was_live = live(find(tx, &place)?, now).is_some();
            let sql = "delete from managed_secret where team = ?1 and agent = ?2 and key = ?3";
            tx.prepare_cached(sql)?.execute([&place.team, &place.agent, &place.key])?;
            Ok(was_live)
        })
        .await
    }

    async fn purge(&self, team: &str, agent: &str) -> Result<u64, SecretStoreError> {
        let (team, agent) = (team.to_owned(), agent.to_owned());
        self.write(move |_, tx| {
            let sql = "delete from managed_secret where team = ?1 and agent = ?2";
            let gone = tx.prepare_cached(sql)?.execute([&team, &agent])?;
            Ok(u64::try_from(gone).unwrap_or(u64::MAX))
        })
        .await
    }

    async fn sweep(&self, now: Moment) -> Result<u64, SecretStoreError> {
        let mut count = 0;
        loop {
            let gone = self
                .write(move |_, tx| {
                    let sql = "delete from managed_secret where (team, agent, key) in
                               (select team, agent, key from managed_secret where expires_us <= ?1 limit ?2)";
                    Ok(tx.prepare_cached(sql)?.execute(params![now, BATCH])?)
                })
                .await?;
            count += u64::try_from(gone).unwrap_or(u64::MAX);
            if gone == 0 {
                return Ok(count);
            }
        }
    }

    fn keks(&self) -> Option<&Keks> {
        Some(&self.keks)
    }

    async fn reseal(&self) -> Result<u64, SecretStoreError> {
        let mut count = 0;
        loop {
            let done = self.write(reseal).await?;
            count += done;
            if done == 0 {
                return Ok(count);
            }
        }
    }
}

impl From<StoreError> for SecretStoreError {
    fn from(error: StoreError) -> Self {
        match error.kind() {
            ErrorKind::Overloaded | ErrorKind::Busy => Self::Busy(error.to_string()),
            ErrorKind::Closed | ErrorKind::Unavailable => Self::Unavailable(error.to_string()),
            _ => Self::Damaged(error.to_string()),
        }
    }
}

#[cfg(test)]
#[path = "embedded_tests.rs"]
mod tests;
