//! Namespaces in a PostgreSQL database, which several processes may share. A change is one function of the
//! database, and its audit record is in the same transaction.

mod schema;

use std::sync::Arc;

use async_trait::async_trait;
use sre_service::connectors::{Connector, Opening, Unhealthy};
use sre_store::StoreError;
use sre_store::pg::tokio_postgres::Row;
use sre_store::pg::tokio_postgres::types::ToSql;
use sre_store::pg::{GenericClient as _, Pg, PgConfig};

pub use self::schema::{MIGRATIONS, SESSION};
use super::NkvStore;
use crate::basis::{Basis, Condition, Recorder};
use crate::clock::Clock;
use crate::error::IoError;
use crate::nkv::PAGE_BYTES;
use crate::nkv::model::{Found, Names, Namespace, Page, Range, Set, ValueRow};
use crate::nkv::name::{KeyName, NamespaceName};

const SWEEP_BATCH: i32 = 500;
/// Schema of the tables where the settings name none.
const SCHEMA: &str = "sre_nkv";
/// Tries of a transaction that was in another's way. Nothing was written by those before.
const TRIES: u32 = 6;

const COLUMNS: &str = "v.key, v.value, v.content_type, v.etag, v.updated_ms, v.expires_ms";

/// Checks the settings without connecting.
pub(super) fn check(opening: &Opening) -> anyhow::Result<()> {
    let config: PgConfig = opening.settings()?;
    anyhow::ensure!(config.url.is_some() || config.host.is_some(), "neither url nor host is set: set one");
    Ok(())
}

/// Opens an instance over a database of its own.
pub(super) async fn open(opening: Opening) -> anyhow::Result<Arc<dyn NkvStore>> {
    let config: PgConfig = opening.settings()?;
    let schema = config.schema.clone().unwrap_or_else(|| SCHEMA.to_owned());
    let config = PgConfig { schema: Some(schema), session: SESSION, ..config };
    // Outside of a service there is nobody to ship audit records.
    let pg = match opening.host() {
        Ok(host) => host.connect_postgres(&config, MIGRATIONS).await?,
        Err(_) => Pg::connect(&config, MIGRATIONS).await?,
    };
    Ok(Arc::new(PostgresValues::new(pg, Clock::system())))
}

/// Namespaces in PostgreSQL. Clones share the pool.
#[derive(Clone, Debug)]
pub struct PostgresValues {
    pg: Pg,
    clock: Clock,
}

impl PostgresValues {
    /// Namespaces in a database.
    pub fn new(pg: Pg, clock: Clock) -> Self {
        Self { pg, clock }
    }

    async fn rows(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, IoError> {
        let client = self.pg.get().await?;
        let statement = self.pg.bounded(client.prepare_cached(sql)).await?;
        Ok(self.pg.bounded(client.query(&statement, parameters)).await?)
    }

    /// Runs a function that changes something, with the audit record of the change in its transaction; again where
    /// another was in its way.
    async fn change(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
        record: &Recorder,
    ) -> Result<String, IoError> {
        let mut tries = 1;
        loop {
            match self.try_change(sql, parameters, record).await {
                Err(IoError::Store(StoreError::Busy { .. })) if tries < TRIES => tries += 1,
                done => return done,
            }
        }
    }

    async fn try_change(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
        record: &Recorder,
    ) -> Result<String, IoError> {
        let loan = self.pg.lend().await?;
        let outcome: Result<String, IoError> = {
            let client = loan.client()?;
            loan.run(async {
                let statement = client.prepare_cached(sql).await.map_err(StoreError::from)?;
                client.batch_execute("begin").await.map_err(StoreError::from)?;
                let told = match client.query_one(&statement, parameters).await {
                    Ok(row) => row.try_get::<_, String>(0).map_err(StoreError::from)?,
                    Err(error) => refusal(&error).ok_or_else(|| StoreError::from(error))?,
                };
                if told != "done" {
                    client.batch_execute("rollback").await.map_err(StoreError::from)?;
                    return Ok(told);
                }
                record.postgres(client).await?;
                client.batch_execute("commit").await.map_err(StoreError::from)?;
                Ok(told)
            })
            .await
        };
        let outcome = loan.finish(outcome).await;
        if outcome.as_ref().is_ok_and(|told| told == "done") {
            record.committed();
        }
        outcome
    }
}

#[async_trait]
impl Connector for PostgresValues {
    async fn check(&self) -> Result<(), Unhealthy> {
        self.rows("select 1", &[]).await.map(drop).map_err(Unhealthy::new)
    }

    async fn close(&self) {
        self.pg.close();
    }
}

#[async_trait]
impl NkvStore for PostgresValues {
    async fn find(&self, name: &NamespaceName) -> Result<Option<Namespace>, IoError> {
        let sql = "select list from namespace where team = $1 and name = $2";
        let rows = self.rows(sql, &[&name.team, &name.namespace]).await?;
        rows.first().map(|row| namespace(row, 0)).transpose()
    }

    async fn get(&self, name: &KeyName) -> Result<Found, IoError> {
        let sql = format!(
            "select {COLUMNS}, n.list from namespace n
             left join value v on v.namespace = n.id and v.key = $3 and (v.expires_ms is null or v.expires_ms > $4)
             where n.team = $1 and n.name = $2"
        );
        let now = self.clock.now();
        let parent = &name.parent;
        let rows = self.rows(&sql, &[&parent.team, &parent.namespace, &name.key, &now]).await?;
        let Some(row) = rows.first() else { return Ok((None, None)) };
        Ok((Some(namespace(row, 6)?), value(row)?))
    }

    async fn list(&self, name: &NamespaceName, range: &Range) -> Result<(Option<Namespace>, Page), IoError> {
        // Sizes first, so that a page of large values does not come over the wire to be cut off here.
        let sql = format!(
            "with page as (
                 select v.key, sum(octet_length(v.value) + octet_length(v.key)) over (order by v.key) as bytes,
                        row_number() over (order by v.key) as number
                 from namespace n join value v on v.namespace = n.id
                 where n.team = $1 and n.name = $2 and v.key >= $3 and v.key > $4 and starts_with(v.key, $3)
                   and (v.expires_ms is null or v.expires_ms > $5)
                 order by v.key limit $6)
             select {COLUMNS}, n.list, exists(select 1 from page p where p.number > $7 or
                        (p.bytes > $8 and p.number > 1)) as has_more
             from namespace n
             left join page on page.number <= $7 and (page.bytes <= $8 or page.number = 1)
             left join value v on v.namespace = n.id and v.key = page.key
             where n.team = $1 and n.name = $2 order by v.key"
        );
        let limit = i64::try_from(range.limit).unwrap_or(i64::MAX - 1);
        let (now, budget) = (self.clock.now(), i64::try_from(PAGE_BYTES).unwrap_or(i64::MAX));
        let parameters: [&(dyn ToSql + Sync); 8] =
            [&name.team, &name.namespace, &range.prefix, &range.after, &now, &(limit + 1), &limit, &budget];
        let rows = self.rows(&sql, &parameters).await?;
        let Some(first) = rows.first() else { return Ok((None, Page::default())) };
        let found = namespace(first, 6)?;
        let has_more: bool = first.try_get(7).map_err(StoreError::from)?;
        let values = rows.iter().filter_map(|row| value(row).transpose()).collect::<Result<Vec<_>, _>>()?;
        let next = values.last().map(|row| row.key.clone()).filter(|_| has_more);
        Ok((Some(found), Page { values, next }))
    }

    async fn namespaces(&self, team: &str, after: &str, limit: usize) -> Result<Names, IoError> {
        let sql = "select name, list from namespace where team = $1 and name > $2 order by name limit $3";
        let one_more = i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX);
        let rows = self.rows(sql, &[&team, &after, &one_more]).await?;
        let named = |row: &Row| Ok((row.try_get(0).map_err(StoreError::from)?, namespace(row, 1)?));
        let mut namespaces = rows.iter().map(named).collect::<Result<Vec<_>, IoError>>()?;
        let has_more = namespaces.len() > limit;
        namespaces.truncate(limit);
        Ok(Names { namespaces, has_more })
    }

    async fn set(&self, set: Set, record: Recorder) -> Result<ValueRow, IoError> {
        let (name, basis, list_when_new) = (set.name.clone(), set.basis.clone(), set.list_when_new.clone());
        let over = condition(&set.condition);
        let (now, quota) = (self.clock.now(), set.quota);
        let row = set.row(now);
        let sql = "select set_value($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
        let bytes = &row.value[..];
        let parent = &name.parent;
        let parameters: [&(dyn ToSql + Sync); 13] = [
            &parent.team,
            &parent.namespace,
            &name.key,
            &basis.list(),
            &list_when_new,
            &over,
            &now,
            &row.expires_ms,
            &bytes,
            &row.content_type,
            &row.etag,
            &quota.items,
            &quota.bytes,
        ];
        judge(&self.change(sql, &parameters, &record).await?, || name.to_string(), &parent.team)?;
        Ok(row)
    }

    async fn delete(
        &self,
        name: &KeyName,
        basis: Basis,
        over: Condition,
        record: Recorder,
    ) -> Result<(), IoError> {
        let parent = &name.parent;
        let parameters: [&(dyn ToSql + Sync); 6] =
            [&parent.team, &parent.namespace, &name.key, &basis.list(), &condition(&over), &self.clock.now()];
        let told = self.change("select delete_value($1, $2, $3, $4, $5, $6)", &parameters, &record).await?;
        judge(&told, || name.to_string(), &parent.team)
    }

    async fn delete_namespace(
        &self,
        name: &NamespaceName,
        basis: Basis,
        record: Recorder,
    ) -> Result<(), IoError> {
        let parameters: [&(dyn ToSql + Sync); 3] = [&name.team, &name.namespace, &basis.list()];
        let told = self.change("select drop_namespace($1, $2, $3)", &parameters, &record).await?;
        judge(&told, || name.to_string(), &name.team)
    }

    async fn set_list(
        &self,
        name: &NamespaceName,
        basis: Basis,
        list: String,
        record: Recorder,
    ) -> Result<(), IoError> {
        let parameters: [&(dyn ToSql + Sync); 4] = [&name.team, &name.namespace, &basis.list(), &list];
        let told = self.change("select set_list($1, $2, $3, $4)", &parameters, &record).await?;
        judge(&told, || name.to_string(), &name.team)
    }

    async fn sweep(&self) -> Result<u64, IoError> {
        let mut gone = 0;
        loop {
            let rows = self.rows("select sweep_values($1, $2)", &[&self.clock.now(), &SWEEP_BATCH]).await?;
            let swept: i64 = match rows.first() {
                Some(row) => row.try_get(0).map_err(StoreError::from)?,
                None => 0,
            };
            gone += swept.unsigned_abs();
            if swept == 0 {
                return Ok(gone);
            }
        }
    }

    async fn used(&self, team: &str) -> Result<(i64, i64), IoError> {
        let sql = "select coalesce(sum(items), 0)::bigint, coalesce(sum(bytes), 0)::bigint from team_share
                   where team = $1";
        let rows = self.rows(sql, &[&team]).await?;
        let Some(row) = rows.first() else { return Ok((0, 0)) };
        Ok((row.try_get(0).map_err(StoreError::from)?, row.try_get(1).map_err(StoreError::from)?))
    }
}

fn namespace(row: &Row, column: usize) -> Result<Namespace, IoError> {
    let list: String = row.try_get(column).map_err(StoreError::from)?;
    Ok(Namespace { list: list.into() })
}

/// The value of a row; none where the join found none.
fn value(row: &Row) -> Result<Option<ValueRow>, IoError> {
    let read = || {
        let Some(key) = row.try_get(0)? else { return Ok(None) };
        Ok(Some(ValueRow {
            key,
            value: row.try_get::<_, Vec<u8>>(1)?.into(),
            content_type: row.try_get(2)?,
            etag: row.try_get(3)?,
            updated_ms: row.try_get(4)?,
            expires_ms: row.try_get(5)?,
        }))
    };
    Ok(read().map_err(|error: sre_store::pg::tokio_postgres::Error| StoreError::from(error))?)
}

fn condition(condition: &Condition) -> String {
    match condition {
        Condition::Always => "always".to_owned(),
        Condition::IfAbsent => "absent".to_owned(),
        Condition::IfMatch(etag) => format!("={etag}"),
    }
}

/// What a function refuses by raising, so that what it did is undone.
fn refusal(error: &sre_store::pg::tokio_postgres::Error) -> Option<String> {
    match error.code()?.code() {
        "SR001" => Some("exists".to_owned()),
        "SR002" => Some("other".to_owned()),
        "SR003" => Some("quota".to_owned()),
        _ => None,
    }
}

fn judge(told: &str, name: impl Fn() -> String, team: &str) -> Result<(), IoError> {
    match told {
        "done" => Ok(()),
        "moved" => Err(IoError::AclChanged),
        "none" => Err(IoError::NotFound(name())),
        "exists" => Err(IoError::Exists),
        "other" => Err(IoError::OtherVersion),
        "quota" => Err(IoError::Quota { team: team.to_owned(), what: "values" }),
        other => Err(IoError::Broken(format!("a function of namespaces answers {other:?}"))),
    }
}
