//! The statements of the registry, each within a read or a write of the store.

use sre_store::StoreError;
use sre_store::rusqlite::{Connection, OptionalExtension, Row, params};
use sre_vectors::{Generation, Metric};

use super::super::{Commit, DATASOURCE, DatasourceRow, NAMESPACE, NamespaceRow, Result, hex, id_of};
use crate::basis::Basis;
use crate::clock::Millis;
use crate::error::IoError;
use crate::usage::Quota;
use crate::vector_db::name::NamespaceName;

pub(super) fn read_namespace(row: &Row<'_>) -> sre_store::rusqlite::Result<NamespaceRow> {
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

pub(super) fn read_datasource(row: &Row<'_>) -> sre_store::rusqlite::Result<DatasourceRow> {
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

pub(super) fn namespace(
    conn: &Connection,
    name: &str,
) -> std::result::Result<Option<NamespaceRow>, StoreError> {
    let sql = format!("select {NAMESPACE} from vector_namespace where name = ?1");
    Ok(conn.prepare_cached(&sql)?.query_row([name], read_namespace).optional()?)
}

/// The namespace, if the decision still stands on its list.
pub(super) fn decided(tx: &Connection, name: &NamespaceName, basis: &Basis) -> Result<NamespaceRow> {
    let row = namespace(tx, &name.to_string())?;
    if !basis.holds(row.as_ref().map(|row| row.acl.as_str())) {
        return Err(IoError::AclChanged);
    }
    row.ok_or_else(|| IoError::NotFound(name.to_string()))
}

pub(super) fn datasource(
    conn: &Connection,
    namespace: &str,
    id: &str,
) -> std::result::Result<Option<DatasourceRow>, StoreError> {
    let sql = format!("select {DATASOURCE} from datasource where namespace = ?1 and id = ?2");
    Ok(conn.prepare_cached(&sql)?.query_row([namespace, id], read_datasource).optional()?)
}

/// Books a change on namespace and team, unless it grows beyond the quota.
pub(super) fn book(
    tx: &Connection,
    row: &NamespaceRow,
    rows: i64,
    bytes: i64,
    quota: Option<Quota>,
) -> Result<()> {
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

pub(super) fn usage(conn: &Connection, team: &str) -> std::result::Result<(i64, i64), StoreError> {
    let row = conn
        .prepare_cached("select row_count, size_bytes from vector_usage where team = ?1")?
        .query_row([team], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(row.unwrap_or((0, 0)))
}

pub(super) fn add_stray(
    tx: &Connection,
    namespace: &str,
    generation: Generation,
    due_ms: Millis,
) -> std::result::Result<(), StoreError> {
    tx.prepare_cached("insert into stray_generation (namespace, generation, due_ms) values (?1, ?2, ?3)")?
        .execute(params![namespace, generation, due_ms])?;
    Ok(())
}

pub(super) fn commit(tx: &Connection, commit: Commit) -> Result<DatasourceRow> {
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

pub(super) fn remove(tx: &Connection, name: &NamespaceName, basis: &Basis) -> Result<()> {
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
