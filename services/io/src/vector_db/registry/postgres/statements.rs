//! The statements of the registry, each on a connection that is lent, most within its transaction.

use std::collections::HashMap;

use sre_store::StoreError;
use sre_store::pg::PgClient;
use sre_store::pg::tokio_postgres::{self, Row};
use sre_vectors::{Collection, Generation, Metric, Visibility};

use super::super::{Commit, DATASOURCE, DatasourceRow, Due, NAMESPACE, NamespaceRow, Result, hex, id_of};
use crate::basis::Basis;
use crate::clock::Millis;
use crate::error::IoError;
use crate::usage::Quota;
use crate::vector_db::name::NamespaceName;

pub(super) type Parameters<'p> = &'p [&'p (dyn tokio_postgres::types::ToSql + Sync)];

pub(super) async fn batch(client: &PgClient, sql: &str) -> Result<()> {
    client.batch_execute(sql).await.map_err(failed)
}

pub(super) async fn execute(client: &PgClient, sql: &str, values: Parameters<'_>) -> Result<u64> {
    let statement = client.prepare_cached(sql).await.map_err(failed)?;
    client.execute(&statement, values).await.map_err(failed)
}

pub(super) async fn query(client: &PgClient, sql: &str, values: Parameters<'_>) -> Result<Vec<Row>> {
    let statement = client.prepare_cached(sql).await.map_err(failed)?;
    client.query(&statement, values).await.map_err(failed)
}

pub(super) async fn one(client: &PgClient, sql: &str, values: Parameters<'_>) -> Result<Option<Row>> {
    Ok(query(client, sql, values).await?.into_iter().next())
}

pub(super) fn failed(error: tokio_postgres::Error) -> IoError {
    StoreError::from(error).into()
}

pub(super) fn get<'r, T: tokio_postgres::types::FromSql<'r>>(row: &'r Row, place: usize) -> Result<T> {
    row.try_get(place).map_err(failed)
}

pub(super) fn read_namespace(row: &Row) -> Result<NamespaceRow> {
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

pub(super) fn read_datasource(row: &Row) -> Result<DatasourceRow> {
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

pub(super) fn read_collection(row: &Row) -> Result<Collection> {
    Ok(Collection {
        id: id_of(get(row, 0)?),
        dimension: usize::try_from(get::<i64>(row, 1)?).unwrap_or_default(),
        metric: Metric::of_name(get(row, 2)?).unwrap_or(Metric::Cosine),
    })
}

/// The namespace, locked, if the decision still stands on its list.
pub(super) async fn decided(client: &PgClient, name: &NamespaceName, basis: &Basis) -> Result<NamespaceRow> {
    let sql = format!("select {NAMESPACE} from vector_namespace where name = $1 for update");
    let row = one(client, &sql, &[&name.to_string()]).await?;
    let row = row.as_ref().map(read_namespace).transpose()?;
    if !basis.holds(row.as_ref().map(|row| row.acl.as_str())) {
        return Err(IoError::AclChanged);
    }
    row.ok_or_else(|| IoError::NotFound(name.to_string()))
}

pub(super) async fn datasource(
    client: &PgClient,
    namespace: &str,
    id: &str,
) -> Result<Option<DatasourceRow>> {
    let sql = format!("select {DATASOURCE} from datasource where namespace = $1 and id = $2");
    one(client, &sql, &[&namespace, &id]).await?.as_ref().map(read_datasource).transpose()
}

/// Books a change on namespace and team, unless it grows beyond the quota.
pub(super) async fn book(
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

pub(super) async fn add_stray(
    client: &PgClient,
    namespace: &str,
    generation: Generation,
    due_ms: Millis,
) -> Result<()> {
    let sql = "insert into stray_generation (namespace, generation, due_ms) values ($1, $2, $3)";
    execute(client, sql, &[&namespace, &generation, &due_ms]).await.map(drop)
}

pub(super) async fn commit(client: &PgClient, commit: &Commit) -> Result<DatasourceRow> {
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

pub(super) async fn remove(client: &PgClient, name: &NamespaceName, basis: &Basis) -> Result<()> {
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

pub(super) async fn remove_datasource(
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

pub(super) async fn book_rows(
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

pub(super) async fn release_rows(
    client: &PgClient,
    name: &NamespaceName,
    basis: &Basis,
    rows: &[String],
) -> Result<()> {
    let namespace = decided(client, name, basis).await?;
    let sql = "with gone as (delete from direct_row where namespace = $1 and id = any ($2) returning bytes)
               select count(*), coalesce(sum(bytes), 0)::bigint from gone";
    let (count, bytes): (i64, i64) = match one(client, sql, &[&hex(namespace.id), &rows]).await? {
        Some(row) => (get(&row, 0)?, get(&row, 1)?),
        None => (0, 0),
    };
    book(client, &namespace, -count, -bytes, None).await
}

pub(super) async fn create(client: &PgClient, row: &NamespaceRow) -> Result<()> {
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

pub(super) async fn visibility(client: &PgClient, id: &str) -> Result<Visibility> {
    // One statement, so that both are of one moment.
    let sql = "select next_generation,
                 array (select generation from stray_generation where namespace = $1 order by generation)
               from vector_namespace where id = $1";
    match one(client, sql, &[&id]).await? {
        Some(row) => Ok(Visibility { below: get(&row, 0)?, except: get(&row, 1)? }),
        None => Ok(Visibility { below: 0, except: Vec::new() }),
    }
}

pub(super) async fn due(client: &PgClient, now: Millis, limit: i64) -> Result<Vec<Due>> {
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

pub(super) async fn begin(client: &PgClient, id: &str, due_ms: Millis) -> Result<Generation> {
    let sql = "update vector_namespace set next_generation = next_generation + 1 where id = $1
               returning next_generation - 1";
    let row = one(client, sql, &[&id]).await?.ok_or(IoError::AclChanged)?;
    let generation = get(&row, 0)?;
    add_stray(client, id, generation, due_ms).await?;
    Ok(generation)
}
