//! The rows of files. Every statement about the table `file` is here.

use rusqlite::{Connection, OptionalExtension, Row, params};
use sre_store::StoreError;

use super::name::{FileName, FolderName};
use crate::clock::Millis;

/// A file's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRow {
    /// Its full name.
    pub name: String,
    /// Its team.
    pub team: String,
    /// Version; fresh with every write, never used again.
    pub etag: String,
    /// Media type.
    pub mimetype: String,
    /// Size.
    pub size_bytes: i64,
    /// `b3:` and 64 hex digits.
    pub digest: String,
    /// Key of its bytes.
    pub object: String,
    /// Its access list.
    pub acl: String,
    /// When it was created.
    pub created_ms: Millis,
    /// When it was last written.
    pub updated_ms: Millis,
    /// When it ends to exist.
    pub expires_ms: Option<Millis>,
}

const COLUMNS: &str =
    "name, team, etag, mimetype, size_bytes, digest, object, acl, created_ms, updated_ms, expires_ms";

impl FileRow {
    /// Whether it still exists at this time. An expired row is as good as none, swept or not.
    pub fn is_live(&self, now: Millis) -> bool {
        self.expires_ms.is_none_or(|expires| now < expires)
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
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
        })
    }
}

/// The row of a name, expired or not.
pub fn find(conn: &Connection, name: &FileName) -> Result<Option<FileRow>, StoreError> {
    Ok(conn
        .prepare_cached(&format!("select {COLUMNS} from file where name = ?1"))?
        .query_row([name.to_string()], FileRow::read)
        .optional()?)
}

/// Live rows below a folder, by name, after `after`.
pub fn below(
    conn: &Connection,
    folder: &FolderName,
    after: &str,
    now: Millis,
    limit: u32,
) -> Result<Vec<FileRow>, StoreError> {
    let from = folder.prefix();
    // What follows the last name with this prefix: `0` is the byte after `/`.
    let to = format!("{}0", from.trim_end_matches('/'));
    let mut statement = conn.prepare_cached(&format!(
        "select {COLUMNS} from file where name >= ?1 and name < ?2 and name > ?3
         and (expires_ms is null or expires_ms > ?4) order by name limit ?5"
    ))?;
    let rows = statement.query_map(params![from, to, after, now, limit], FileRow::read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Puts a row, over the one of that name if there is one.
pub fn put(tx: &Connection, row: &FileRow) -> Result<(), StoreError> {
    tx.prepare_cached(&format!(
        "insert or replace into file ({COLUMNS}) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
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
        row.expires_ms
    ])?;
    Ok(())
}

/// Replaces an access list.
pub fn set_acl(tx: &Connection, name: &str, acl: &str) -> Result<(), StoreError> {
    tx.prepare_cached("update file set acl = ?2 where name = ?1")?.execute(params![name, acl])?;
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
    let rows = statement.query_map(params![now, limit], FileRow::read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}
