//! The registry in the embedded store.

use std::collections::HashMap;

use async_trait::async_trait;
use sre_store::rusqlite::{Connection, OptionalExtension, Row, params};
use sre_store::{Migration, Store, StoreError};
use sre_vectors::{Collection, CollectionId, Generation, Metric, Visibility};

use super::{Commit, DatasourceRow, Due, NamespaceRow, Registry, RequestRow, Result};
use crate::basis::Basis;
use crate::clock::Millis;
use crate::error::IoError;
use crate::usage::Quota;
use crate::vector_db::name::NamespaceName;
use crate::vector_db::record::Recorder;

/// Schema versions.
pub static MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "audit outbox", expand: sre_service::audit::MIGRATION_SQL, contract: None },
    Migration { version: 2, name: "namespaces and datasources", expand: TABLES, contract: None },
];

const TABLES: &str = "
-- `next_generation` is the number of the next writing.
create table vector_namespace (
    id text primary key,
    name text not null unique,
    scope text not null,
    team text not null,
    dimension integer not null,
    metric text not null,
    embedding text,
    instance text not null,
    description text not null,
    acl text not null,
    created_ms integer not null,
    row_count integer not null,
    size_bytes integer not null,
    next_generation integer not null
) strict, without rowid;
create index vector_namespace_by_scope on vector_namespace (scope, name);

create table datasource (
    namespace text not null,
    id text not null,
    label text not null,
    metadata text not null,
    chunk_size integer not null,
    chunk_overlap integer not null,
    chunks integer not null,
    text_bytes integer not null,
    bytes integer not null,
    etag text not null,
    generation integer not null,
    creator text not null,
    created_ms integer not null,
    updated_ms integer not null,
    primary key (namespace, id)
) strict, without rowid;

-- Texts apart, so that lists do not read over them.
create table datasource_text (
    namespace text not null,
    id text not null,
    text text not null,
    primary key (namespace, id)
) strict;

-- Writings that do not count: not yet, or not any more.
create table stray_generation (
    namespace text not null,
    generation integer not null,
    due_ms integer not null,
    -- The sweeper has it: it can never count.
    condemned integer not null default 0,
    primary key (namespace, generation)
) strict, without rowid;
create index stray_generation_by_due on stray_generation (due_ms);

-- Rows of no datasource, for the books.
create table direct_row (
    namespace text not null,
    id text not null,
    bytes integer not null,
    primary key (namespace, id)
) strict, without rowid;

create table vector_request (
    namespace text not null,
    id text not null,
    digest text not null,
    datasource text not null,
    at_ms integer not null,
    primary key (namespace, id)
) strict, without rowid;
create index vector_request_by_time on vector_request (at_ms);

create table dropped_collection (
    id text primary key,
    dimension integer not null,
    metric text not null,
    instance text not null
) strict, without rowid;

create table vector_usage (
    team text primary key,
    row_count integer not null,
    size_bytes integer not null
) strict, without rowid;
";

const NAMESPACE: &str = "id, name, scope, team, dimension, metric, embedding, instance, description, acl, \
                         created_ms, row_count, size_bytes";
const DATASOURCE: &str = "id, label, metadata, chunk_size, chunk_overlap, chunks, text_bytes, bytes, etag, \
                          generation, creator, created_ms, updated_ms";

/// The registry in a file.
#[derive(Debug, Clone)]
pub struct SqliteRegistry {
    store: Store,
}

impl SqliteRegistry {
    /// Over a store with [`MIGRATIONS`].
    pub fn new(store: Store) -> Self {
        Self { store }
    }
}

pub(super) fn hex(id: CollectionId) -> String {
    format!("{:032x}", id.0)
}

pub(super) fn id_of(hex: &str) -> CollectionId {
    CollectionId(u128::from_str_radix(hex, 16).unwrap_or_default())
}

fn read_namespace(row: &Row<'_>) -> sre_store::rusqlite::Result<NamespaceRow> {
    let embedding: Option<String> = row.get(6)?;
    Ok(NamespaceRow {
        id: id_of(&row.get::<_, String>(0)?),
        name: row.get(1)?,
        scope: row.get(2)?,
        team: row.get(3)?,
        dimension: usize::try_from(row.get::<_, i64>(4)?).unwrap_or_default(),
        metric: Metric::of_name(&row.get::<_, String>(5)?).unwrap_or(Metric::Cosine),
        embedding: embedding.and_then(|text| serde_json::from_str(&text).ok()),
        instance: row.get(7)?,
        description: row.get(8)?,
        acl: row.get(9)?,
        created_ms: row.get(10)?,
        rows: row.get(11)?,
        bytes: row.get(12)?,
    })
}

fn read_datasource(row: &Row<'_>) -> sre_store::rusqlite::Result<DatasourceRow> {
    Ok(DatasourceRow {
        id: row.get(0)?,
        label: row.get(1)?,
        metadata: row.get(2)?,
        chunk_size: row.get(3)?,
        chunk_overlap: row.get(4)?,
        chunks: row.get(5)?,
        text_bytes: row.get(6)?,
        bytes: row.get(7)?,
        etag: row.get(8)?,
        generation: row.get(9)?,
        creator: row.get(10)?,
        created_ms: row.get(11)?,
        updated_ms: row.get(12)?,
    })
}

fn namespace(conn: &Connection, name: &str) -> std::result::Result<Option<NamespaceRow>, StoreError> {
    let sql = format!("select {NAMESPACE} from vector_namespace where name = ?1");
    Ok(conn.prepare_cached(&sql)?.query_row([name], read_namespace).optional()?)
}

/// The namespace, if the decision still stands on its list.
fn decided(tx: &Connection, name: &NamespaceName, basis: &Basis) -> Result<NamespaceRow> {
    let row = namespace(tx, &name.to_string())?;
    if !basis.holds(row.as_ref().map(|row| row.acl.as_str())) {
        return Err(IoError::AclChanged);
    }
    row.ok_or_else(|| IoError::NotFound(name.to_string()))
}

fn datasource(
    conn: &Connection,
    namespace: &str,
    id: &str,
) -> std::result::Result<Option<DatasourceRow>, StoreError> {
    let sql = format!("select {DATASOURCE} from datasource where namespace = ?1 and id = ?2");
    Ok(conn.prepare_cached(&sql)?.query_row([namespace, id], read_datasource).optional()?)
}

/// Books a change on namespace and team, unless it grows beyond the quota.
fn book(tx: &Connection, row: &NamespaceRow, rows: i64, bytes: i64, quota: Option<Quota>) -> Result<()> {
    let (held_rows, held_bytes) = usage(tx, &row.team)?;
    let over = |quota: Quota| {
        (rows > 0 && held_rows + rows > quota.items) || (bytes > 0 && held_bytes + bytes > quota.bytes)
    };
    if quota.is_some_and(over) {
        return Err(IoError::Quota { team: row.team.clone(), what: "vectors" });
    }
    tx.prepare_cached(
        "insert into vector_usage (team, row_count, size_bytes) values (?1, ?2, ?3)
         on conflict (team) do update set row_count = row_count + ?2, size_bytes = size_bytes + ?3",
    )?
    .execute(params![row.team, rows, bytes])?;
    tx.prepare_cached(
        "update vector_namespace set row_count = row_count + ?2, size_bytes = size_bytes + ?3 where id = ?1",
    )?
    .execute(params![hex(row.id), rows, bytes])?;
    Ok(())
}

fn usage(conn: &Connection, team: &str) -> std::result::Result<(i64, i64), StoreError> {
    let row = conn
        .prepare_cached("select row_count, size_bytes from vector_usage where team = ?1")?
        .query_row([team], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(row.unwrap_or((0, 0)))
}

fn add_stray(
    tx: &Connection,
    namespace: &str,
    generation: Generation,
    due_ms: Millis,
) -> std::result::Result<(), StoreError> {
    tx.prepare_cached("insert into stray_generation (namespace, generation, due_ms) values (?1, ?2, ?3)")?
        .execute(params![namespace, generation, due_ms])?;
    Ok(())
}

fn commit(tx: &Connection, commit: Commit) -> Result<DatasourceRow> {
    let namespace = decided(tx, &commit.namespace, &commit.basis)?;
    if namespace.id != commit.id {
        return Err(IoError::AclChanged);
    }
    let id = hex(namespace.id);
    let mut row = commit.row;
    let adopted = tx
        .prepare_cached(
            "delete from stray_generation where namespace = ?1 and generation = ?2 and condemned = 0",
        )?
        .execute(params![id, row.generation])?;
    if adopted == 0 {
        return Err(IoError::Interrupted("it took too long: send it again".to_owned()));
    }
    let before = datasource(tx, &id, &row.id)?;
    commit.condition.check(before.as_ref().map(|row| row.etag.as_str()))?;
    let (mut rows, mut bytes) = (i64::from(row.chunks), row.bytes);
    if let Some(before) = before {
        add_stray(tx, &id, before.generation, commit.due_ms)?;
        row.created_ms = before.created_ms;
        rows -= i64::from(before.chunks);
        bytes -= before.bytes;
    }
    book(tx, &namespace, rows, bytes, Some(commit.quota))?;
    tx.prepare_cached(&format!(
        "insert or replace into datasource (namespace, {DATASOURCE})
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)"
    ))?
    .execute(params![
        id,
        row.id,
        row.label,
        row.metadata,
        row.chunk_size,
        row.chunk_overlap,
        row.chunks,
        row.text_bytes,
        row.bytes,
        row.etag,
        row.generation,
        row.creator,
        row.created_ms,
        row.updated_ms
    ])?;
    tx.prepare_cached("insert or replace into datasource_text (namespace, id, text) values (?1, ?2, ?3)")?
        .execute(params![id, row.id, commit.text])?;
    if let Some(request) = commit.request {
        tx.prepare_cached(
            "insert or replace into vector_request (namespace, id, digest, datasource, at_ms)
             values (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![id, request.id, request.digest, row.id, row.updated_ms])?;
    }
    Ok(row)
}

fn remove(tx: &Connection, name: &NamespaceName, basis: &Basis) -> Result<()> {
    let row = decided(tx, name, basis)?;
    let id = hex(row.id);
    book(tx, &row, -row.rows, -row.bytes, None)?;
    tx.prepare_cached(
        "insert into dropped_collection (id, dimension, metric, instance) values (?1, ?2, ?3, ?4)",
    )?
    .execute(params![
        id,
        i64::try_from(row.dimension).unwrap_or_default(),
        row.metric.name(),
        row.instance
    ])?;
    tx.prepare_cached("delete from vector_namespace where id = ?1")?.execute([&id])?;
    for table in ["datasource", "datasource_text", "stray_generation", "direct_row", "vector_request"] {
        tx.prepare_cached(&format!("delete from {table} where namespace = ?1"))?.execute([&id])?;
    }
    Ok(())
}

#[async_trait]
impl Registry for SqliteRegistry {
    async fn namespace(&self, name: &str) -> Result<Option<NamespaceRow>> {
        let name = name.to_owned();
        Ok(self.store.read(move |conn| namespace(conn, &name)).await?)
    }

    async fn namespaces(&self, scope: &str, after: &str, limit: usize) -> Result<Vec<NamespaceRow>> {
        let (scope, after) = (scope.to_owned(), after.to_owned());
        let found = self.store.read(move |conn| {
            let sql = format!(
                "select {NAMESPACE} from vector_namespace where scope = ?1 and name > ?2 order by name limit ?3"
            );
            let mut statement = conn.prepare_cached(&sql)?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let rows = statement.query_map(params![scope, after, limit], read_namespace)?;
            Ok(rows.collect::<std::result::Result<_, _>>()?)
        });
        Ok(found.await?)
    }

    async fn create(&self, row: NamespaceRow, record: Recorder) -> Result<()> {
        let embedding = row.embedding.as_ref().and_then(|found| serde_json::to_string(found).ok());
        self.store
            .try_write(move |tx| {
                if namespace(tx, &row.name)?.is_some() {
                    return Err(IoError::Exists);
                }
                tx.prepare_cached(&format!(
                    "insert into vector_namespace ({NAMESPACE}, next_generation)
                     values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 0, 0, 1)"
                ))?
                .execute(params![
                    hex(row.id),
                    row.name,
                    row.scope,
                    row.team,
                    i64::try_from(row.dimension).unwrap_or_default(),
                    row.metric.name(),
                    embedding,
                    row.instance,
                    row.description,
                    row.acl,
                    row.created_ms
                ])?;
                Ok(record.sqlite(tx)?)
            })
            .await
    }

    async fn remove(&self, name: NamespaceName, basis: Basis, record: Recorder) -> Result<()> {
        self.store
            .try_write(move |tx| {
                remove(tx, &name, &basis)?;
                Ok(record.sqlite(tx)?)
            })
            .await
    }

    async fn set_acl(&self, name: NamespaceName, basis: Basis, acl: String, record: Recorder) -> Result<()> {
        self.store
            .try_write(move |tx| {
                let row = decided(tx, &name, &basis)?;
                tx.prepare_cached("update vector_namespace set acl = ?2 where id = ?1")?
                    .execute(params![hex(row.id), acl])?;
                Ok(record.sqlite(tx)?)
            })
            .await
    }

    async fn visibility(&self, id: CollectionId) -> Result<Visibility> {
        let id = hex(id);
        let found = self.store.read(move |conn| {
            let below = conn
                .prepare_cached("select next_generation from vector_namespace where id = ?1")?
                .query_row([&id], |row| row.get(0))
                .optional()?;
            let mut statement = conn.prepare_cached(
                "select generation from stray_generation where namespace = ?1 order by generation",
            )?;
            let except = statement.query_map([&id], |row| row.get(0))?;
            Ok(Visibility {
                below: below.unwrap_or(0),
                except: except.collect::<std::result::Result<_, _>>()?,
            })
        });
        Ok(found.await?)
    }

    async fn begin(&self, id: CollectionId, due_ms: Millis) -> Result<Generation> {
        self.store
            .try_write(move |tx| {
                let hex = hex(id);
                let generation: Option<Generation> = tx
                    .prepare_cached(
                        "update vector_namespace set next_generation = next_generation + 1 where id = ?1
                         returning next_generation - 1",
                    )?
                    .query_row([&hex], |row| row.get(0))
                    .optional()?;
                let generation = generation.ok_or(IoError::AclChanged)?;
                add_stray(tx, &hex, generation, due_ms)?;
                Ok(generation)
            })
            .await
    }

    async fn commit(&self, asked: Commit, record: Recorder) -> Result<DatasourceRow> {
        self.store
            .try_write(move |tx| {
                let row = commit(tx, asked)?;
                record.sqlite(tx)?;
                Ok(row)
            })
            .await
    }

    async fn datasource(&self, id: CollectionId, name: &str) -> Result<Option<DatasourceRow>> {
        let name = name.to_owned();
        Ok(self.store.read(move |conn| datasource(conn, &hex(id), &name)).await?)
    }

    async fn text(&self, id: CollectionId, name: &str) -> Result<Option<String>> {
        let name = name.to_owned();
        let found = self.store.read(move |conn| {
            Ok(conn
                .prepare_cached("select text from datasource_text where namespace = ?1 and id = ?2")?
                .query_row([hex(id), name], |row| row.get(0))
                .optional()?)
        });
        Ok(found.await?)
    }

    async fn datasources(&self, id: CollectionId, after: &str, limit: usize) -> Result<Vec<DatasourceRow>> {
        let after = after.to_owned();
        let found = self.store.read(move |conn| {
            let sql = format!(
                "select {DATASOURCE} from datasource where namespace = ?1 and id > ?2 order by id limit ?3"
            );
            let mut statement = conn.prepare_cached(&sql)?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let rows = statement.query_map(params![hex(id), after, limit], read_datasource)?;
            Ok(rows.collect::<std::result::Result<_, _>>()?)
        });
        Ok(found.await?)
    }

    async fn labels(&self, id: CollectionId, names: Vec<String>) -> Result<HashMap<String, String>> {
        let found = self.store.read(move |conn| {
            let mut statement =
                conn.prepare_cached("select label from datasource where namespace = ?1 and id = ?2")?;
            let mut labels = HashMap::new();
            for name in names {
                let label: Option<String> =
                    statement.query_row([&hex(id), &name], |row| row.get(0)).optional()?;
                labels.extend(label.map(|label| (name, label)));
            }
            Ok(labels)
        });
        Ok(found.await?)
    }

    async fn remove_datasource(
        &self,
        name: NamespaceName,
        basis: Basis,
        id: String,
        due_ms: Millis,
        record: Recorder,
    ) -> Result<()> {
        self.store
            .try_write(move |tx| {
                let namespace = decided(tx, &name, &basis)?;
                let hex = hex(namespace.id);
                let absent = || IoError::NotFound(format!("{name}/datasources/{id}"));
                let row = datasource(tx, &hex, &id)?.ok_or_else(absent)?;
                add_stray(tx, &hex, row.generation, due_ms)?;
                book(tx, &namespace, -i64::from(row.chunks), -row.bytes, None)?;
                for table in ["datasource", "datasource_text"] {
                    tx.prepare_cached(&format!("delete from {table} where namespace = ?1 and id = ?2"))?
                        .execute([&hex, &id])?;
                }
                Ok(record.sqlite(tx)?)
            })
            .await
    }

    async fn book(
        &self,
        name: NamespaceName,
        basis: Basis,
        rows: Vec<(String, i64)>,
        quota: Quota,
        record: Recorder,
    ) -> Result<usize> {
        self.store
            .try_write(move |tx| {
                let namespace = decided(tx, &name, &basis)?;
                let hex = hex(namespace.id);
                let (mut created, mut bytes) = (0, 0);
                for (id, size) in rows {
                    let before: Option<i64> = tx
                        .prepare_cached("select bytes from direct_row where namespace = ?1 and id = ?2")?
                        .query_row([&hex, &id], |row| row.get(0))
                        .optional()?;
                    created += usize::from(before.is_none());
                    bytes += size - before.unwrap_or_default();
                    tx.prepare_cached(
                        "insert or replace into direct_row (namespace, id, bytes) values (?1, ?2, ?3)",
                    )?
                    .execute(params![hex, id, size])?;
                }
                book(tx, &namespace, i64::try_from(created).unwrap_or(i64::MAX), bytes, Some(quota))?;
                record.sqlite(tx)?;
                Ok(created)
            })
            .await
    }

    async fn release(
        &self,
        name: NamespaceName,
        basis: Basis,
        rows: Vec<String>,
        record: Recorder,
    ) -> Result<()> {
        self.store
            .try_write(move |tx| {
                let namespace = decided(tx, &name, &basis)?;
                let hex = hex(namespace.id);
                let (mut count, mut bytes) = (0, 0);
                for id in rows {
                    let gone: Option<i64> = tx
                        .prepare_cached(
                            "delete from direct_row where namespace = ?1 and id = ?2 returning bytes",
                        )?
                        .query_row([&hex, &id], |row| row.get(0))
                        .optional()?;
                    count += i64::from(gone.is_some());
                    bytes += gone.unwrap_or_default();
                }
                book(tx, &namespace, -count, -bytes, None)?;
                Ok(record.sqlite(tx)?)
            })
            .await
    }

    async fn request(
        &self,
        id: CollectionId,
        request_id: &str,
        since_ms: Millis,
    ) -> Result<Option<(RequestRow, String)>> {
        let request_id = request_id.to_owned();
        let found = self.store.read(move |conn| {
            Ok(conn
                .prepare_cached(
                    "select id, digest, datasource from vector_request
                     where namespace = ?1 and id = ?2 and at_ms >= ?3",
                )?
                .query_row(params![hex(id), request_id, since_ms], |row| {
                    Ok((RequestRow { id: row.get(0)?, digest: row.get(1)? }, row.get(2)?))
                })
                .optional()?)
        });
        Ok(found.await?)
    }

    async fn due(&self, now: Millis, limit: usize) -> Result<Vec<Due>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let found = self.store.write(move |tx| {
            let mut statement = tx.prepare_cached(
                "select n.id, n.dimension, n.metric, n.instance, s.generation
                 from stray_generation s join vector_namespace n on n.id = s.namespace
                 where s.due_ms <= ?1 order by s.due_ms limit ?2",
            )?;
            let rows = statement.query_map(params![now, limit], |row| {
                let collection = Collection {
                    id: id_of(&row.get::<_, String>(0)?),
                    dimension: usize::try_from(row.get::<_, i64>(1)?).unwrap_or_default(),
                    metric: Metric::of_name(&row.get::<_, String>(2)?).unwrap_or(Metric::Cosine),
                };
                Ok(Due { collection, instance: row.get(3)?, generation: row.get(4)? })
            })?;
            let due: Vec<Due> = rows.collect::<std::result::Result<_, _>>()?;
            for one in &due {
                tx.prepare_cached(
                    "update stray_generation set condemned = 1 where namespace = ?1 and generation = ?2",
                )?
                .execute(params![hex(one.collection.id), one.generation])?;
            }
            Ok(due)
        });
        Ok(found.await?)
    }

    async fn removed(&self, id: CollectionId, generation: Generation) -> Result<()> {
        let done = self.store.write(move |tx| {
            tx.prepare_cached("delete from stray_generation where namespace = ?1 and generation = ?2")?
                .execute(params![hex(id), generation])?;
            Ok(())
        });
        Ok(done.await?)
    }

    async fn dropped(&self, limit: usize) -> Result<Vec<(Collection, String)>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let found = self.store.read(move |conn| {
            let mut statement = conn
                .prepare_cached("select id, dimension, metric, instance from dropped_collection limit ?1")?;
            let rows = statement.query_map([limit], |row| {
                let collection = Collection {
                    id: id_of(&row.get::<_, String>(0)?),
                    dimension: usize::try_from(row.get::<_, i64>(1)?).unwrap_or_default(),
                    metric: Metric::of_name(&row.get::<_, String>(2)?).unwrap_or(Metric::Cosine),
                };
                Ok((collection, row.get(3)?))
            })?;
            Ok(rows.collect::<std::result::Result<_, _>>()?)
        });
        Ok(found.await?)
    }

    async fn forget(&self, id: CollectionId) -> Result<()> {
        let done = self.store.write(move |tx| {
            tx.prepare_cached("delete from dropped_collection where id = ?1")?.execute([hex(id)])?;
            Ok(())
        });
        Ok(done.await?)
    }

    async fn forget_requests(&self, before_ms: Millis) -> Result<()> {
        let done = self.store.write(move |tx| {
            tx.prepare_cached("delete from vector_request where at_ms < ?1")?.execute([before_ms])?;
            Ok(())
        });
        Ok(done.await?)
    }

    async fn usage(&self, team: &str) -> Result<(i64, i64)> {
        let team = team.to_owned();
        Ok(self.store.read(move |conn| usage(conn, &team)).await?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sre_store::{OpenOptions, Store};

    use super::*;
    use crate::vector_db::registry::contract::{self, Bench};

    async fn fresh() -> Option<Bench> {
        let folder = tempfile::tempdir().unwrap();
        let options = OpenOptions::new(folder.path().join("vectors.db"), "store.dir", MIGRATIONS);
        let registry = SqliteRegistry::new(Store::open(options).unwrap());
        Some(Bench { registry: Arc::new(registry), _keep: Box::new(folder) })
    }

    contract::every_case!(fresh);
}
