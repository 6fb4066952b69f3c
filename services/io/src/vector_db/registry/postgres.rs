//! The registry in a PostgreSQL database, which several processes may share.
//!
//! Writers lock the row of the namespace first, then that of the team's usage, so that no two wait for each other
//! in a circle.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use sre_store::pg::tokio_postgres::{self, Row};
use sre_store::pg::{Pg, PgClient};
use sre_store::{ErrorKind, Migration, StoreError};
use sre_vectors::{Collection, CollectionId, Generation, Metric, Visibility};

use super::sqlite::{hex, id_of};
use super::{Commit, DatasourceRow, Due, NamespaceRow, Registry, RequestRow, Result};
use crate::basis::Basis;
use crate::clock::Millis;
use crate::error::IoError;
use crate::usage::Quota;
use crate::vector_db::name::NamespaceName;
use crate::vector_db::record::Recorder;

/// What the statements are written for.
pub const PG_SESSION: &[(&str, &str)] = &[("default_transaction_isolation", "read\\ committed")];

/// Schema versions.
pub static PG_MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "audit outbox",
        expand: sre_service::audit::PG_MIGRATION_SQL,
        contract: None,
    },
    Migration { version: 2, name: "namespaces and datasources", expand: TABLES, contract: None },
];

const TABLES: &str = "
create table vector_namespace (
    id text primary key,
    name text collate \"C\" not null unique,
    scope text not null,
    team text not null,
    dimension bigint not null,
    metric text not null,
    embedding text,
    instance text not null,
    description text not null,
    acl text not null,
    created_ms bigint not null,
    row_count bigint not null,
    size_bytes bigint not null,
    next_generation bigint not null
);
create index vector_namespace_by_scope on vector_namespace (scope, name);
create table datasource (
    namespace text not null,
    id text collate \"C\" not null,
    label text not null,
    metadata text not null,
    chunk_size integer not null,
    chunk_overlap integer not null,
    chunks integer not null,
    text_bytes bigint not null,
    bytes bigint not null,
    etag text not null,
    generation bigint not null,
    creator text not null,
    created_ms bigint not null,
    updated_ms bigint not null,
    text bytea not null,
    primary key (namespace, id)
);
create table stray_generation (
    namespace text not null,
    generation bigint not null,
    due_ms bigint not null,
    condemned boolean not null default false,
    primary key (namespace, generation)
);
create index stray_generation_by_due on stray_generation (due_ms);
create table direct_row (
    namespace text not null,
    id text not null,
    bytes bigint not null,
    primary key (namespace, id)
);
create table vector_request (
    namespace text not null,
    id text not null,
    digest text not null,
    datasource text not null,
    at_ms bigint not null,
    primary key (namespace, id)
);
create index vector_request_by_time on vector_request (at_ms);
create table dropped_collection (
    id text primary key,
    dimension bigint not null,
    metric text not null,
    instance text not null
);
create table vector_usage (
    team text primary key,
    row_count bigint not null,
    size_bytes bigint not null
);
";

const NAMESPACE: &str = "id, name, scope, team, dimension, metric, embedding, instance, description, acl, \
                         created_ms, row_count, size_bytes";
const DATASOURCE: &str = "id, label, metadata, chunk_size, chunk_overlap, chunks, text_bytes, bytes, etag, \
                          generation, creator, created_ms, updated_ms";

/// Tries of a transaction that was in another's way. Nothing was written by those before.
const TRIES: u32 = 6;
/// The wait after the first; doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(5);

/// Runs work on a connection in a transaction, again where another was in its way. No function over a closure, for
/// its future could not be told to be `Send` for every connection.
macro_rules! transact {
    ($pg:expr, $client:ident => $work:expr) => {{
        let mut tries = 0;
        loop {
            let loan = $pg.lend().await?;
            let outcome: Result<_> = {
                let $client = loan.client()?;
                loan.run(async {
                    batch($client, "begin").await?;
                    let done = $work;
                    batch($client, "commit").await?;
                    Ok(done)
                })
                .await
            };
            let outcome = loan.finish(outcome).await;
            tries += 1;
            if tries == TRIES || !is_busy(outcome.as_ref().err()) {
                break outcome;
            }
            tokio::time::sleep(FIRST_WAIT * 2u32.pow(tries)).await;
        }
    }};
}

fn is_busy(error: Option<&IoError>) -> bool {
    matches!(error, Some(IoError::Store(error)) if error.kind() == ErrorKind::Busy)
}

/// The registry in a database. Clones share it.
#[derive(Debug, Clone)]
pub struct PostgresRegistry {
    pg: Pg,
}

impl PostgresRegistry {
    /// Over a pool with [`PG_MIGRATIONS`] and [`PG_SESSION`].
    pub fn new(pg: Pg) -> Self {
        Self { pg }
    }
}

type Parameters<'p> = &'p [&'p (dyn tokio_postgres::types::ToSql + Sync)];

async fn batch(client: &PgClient, sql: &str) -> Result<()> {
    client.batch_execute(sql).await.map_err(failed)
}

async fn execute(client: &PgClient, sql: &str, values: Parameters<'_>) -> Result<u64> {
    let statement = client.prepare_cached(sql).await.map_err(failed)?;
    client.execute(&statement, values).await.map_err(failed)
}

async fn query(client: &PgClient, sql: &str, values: Parameters<'_>) -> Result<Vec<Row>> {
    let statement = client.prepare_cached(sql).await.map_err(failed)?;
    client.query(&statement, values).await.map_err(failed)
}

async fn one(client: &PgClient, sql: &str, values: Parameters<'_>) -> Result<Option<Row>> {
    Ok(query(client, sql, values).await?.into_iter().next())
}

fn failed(error: tokio_postgres::Error) -> IoError {
    StoreError::from(error).into()
}

fn get<'r, T: tokio_postgres::types::FromSql<'r>>(row: &'r Row, place: usize) -> Result<T> {
    row.try_get(place).map_err(failed)
}

fn read_namespace(row: &Row) -> Result<NamespaceRow> {
    let embedding: Option<String> = get(row, 6)?;
    Ok(NamespaceRow {
        id: id_of(get(row, 0)?),
        name: get(row, 1)?,
        scope: get(row, 2)?,
        team: get(row, 3)?,
        dimension: usize::try_from(get::<i64>(row, 4)?).unwrap_or_default(),
        metric: Metric::of_name(get(row, 5)?).unwrap_or(Metric::Cosine),
        embedding: embedding.and_then(|text| serde_json::from_str(&text).ok()),
        instance: get(row, 7)?,
        description: get(row, 8)?,
        acl: get(row, 9)?,
        created_ms: get(row, 10)?,
        rows: get(row, 11)?,
        bytes: get(row, 12)?,
    })
}

fn read_datasource(row: &Row) -> Result<DatasourceRow> {
    Ok(DatasourceRow {
        id: get(row, 0)?,
        label: get(row, 1)?,
        metadata: get(row, 2)?,
        chunk_size: get(row, 3)?,
        chunk_overlap: get(row, 4)?,
        chunks: get(row, 5)?,
        text_bytes: get(row, 6)?,
        bytes: get(row, 7)?,
        etag: get(row, 8)?,
        generation: get(row, 9)?,
        creator: get(row, 10)?,
        created_ms: get(row, 11)?,
        updated_ms: get(row, 12)?,
    })
}

fn read_collection(row: &Row) -> Result<Collection> {
    Ok(Collection {
        id: id_of(get(row, 0)?),
        dimension: usize::try_from(get::<i64>(row, 1)?).unwrap_or_default(),
        metric: Metric::of_name(get(row, 2)?).unwrap_or(Metric::Cosine),
    })
}

/// The namespace, locked, if the decision still stands on its list.
async fn decided(client: &PgClient, name: &NamespaceName, basis: &Basis) -> Result<NamespaceRow> {
    let sql = format!("select {NAMESPACE} from vector_namespace where name = $1 for update");
    let row = one(client, &sql, &[&name.to_string()]).await?;
    let row = row.as_ref().map(read_namespace).transpose()?;
    if !basis.holds(row.as_ref().map(|row| row.acl.as_str())) {
        return Err(IoError::AclChanged);
    }
    row.ok_or_else(|| IoError::NotFound(name.to_string()))
}

async fn datasource(client: &PgClient, namespace: &str, id: &str) -> Result<Option<DatasourceRow>> {
    let sql = format!("select {DATASOURCE} from datasource where namespace = $1 and id = $2");
    one(client, &sql, &[&namespace, &id]).await?.as_ref().map(read_datasource).transpose()
}

/// Books a change on namespace and team, unless it grows beyond the quota.
async fn book(
    client: &PgClient,
    row: &NamespaceRow,
    rows: i64,
    bytes: i64,
    quota: Option<Quota>,
) -> Result<()> {
    let sql = "insert into vector_usage (team, row_count, size_bytes) values ($1, $2, $3)
               on conflict (team) do update set row_count = vector_usage.row_count + $2,
                 size_bytes = vector_usage.size_bytes + $3
               returning row_count, size_bytes";
    let held = one(client, sql, &[&row.team, &rows, &bytes]).await?;
    let (held_rows, held_bytes): (i64, i64) = match &held {
        Some(row) => (get(row, 0)?, get(row, 1)?),
        None => (0, 0),
    };
    let over =
        |quota: Quota| (rows > 0 && held_rows > quota.items) || (bytes > 0 && held_bytes > quota.bytes);
    if quota.is_some_and(over) {
        // With the transaction, the booking goes.
        return Err(IoError::Quota { team: row.team.clone(), what: "vectors" });
    }
    let sql =
        "update vector_namespace set row_count = row_count + $2, size_bytes = size_bytes + $3 where id = $1";
    execute(client, sql, &[&hex(row.id), &rows, &bytes]).await.map(drop)
}

async fn add_stray(client: &PgClient, namespace: &str, generation: Generation, due_ms: Millis) -> Result<()> {
    let sql = "insert into stray_generation (namespace, generation, due_ms) values ($1, $2, $3)";
    execute(client, sql, &[&namespace, &generation, &due_ms]).await.map(drop)
}

async fn commit(client: &PgClient, commit: &Commit) -> Result<DatasourceRow> {
    let namespace = decided(client, &commit.namespace, &commit.basis).await?;
    if namespace.id != commit.id {
        return Err(IoError::AclChanged);
    }
    let id = hex(namespace.id);
    let mut row = commit.row.clone();
    let sql = "delete from stray_generation where namespace = $1 and generation = $2 and not condemned";
    if execute(client, sql, &[&id, &row.generation]).await? == 0 {
        return Err(IoError::Interrupted("it took too long: send it again".to_owned()));
    }
    let before = datasource(client, &id, &row.id).await?;
    commit.condition.check(before.as_ref().map(|row| row.etag.as_str()))?;
    let (mut rows, mut bytes) = (i64::from(row.chunks), row.bytes);
    if let Some(before) = before {
        add_stray(client, &id, before.generation, commit.due_ms).await?;
        row.created_ms = before.created_ms;
        rows -= i64::from(before.chunks);
        bytes -= before.bytes;
    }
    book(client, &namespace, rows, bytes, Some(commit.quota)).await?;
    let sql = format!(
        "insert into datasource (namespace, {DATASOURCE}, text)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
         on conflict (namespace, id) do update set label = excluded.label, metadata = excluded.metadata,
           chunk_size = excluded.chunk_size, chunk_overlap = excluded.chunk_overlap, chunks = excluded.chunks,
           text_bytes = excluded.text_bytes, bytes = excluded.bytes, etag = excluded.etag,
           generation = excluded.generation, creator = excluded.creator, updated_ms = excluded.updated_ms,
           text = excluded.text"
    );
    let values: Parameters<'_> = &[
        &id,
        &row.id,
        &row.label,
        &row.metadata,
        &row.chunk_size,
        &row.chunk_overlap,
        &row.chunks,
        &row.text_bytes,
        &row.bytes,
        &row.etag,
        &row.generation,
        &row.creator,
        &row.created_ms,
        &row.updated_ms,
        &commit.text.as_bytes(),
    ];
    execute(client, &sql, values).await?;
    if let Some(request) = &commit.request {
        let sql = "insert into vector_request (namespace, id, digest, datasource, at_ms)
                   values ($1, $2, $3, $4, $5)
                   on conflict (namespace, id) do update set digest = excluded.digest,
                     datasource = excluded.datasource, at_ms = excluded.at_ms";
        execute(client, sql, &[&id, &request.id, &request.digest, &row.id, &row.updated_ms]).await?;
    }
    Ok(row)
}

async fn remove(client: &PgClient, name: &NamespaceName, basis: &Basis) -> Result<()> {
    let row = decided(client, name, basis).await?;
    let id = hex(row.id);
    book(client, &row, -row.rows, -row.bytes, None).await?;
    let sql = "insert into dropped_collection (id, dimension, metric, instance)
               select id, dimension, metric, instance from vector_namespace where id = $1";
    execute(client, sql, &[&id]).await?;
    execute(client, "delete from vector_namespace where id = $1", &[&id]).await?;
    for table in ["datasource", "stray_generation", "direct_row", "vector_request"] {
        execute(client, &format!("delete from {table} where namespace = $1"), &[&id]).await?;
    }
    Ok(())
}

async fn remove_datasource(
    client: &PgClient,
    name: &NamespaceName,
    basis: &Basis,
    id: &str,
    due_ms: Millis,
) -> Result<()> {
    let namespace = decided(client, name, basis).await?;
    let hex = hex(namespace.id);
    let absent = || IoError::NotFound(format!("{name}/datasources/{id}"));
    let row = datasource(client, &hex, id).await?.ok_or_else(absent)?;
    add_stray(client, &hex, row.generation, due_ms).await?;
    book(client, &namespace, -i64::from(row.chunks), -row.bytes, None).await?;
    execute(client, "delete from datasource where namespace = $1 and id = $2", &[&hex, &id]).await.map(drop)
}

async fn book_rows(
    client: &PgClient,
    name: &NamespaceName,
    basis: &Basis,
    rows: &[(String, i64)],
    quota: Quota,
) -> Result<usize> {
    let namespace = decided(client, name, basis).await?;
    let hex = hex(namespace.id);
    // Of two with one id the later.
    let rows: HashMap<&str, i64> = rows.iter().map(|(id, bytes)| (id.as_str(), *bytes)).collect();
    let (ids, sizes): (Vec<&str>, Vec<i64>) = rows.into_iter().unzip();
    let sql = "select count(*), coalesce(sum(bytes), 0)::bigint from direct_row
               where namespace = $1 and id = any ($2)";
    let (known, known_bytes): (i64, i64) = match one(client, sql, &[&hex, &ids]).await? {
        Some(row) => (get(&row, 0)?, get(&row, 1)?),
        None => (0, 0),
    };
    let sql = "insert into direct_row (namespace, id, bytes)
               select $1, id, bytes from unnest($2::text[], $3::bigint[]) as given (id, bytes)
               on conflict (namespace, id) do update set bytes = excluded.bytes";
    execute(client, sql, &[&hex, &ids, &sizes]).await?;
    let created = i64::try_from(ids.len()).unwrap_or(i64::MAX) - known;
    book(client, &namespace, created, sizes.iter().sum::<i64>() - known_bytes, Some(quota)).await?;
    Ok(usize::try_from(created).unwrap_or_default())
}

async fn release_rows(client: &PgClient, name: &NamespaceName, basis: &Basis, rows: &[String]) -> Result<()> {
    let namespace = decided(client, name, basis).await?;
    let sql = "with gone as (delete from direct_row where namespace = $1 and id = any ($2) returning bytes)
               select count(*), coalesce(sum(bytes), 0)::bigint from gone";
    let (count, bytes): (i64, i64) = match one(client, sql, &[&hex(namespace.id), &rows]).await? {
        Some(row) => (get(&row, 0)?, get(&row, 1)?),
        None => (0, 0),
    };
    book(client, &namespace, -count, -bytes, None).await
}

async fn create(client: &PgClient, row: &NamespaceRow) -> Result<()> {
    let embedding = row.embedding.as_ref().and_then(|found| serde_json::to_string(found).ok());
    let dimension = i64::try_from(row.dimension).unwrap_or_default();
    let sql = format!(
        "insert into vector_namespace ({NAMESPACE}, next_generation)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 0, 0, 1) on conflict (name) do nothing"
    );
    let values: Parameters<'_> = &[
        &hex(row.id),
        &row.name,
        &row.scope,
        &row.team,
        &dimension,
        &row.metric.name(),
        &embedding,
        &row.instance,
        &row.description,
        &row.acl,
        &row.created_ms,
    ];
    if execute(client, &sql, values).await? == 0 { Err(IoError::Exists) } else { Ok(()) }
}

async fn visibility(client: &PgClient, id: &str) -> Result<Visibility> {
    // One statement, so that both are of one moment.
    let sql = "select next_generation,
                 array (select generation from stray_generation where namespace = $1 order by generation)
               from vector_namespace where id = $1";
    match one(client, sql, &[&id]).await? {
        Some(row) => Ok(Visibility { below: get(&row, 0)?, except: get(&row, 1)? }),
        None => Ok(Visibility { below: 0, except: Vec::new() }),
    }
}

async fn due(client: &PgClient, now: Millis, limit: i64) -> Result<Vec<Due>> {
    let sql = "update stray_generation s set condemned = true from vector_namespace n
               where n.id = s.namespace and (s.namespace, s.generation) in
                 (select namespace, generation from stray_generation where due_ms <= $1 order by due_ms limit $2)
               returning n.id, n.dimension, n.metric, n.instance, s.generation";
    let rows = query(client, sql, &[&now, &limit]).await?;
    let read = |row: &Row| {
        Ok(Due { collection: read_collection(row)?, instance: get(row, 3)?, generation: get(row, 4)? })
    };
    rows.iter().map(read).collect()
}

async fn begin(client: &PgClient, id: &str, due_ms: Millis) -> Result<Generation> {
    let sql = "update vector_namespace set next_generation = next_generation + 1 where id = $1
               returning next_generation - 1";
    let row = one(client, sql, &[&id]).await?.ok_or(IoError::AclChanged)?;
    let generation = get(&row, 0)?;
    add_stray(client, id, generation, due_ms).await?;
    Ok(generation)
}

#[async_trait]
impl Registry for PostgresRegistry {
    async fn namespace(&self, name: &str) -> Result<Option<NamespaceRow>> {
        let sql = format!("select {NAMESPACE} from vector_namespace where name = $1");
        let row = transact!(self.pg, client => one(client, &sql, &[&name]).await?)?;
        row.as_ref().map(read_namespace).transpose()
    }

    async fn namespaces(&self, scope: &str, after: &str, limit: usize) -> Result<Vec<NamespaceRow>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let sql = format!(
            "select {NAMESPACE} from vector_namespace where scope = $1 and name > $2 order by name limit $3"
        );
        let rows = transact!(self.pg, client => query(client, &sql, &[&scope, &after, &limit]).await?)?;
        rows.iter().map(read_namespace).collect()
    }

    async fn create(&self, row: NamespaceRow, record: Recorder) -> Result<()> {
        transact!(self.pg, client => {
            create(client, &row).await?;
            record.postgres(client).await?;
        })?;
        record.committed();
        Ok(())
    }

    async fn remove(&self, name: NamespaceName, basis: Basis, record: Recorder) -> Result<()> {
        transact!(self.pg, client => {
            remove(client, &name, &basis).await?;
            record.postgres(client).await?;
        })?;
        record.committed();
        Ok(())
    }

    async fn set_acl(&self, name: NamespaceName, basis: Basis, acl: String, record: Recorder) -> Result<()> {
        transact!(self.pg, client => {
            let row = decided(client, &name, &basis).await?;
            let sql = "update vector_namespace set acl = $2 where id = $1";
            execute(client, sql, &[&hex(row.id), &acl]).await?;
            record.postgres(client).await?;
        })?;
        record.committed();
        Ok(())
    }

    async fn visibility(&self, id: CollectionId) -> Result<Visibility> {
        transact!(self.pg, client => visibility(client, &hex(id)).await?)
    }

    async fn begin(&self, id: CollectionId, due_ms: Millis) -> Result<Generation> {
        transact!(self.pg, client => begin(client, &hex(id), due_ms).await?)
    }

    async fn commit(&self, asked: Commit, record: Recorder) -> Result<DatasourceRow> {
        let row = transact!(self.pg, client => {
            let row = commit(client, &asked).await?;
            record.postgres(client).await?;
            row
        })?;
        record.committed();
        Ok(row)
    }

    async fn datasource(&self, id: CollectionId, name: &str) -> Result<Option<DatasourceRow>> {
        transact!(self.pg, client => datasource(client, &hex(id), name).await?)
    }

    async fn text(&self, id: CollectionId, name: &str) -> Result<Option<String>> {
        let sql = "select text from datasource where namespace = $1 and id = $2";
        let row = transact!(self.pg, client => one(client, sql, &[&hex(id), &name]).await?)?;
        let bytes: Option<Vec<u8>> = row.as_ref().map(|row| get(row, 0)).transpose()?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    async fn datasources(&self, id: CollectionId, after: &str, limit: usize) -> Result<Vec<DatasourceRow>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let sql = format!(
            "select {DATASOURCE} from datasource where namespace = $1 and id > $2 order by id limit $3"
        );
        let rows = transact!(self.pg, client => query(client, &sql, &[&hex(id), &after, &limit]).await?)?;
        rows.iter().map(read_datasource).collect()
    }

    async fn labels(&self, id: CollectionId, names: Vec<String>) -> Result<HashMap<String, String>> {
        let sql = "select id, label from datasource where namespace = $1 and id = any ($2)";
        let rows = transact!(self.pg, client => query(client, sql, &[&hex(id), &names]).await?)?;
        rows.iter().map(|row| Ok((get(row, 0)?, get(row, 1)?))).collect()
    }

    async fn remove_datasource(
        &self,
        name: NamespaceName,
        basis: Basis,
        id: String,
        due_ms: Millis,
        record: Recorder,
    ) -> Result<()> {
        transact!(self.pg, client => {
            remove_datasource(client, &name, &basis, &id, due_ms).await?;
            record.postgres(client).await?;
        })?;
        record.committed();
        Ok(())
    }

    async fn book(
        &self,
        name: NamespaceName,
        basis: Basis,
        rows: Vec<(String, i64)>,
        quota: Quota,
        record: Recorder,
    ) -> Result<usize> {
        let created = transact!(self.pg, client => {
            let created = book_rows(client, &name, &basis, &rows, quota).await?;
            record.postgres(client).await?;
            created
        })?;
        record.committed();
        Ok(created)
    }

    async fn release(
        &self,
        name: NamespaceName,
        basis: Basis,
        rows: Vec<String>,
        record: Recorder,
    ) -> Result<()> {
        transact!(self.pg, client => {
            release_rows(client, &name, &basis, &rows).await?;
            record.postgres(client).await?;
        })?;
        record.committed();
        Ok(())
    }

    async fn request(
        &self,
        id: CollectionId,
        request_id: &str,
        since_ms: Millis,
    ) -> Result<Option<(RequestRow, String)>> {
        let sql = "select id, digest, datasource from vector_request
                   where namespace = $1 and id = $2 and at_ms >= $3";
        let row = transact!(self.pg, client => {
            one(client, sql, &[&hex(id), &request_id, &since_ms]).await?
        })?;
        row.as_ref()
            .map(|row| Ok((RequestRow { id: get(row, 0)?, digest: get(row, 1)? }, get(row, 2)?)))
            .transpose()
    }

    async fn due(&self, now: Millis, limit: usize) -> Result<Vec<Due>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        transact!(self.pg, client => due(client, now, limit).await?)
    }

    async fn removed(&self, id: CollectionId, generation: Generation) -> Result<()> {
        let sql = "delete from stray_generation where namespace = $1 and generation = $2";
        transact!(self.pg, client => execute(client, sql, &[&hex(id), &generation]).await?).map(drop)
    }

    async fn dropped(&self, limit: usize) -> Result<Vec<(Collection, String)>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let sql = "select id, dimension, metric, instance from dropped_collection limit $1";
        let rows = transact!(self.pg, client => query(client, sql, &[&limit]).await?)?;
        rows.iter().map(|row| Ok((read_collection(row)?, get(row, 3)?))).collect()
    }

    async fn forget(&self, id: CollectionId) -> Result<()> {
        let sql = "delete from dropped_collection where id = $1";
        transact!(self.pg, client => execute(client, sql, &[&hex(id)]).await?).map(drop)
    }

    async fn forget_requests(&self, before_ms: Millis) -> Result<()> {
        let sql = "delete from vector_request where at_ms < $1";
        transact!(self.pg, client => execute(client, sql, &[&before_ms]).await?).map(drop)
    }

    async fn usage(&self, team: &str) -> Result<(i64, i64)> {
        let sql = "select row_count, size_bytes from vector_usage where team = $1";
        match transact!(self.pg, client => one(client, sql, &[&team]).await?)? {
            Some(row) => Ok((get(&row, 0)?, get(&row, 1)?)),
            None => Ok((0, 0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use sre_store::pg::{PgConfig, PgTls};

    use super::*;
    use crate::vector_db::registry::contract::{self, Bench};

    /// A schema of its own, dropped at the end.
    struct Schema(Pg);

    impl Drop for Schema {
        fn drop(&mut self) {
            let pg = self.0.clone();
            let name = pg.schema_name().unwrap_or_default().to_owned();
            tokio::task::block_in_place(|| {
                tokio::runtime::Handle::current().block_on(async {
                    let client = pg.get().await.unwrap();
                    client.batch_execute(&format!("drop schema {name} cascade")).await.unwrap();
                });
            });
        }
    }

    async fn fresh() -> Option<Bench> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let url = sre_service::testing::backend("SRE_TEST_POSTGRES")?;
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let config = PgConfig {
            url: Some(url.into()),
            schema: Some(format!("v_{}_{n}", std::process::id())),
            tls: PgTls::Disable,
            pool_size: 4,
            session: PG_SESSION,
            ..PgConfig::default()
        };
        let pg = Pg::connect(&config, PG_MIGRATIONS).await.unwrap();
        let registry = Arc::new(PostgresRegistry::new(pg.clone()));
        Some(Bench { registry, _keep: Box::new(Schema(pg)) })
    }

    contract::every_case!(fresh);
}
