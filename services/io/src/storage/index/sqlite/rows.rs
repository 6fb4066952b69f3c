//! The rows of files. Every statement about the table `file` is here.

use rusqlite::{Connection, OptionalExtension, Row, params};
use sre_store::StoreError;

use crate::clock::Millis;
use crate::storage::index::FileRow;
use crate::storage::metadata;

const COLUMNS: &str = "name, team, etag, mimetype, size_bytes, digest, object, acl, created_ms, updated_ms, \
                       expires_ms, instance, metadata";

fn read(row: &Row<'_>) -> rusqlite::Result<FileRow> {
    Ok(FileRow {
        name: row.get(0)?,
        team: row.get(1)?,
        etag: row.get(2)?,
        mimetype: row.get(3)?,
        size_bytes: row.get(4)?,
        digest: row.get(5)?,
        object: row.get(6)?,
        acl: row.get(7)?,
        created_ms: row.get(8)?,
        updated_ms: row.get(9)?,
        expires_ms: row.get(10)?,
        instance: row.get(11)?,
        metadata: metadata::from_text(&row.get::<_, String>(12)?),
    })
}

/// The row of a name, expired or not.
pub fn find(conn: &Connection, name: &str) -> Result<Option<FileRow>, StoreError> {
    Ok(conn
        .prepare_cached(&format!("select {COLUMNS} from file where name = ?1"))?
        .query_row([name], read)
        .optional()?)
}

/// Live rows in a range of names, by name, after `after`.
pub fn between(
    conn: &Connection,
    (from, to): (&str, &str),
    after: &str,
    now: Millis,
    limit: u32,
) -> Result<Vec<FileRow>, StoreError> {
    let mut statement = conn.prepare_cached(&format!(
        "select {COLUMNS} from file where name >= ?1 and name < ?2 and name > ?3
         and (expires_ms is null or expires_ms > ?4) order by name limit ?5"
    ))?;
    let rows = statement.query_map(params![from, to, after, now, limit], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Puts a row, over the one of that name if there is one.
pub fn put(tx: &Connection, row: &FileRow) -> Result<(), StoreError> {
    tx.prepare_cached(&format!(
        "insert or replace into file ({COLUMNS})
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)"
    ))?
    .execute(params![
        row.name,
        row.team,
        row.etag,
        row.mimetype,
        row.size_bytes,
        row.digest,
        row.object,
        row.acl,
        row.created_ms,
        row.updated_ms,
        row.expires_ms,
        row.instance,
        metadata::to_text(&row.metadata),
    ])?;
    Ok(())
}

/// Removes a row.
pub fn remove(tx: &Connection, name: &str) -> Result<(), StoreError> {
    tx.prepare_cached("delete from file where name = ?1")?.execute([name])?;
    Ok(())
}

/// Rows that have expired, some of them.
pub fn expired(tx: &Connection, now: Millis, limit: u32) -> Result<Vec<FileRow>, StoreError> {
    let mut statement = tx.prepare_cached(&format!(
        "select {COLUMNS} from file where expires_ms <= ?1 order by expires_ms limit ?2"
    ))?;
    let rows = statement.query_map(params![now, limit], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}
