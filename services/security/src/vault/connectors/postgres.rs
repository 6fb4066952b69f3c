//! Secrets in a PostgreSQL database, which several replicas may share: rows of (team, key, version), each value in
//! its own envelope. The database holds no key; replicas have the same key file.
//!
//! A replica that meets a value sealed with a key it does not know reads the key file again, once.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use sre_service::connectors::{Connector, Opening, Unhealthy};
use sre_store::pg::Pg;
use sre_store::pg::tokio_postgres::Row;
use sre_store::{Migration, StoreError};

use super::{SecretInfo, SecretStore, SecretStoreError};
use crate::moment::Moment;
use crate::vault::envelope::Sealed;
use crate::vault::keks::Keks;
use crate::vault::secret::SecretValue;

/// Versions of a secret that are kept.
const KEPT_VERSIONS: i64 = 10;
/// Writers of one secret that may come first.
const TRIES: usize = 64;
/// Rows of one step of a rotation.
const BATCH: i64 = 200;

/// The schema of the database.
pub static PG_MIGRATIONS: &[Migration] =
    &[Migration { version: 1, name: "vault", expand: SCHEMA, contract: None }];

const SCHEMA: &str = r#"
create table secret (
    team       text not null collate "C",
    key        text not null collate "C",
    version    bigint not null,
    created_us bigint not null,
    created_by text not null,
    kek        text not null,
    sealed     text not null,
    primary key (team, key, version)
);
create index secret_by_kek on secret (kek);
"#;

/// Settings of the kind `postgres`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Settings {
    /// The schema, where the tables are [default: `sre_vault`]. The database is that of `store.postgres`.
    schema: Option<String>,
    /// Its key file, the same on all replicas [default: `vault.key` of the configuration].
    key_file: Option<PathBuf>,
}

/// Secrets in a database.
pub struct PostgresVault {
    pg: Pg,
    keks: Keks,
}

/// Opens an instance.
pub async fn open(opening: Opening) -> anyhow::Result<Arc<dyn SecretStore>> {
    let settings: Settings = opening.settings()?;
    let configured = opening.config().store.postgres.clone();
    let mut config = configured.context("no database is configured: set store.postgres.url")?;
    config.schema = Some(settings.schema.unwrap_or_else(|| "sre_vault".to_owned()));
    let key = settings.key_file.unwrap_or_else(|| opening.config().vault.key.clone());
    let keks = crate::vault::keys::open(opening.config(), &key, None).await?;
    Ok(Arc::new(PostgresVault::new(Pg::connect(&config, PG_MIGRATIONS).await?, keks)))
}

/// What binds a sealed version to its place: as in the encrypted file.
fn place(team: &str, key: &str, version: i64) -> String {
    format!("sre-vault|1|{team}|{key}|{version}")
}

fn damaged(key: &str, problem: &dyn std::fmt::Display) -> SecretStoreError {
    SecretStoreError::Damaged(format!("secret {key:?} in the database: {problem}"))
}

fn info(row: &Row) -> Result<SecretInfo, SecretStoreError> {
    let version: i64 = get(row, "version")?;
    Ok(SecretInfo {
        key: get(row, "key")?,
        version: u64::try_from(version).unwrap_or_default(),
        updated: Moment(get(row, "created_us")?),
        updater: get(row, "created_by")?,
    })
}

fn get<'r, T: sre_store::pg::tokio_postgres::types::FromSql<'r>>(
    row: &'r Row,
    column: &str,
) -> Result<T, SecretStoreError> {
    Ok(row.try_get(column).map_err(StoreError::from)?)
}

type Param<'a> = &'a (dyn sre_store::pg::tokio_postgres::types::ToSql + Sync);

impl PostgresVault {
    /// Over a pool.
    pub fn new(pg: Pg, keks: Keks) -> Self {
        Self { pg, keks }
    }

    async fn rows(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, SecretStoreError> {
        let client = self.pg.get().await?;
        let statement = self.pg.bounded(client.prepare_cached(sql)).await?;
        Ok(self.pg.bounded(client.query(&statement, params)).await?)
    }

    async fn execute(&self, sql: &str, params: &[Param<'_>]) -> Result<u64, SecretStoreError> {
        let client = self.pg.get().await?;
        let statement = self.pg.bounded(client.prepare_cached(sql)).await?;
        Ok(self.pg.bounded(client.execute(&statement, params)).await?)
    }

    /// One statement: the version is taken, or somebody else's meanwhile.
    async fn insert(
        &self,
        team: &str,
        key: &str,
        version: i64,
        sealed: &Sealed,
        by: (&str, Moment),
    ) -> Result<bool, SecretStoreError> {
        let json = serde_json::to_string(sealed).map_err(|error| damaged(key, &error))?;
        let sql = "with made as (
                       insert into secret (team, key, version, created_us, created_by, kek, sealed)
                       values ($1, $2, $3, $4, $5, $6, $7) on conflict do nothing returning version
                   ), gone as (
                       delete from secret where team = $1 and key = $2
                       and version <= (select version from made) - $8
                   ) select version from made";
        let kek = sealed.kek().unwrap_or_default();
        let params: [Param<'_>; 8] = [&team, &key, &version, &by.1.0, &by.0, &kek, &json, &KEPT_VERSIONS];
        Ok(!self.rows(sql, &params).await?.is_empty())
    }
}

#[async_trait]
impl Connector for PostgresVault {
    async fn check(&self) -> Result<(), Unhealthy> {
        self.rows("select 1", &[]).await.map(drop).map_err(Unhealthy::new)
    }

    async fn close(&self) {
        self.pg.close();
    }
}

#[async_trait]
impl SecretStore for PostgresVault {
    async fn get(
        &self,
        team: &str,
        key: &str,
        version: Option<u64>,
    ) -> Result<Option<(SecretInfo, SecretValue)>, SecretStoreError> {
        let asked = version.map(|version| i64::try_from(version).unwrap_or(i64::MAX));
        let sql = "select key, version, created_us, created_by, sealed from secret
                   where team = $1 and key = $2 and ($3::bigint is null or version = $3)
                   order by version desc limit 1";
        let rows = self.rows(sql, &[&team, &key, &asked]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let (info, sealed) = (info(row)?, get::<String>(row, "sealed")?);
        let sealed: Sealed = serde_json::from_str(&sealed).map_err(|error| damaged(key, &error))?;
        let place = place(team, key, get(row, "version")?);
        let value = self.keks.unseal_shared(&place, &sealed).await.map_err(|error| damaged(key, &error))?;
        Ok(Some((info, SecretValue::from(value))))
    }

    async fn stat(&self, team: &str, key: &str) -> Result<Option<SecretInfo>, SecretStoreError> {
        Ok(self.versions(team, key, None, 1).await?.into_iter().next())
    }

    async fn put(
        &self,
        team: &str,
        key: &str,
        value: SecretValue,
        updater: &str,
        now: Moment,
    ) -> Result<SecretInfo, SecretStoreError> {
        for _ in 0..TRIES {
            let last = self.stat(team, key).await?.map_or(0, |info| info.version);
            let version = i64::try_from(last).unwrap_or(i64::MAX).saturating_add(1);
            let place = place(team, key, version);
            let sealed = self.keks.seal(&place, value.expose()).map_err(|error| damaged(key, &error))?;
            if self.insert(team, key, version, &sealed, (updater, now)).await? {
                let version = u64::try_from(version).unwrap_or_default();
                return Ok(SecretInfo {
                    key: key.to_owned(),
                    version,
                    updated: now,
                    updater: updater.to_owned(),
                });
            }
        }
        Err(SecretStoreError::Busy("too many writers of one secret".to_owned()))
    }

    async fn delete(&self, team: &str, key: &str) -> Result<bool, SecretStoreError> {
        Ok(self.execute("delete from secret where team = $1 and key = $2", &[&team, &key]).await? > 0)
    }

    async fn list(
        &self,
        team: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<SecretInfo>, SecretStoreError> {
        let (after, limit) = (after.unwrap_or_default(), i64::try_from(limit).unwrap_or(i64::MAX));
        let sql = "select distinct on (key) key, version, created_us, created_by from secret
                   where team = $1 and key > $2 order by key, version desc limit $3";
        self.rows(sql, &[&team, &after, &limit]).await?.iter().map(info).collect()
    }

    async fn versions(
        &self,
        team: &str,
        key: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<SecretInfo>, SecretStoreError> {
        let before = before.map_or(i64::MAX, |before| i64::try_from(before).unwrap_or(i64::MAX));
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let sql = "select key, version, created_us, created_by from secret
                   where team = $1 and key = $2 and version < $3 order by version desc limit $4";
        self.rows(sql, &[&team, &key, &before, &limit]).await?.iter().map(info).collect()
    }

    fn keks(&self) -> Option<&Keks> {
        Some(&self.keks)
    }

    /// Row by row, so that nothing waits for it; a row that changed meanwhile is left to the next round.
    async fn reseal(&self) -> Result<u64, SecretStoreError> {
        let mut count = 0;
        loop {
            let kek = self.keks.primary();
            let sql = "select team, key, version, sealed from secret where kek <> $1 limit $2";
            let rows = self.rows(sql, &[&kek.id(), &BATCH]).await?;
            if rows.is_empty() {
                return Ok(count);
            }
            for row in &rows {
                let (team, key): (String, String) = (get(row, "team")?, get(row, "key")?);
                let (version, before): (i64, String) = (get(row, "version")?, get(row, "sealed")?);
                let sealed: Sealed = serde_json::from_str(&before).map_err(|error| damaged(&key, &error))?;
                let again = self.keks.reseal(&place(&team, &key, version), &sealed);
                let sealed = again.map_err(|error| damaged(&key, &error))?.unwrap_or(sealed);
                let json = serde_json::to_string(&sealed).map_err(|error| damaged(&key, &error))?;
                let sql = "update secret set kek = $4, sealed = $5
                           where team = $1 and key = $2 and version = $3 and sealed = $6";
                let id = sealed.kek().unwrap_or_default();
                count += self.execute(sql, &[&team, &key, &version, &id, &json, &before]).await?;
            }
        }
    }
}

#[cfg(test)]
#[path = "postgres_tests.rs"]
mod tests;
