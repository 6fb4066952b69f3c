//! The rows of namespaces and values. Every statement about these tables is here.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, params};
use sre_store::StoreError;

use crate::clock::Millis;
use crate::nkv::PAGE_BYTES;
use crate::nkv::model::{Names, Namespace, Page, Range, ValueRow};
use crate::nkv::name::NamespaceName;

/// A namespace's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceRow {
    /// Its number, never used again.
    pub id: i64,
    /// Its access list.
    pub list: Arc<str>,
}

impl From<NamespaceRow> for Namespace {
    fn from(row: NamespaceRow) -> Self {
        Self { list: row.list }
    }
}

/// What a set must know of the value it replaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brief {
    /// Version.
    pub etag: String,
    /// When it ends to exist.
    pub expires_ms: Option<Millis>,
    /// What it counts for.
    pub size_bytes: i64,
}

impl Brief {
    /// Whether it still exists at this time.
    pub fn is_live(&self, now: Millis) -> bool {
        self.expires_ms.is_none_or(|expires| now < expires)
    }
}

const COLUMNS: &str = "key, value, content_type, etag, updated_ms, expires_ms";

fn row(row: &Row<'_>) -> rusqlite::Result<ValueRow> {
    Ok(ValueRow {
        key: row.get(0)?,
        value: row.get::<_, Vec<u8>>(1)?.into(),
        content_type: row.get(2)?,
        etag: row.get(3)?,
        updated_ms: row.get(4)?,
        expires_ms: row.get(5)?,
    })
}

/// A namespace.
pub fn namespace(conn: &Connection, name: &NamespaceName) -> Result<Option<NamespaceRow>, StoreError> {
    Ok(conn
        .prepare_cached("select id, acl from namespace where team = ?1 and name = ?2")?
        .query_row([&name.team, &name.namespace], |row| {
            Ok(NamespaceRow { id: row.get(0)?, list: row.get::<_, String>(1)?.into() })
        })
        .optional()?)
}

/// Creates a namespace.
pub fn create_namespace(
    tx: &Connection,
    name: &NamespaceName,
    list: &str,
    now: Millis,
) -> Result<NamespaceRow, StoreError> {
    tx.prepare_cached("insert into namespace (team, name, acl, created_ms) values (?1, ?2, ?3, ?4)")?
        .execute(params![name.team, name.namespace, list, now])?;
    Ok(NamespaceRow { id: tx.last_insert_rowid(), list: list.into() })
}

/// Replaces a namespace's access list.
pub fn set_list(tx: &Connection, id: i64, list: &str) -> Result<(), StoreError> {
    tx.prepare_cached("update namespace set acl = ?2 where id = ?1")?.execute(params![id, list])?;
    Ok(())
}

/// Removes a namespace; its values can no longer be reached and are swept.
pub fn drop_namespace(tx: &Connection, name: &NamespaceName, id: i64) -> Result<(), StoreError> {
    tx.prepare_cached("delete from namespace where id = ?1")?.execute([id])?;
    tx.prepare_cached("insert into dropped_namespace (id, team) values (?1, ?2)")?
        .execute(params![id, name.team])?;
    Ok(())
}

/// A value, expired or not.
pub fn value(conn: &Connection, namespace: i64, key: &str) -> Result<Option<ValueRow>, StoreError> {
    Ok(conn
        .prepare_cached(&format!("select {COLUMNS} from value where namespace = ?1 and key = ?2"))?
        .query_row(params![namespace, key], row)
        .optional()?)
}

/// What a set must know of the value it replaces, expired or not. The value itself is not read.
pub fn brief(conn: &Connection, namespace: i64, key: &str) -> Result<Option<Brief>, StoreError> {
    let sql = "select etag, expires_ms, length(value) from value where namespace = ?1 and key = ?2";
    let brief = conn.prepare_cached(sql)?.query_row(params![namespace, key], |row| {
        let key_bytes = i64::try_from(key.len()).unwrap_or(i64::MAX);
        Ok(Brief {
            etag: row.get(0)?,
            expires_ms: row.get(1)?,
            size_bytes: row.get::<_, i64>(2)?.saturating_add(key_bytes),
        })
    });
    Ok(brief.optional()?)
}

/// Live values by key, while they begin with the prefix and fit into a page.
pub fn values(conn: &Connection, namespace: i64, range: &Range, now: Millis) -> Result<Page, StoreError> {
    // A range over the key and no pattern: nothing in a prefix is special (H28).
    let mut statement = conn.prepare_cached(&format!(
        "select {COLUMNS} from value where namespace = ?1 and key >= ?2 and key > ?3
         and (expires_ms is null or expires_ms > ?4) order by key"
    ))?;
    let mut rows = statement.query(params![namespace, range.prefix, range.after, now])?;
    let (mut page, mut used_bytes) = (Page::default(), 0);
    while let Some(found) = rows.next()? {
        let found = row(found)?;
        if !found.key.starts_with(&range.prefix) {
            break;
        }
        used_bytes += found.value.len() + found.key.len();
        let is_full =
            page.values.len() == range.limit || (used_bytes > PAGE_BYTES && !page.values.is_empty());
        if is_full {
            page.next = page.values.last().map(|row| row.key.clone());
            break;
        }
        page.values.push(found);
    }
    Ok(page)
}

/// Namespaces of a team.
pub fn namespaces(conn: &Connection, team: &str, after: &str, limit: usize) -> Result<Names, StoreError> {
    let sql = "select name, acl from namespace where team = ?1 and name > ?2 order by name limit ?3";
    let one_more = i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX);
    let mut namespaces = conn
        .prepare_cached(sql)?
        .query_map(params![team, after, one_more], |row| {
            Ok((row.get(0)?, Namespace { list: row.get::<_, String>(1)?.into() }))
        })?
        .collect::<Result<Vec<_>, _>>()?;
    let has_more = namespaces.len() > limit;
    namespaces.truncate(limit);
    Ok(Names { namespaces, has_more })
}

/// Puts a value, over the one of that key if there is one.
pub fn put(tx: &Connection, namespace: i64, row: &ValueRow) -> Result<(), StoreError> {
    tx.prepare_cached(&format!(
        "insert or replace into value (namespace, {COLUMNS}) values (?1, ?2, ?3, ?4, ?5, ?6, ?7)"
    ))?
    .execute(params![
        namespace,
        row.key,
        &row.value[..],
        row.content_type,
        row.etag,
        row.updated_ms,
        row.expires_ms
    ])?;
    Ok(())
}

/// Removes a value.
pub fn remove(tx: &Connection, namespace: i64, key: &str) -> Result<(), StoreError> {
    tx.prepare_cached("delete from value where namespace = ?1 and key = ?2")?
        .execute(params![namespace, key])?;
    Ok(())
}

/// What a sweep removed, for the books of a team.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swept {
    /// The team.
    pub team: String,
    /// How many values.
    pub items: i64,
    /// Their bytes.
    pub bytes: i64,
}

/// Removes some expired values.
pub fn sweep_expired(tx: &Connection, now: Millis, limit: u32) -> Result<Vec<Swept>, StoreError> {
    let mut statement = tx.prepare_cached(
        "select v.namespace, v.key, length(v.value) + length(cast(v.key as blob)),
                coalesce((select team from namespace n where n.id = v.namespace),
                         (select team from dropped_namespace d where d.id = v.namespace), '')
         from value v where v.expires_ms <= ?1 order by v.expires_ms limit ?2",
    )?;
    let rows: Vec<(i64, String, i64, String)> = statement
        .query_map(params![now, limit], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
        .collect::<Result<_, _>>()?;
    let mut swept = Vec::with_capacity(rows.len());
    for (namespace, key, bytes, team) in rows {
        remove(tx, namespace, &key)?;
        swept.push(Swept { team, items: 1, bytes });
    }
    Ok(swept)
}

/// Removes some values of a dropped namespace, and its mark with the last of them; none when there is no
/// dropped namespace.
pub fn sweep_dropped(tx: &Connection, limit: u32) -> Result<Option<Swept>, StoreError> {
    let dropped: Option<(i64, String)> = tx
        .prepare_cached("select id, team from dropped_namespace limit 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((id, team)) = dropped else { return Ok(None) };
    let sizes: Vec<i64> = tx
        .prepare_cached(
            "delete from value where namespace = ?1 and key in
               (select key from value where namespace = ?1 limit ?2)
             returning length(value) + length(cast(key as blob))",
        )?
        .query_map(params![id, limit], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    if sizes.len() < limit as usize {
        tx.prepare_cached("delete from dropped_namespace where id = ?1")?.execute([id])?;
    }
    Ok(Some(Swept { team, items: i64::try_from(sizes.len()).unwrap_or(i64::MAX), bytes: sizes.iter().sum() }))
}
