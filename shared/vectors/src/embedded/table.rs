//! The rows in the file. Every statement is here.
//!
//! A row is never changed: putting it again gives it a new number. So the index can be compared with the file by
//! numbers alone.

use bytes::Bytes;
use sre_store::StoreError;
use sre_store::rusqlite::{Connection, OptionalExtension, Row as SqlRow, params};

use super::Indexed;
use super::collections::Change;
use crate::backend::BackendError;
use crate::features::{Features, NumberKey, Tag};
use crate::model::{Collection, CollectionId, Found, Generation, Row, RowKey, Wanted};

pub const TABLES: &str = "
create table collection (
    number integer primary key autoincrement,
    id blob not null unique,
    dimension integer not null,
    metric text not null
) strict;

-- What loading reads comes first: the rest of a long row lies on pages of its own.
create table vector_row (
    seq integer primary key autoincrement,
    collection integer not null,
    generation integer not null,
    vector blob not null,
    tags blob not null,
    numbers blob not null,
    key blob not null,
    id text not null,
    datasource text not null,
    chunk integer not null,
    metadata blob not null,
    text text not null,
    unique (collection, key)
) strict;
create index vector_row_by_generation on vector_row (collection, generation);
";

/// Creates a collection, unless it is there.
pub fn create(tx: &Connection, collection: &Collection) -> Result<(), StoreError> {
    tx.prepare_cached(
        "insert into collection (id, dimension, metric) values (?1, ?2, ?3) on conflict (id) do nothing",
    )?
    .execute(params![
        id_of(collection.id),
        i64::try_from(collection.dimension).unwrap_or(i64::MAX),
        collection.metric.name()
    ])?;
    Ok(())
}

/// Removes a collection; its rows can no longer be found and are swept.
pub fn remove(tx: &Connection, id: CollectionId) -> Result<(), StoreError> {
    tx.prepare_cached("delete from collection where id = ?1")?.execute([id_of(id)])?;
    Ok(())
}

/// Removes some rows of collections that are gone; whether there may be more.
pub fn sweep(tx: &Connection, limit: u32) -> Result<bool, StoreError> {
    // Numbers of collections are never used again.
    let gone: Option<i64> = tx
        .prepare_cached(
            "select collection from vector_row where collection not in (select number from collection) limit 1",
        )?
        .query_row([], |row| row.get(0))
        .optional()?;
    let Some(gone) = gone else { return Ok(false) };
    tx.prepare_cached(
        "delete from vector_row where seq in (select seq from vector_row where collection = ?1 limit ?2)",
    )?
    .execute(params![gone, limit])?;
    Ok(true)
}

fn number(conn: &Connection, id: CollectionId) -> Result<Option<i64>, StoreError> {
    let mut statement = conn.prepare_cached("select number from collection where id = ?1")?;
    Ok(statement.query_row([id_of(id)], |row| row.get(0)).optional()?)
}

/// Puts rows.
pub fn put(tx: &Connection, collection: &Collection, rows: Vec<Row>) -> Result<Change, BackendError> {
    let Some(number) = number(tx, collection.id)? else {
        return Err(BackendError::Failed(format!("the collection {} is not there", collection.id.name())));
    };
    let sql = |error: sre_store::rusqlite::Error| StoreError::from(error);
    let mut removal = tx
        .prepare_cached("delete from vector_row where collection = ?1 and key = ?2 returning seq")
        .map_err(sql)?;
    let mut insertion = tx
        .prepare_cached(
            "insert into vector_row (collection, generation, vector, tags, numbers, key, id, datasource, chunk, \
             metadata, text) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )
        .map_err(sql)?;
    let mut change = Change::default();
    for row in rows {
        let key = key_of(row.key());
        let before: Option<i64> =
            removal.query_row(params![number, key], |row| row.get(0)).optional().map_err(sql)?;
        change.removed.extend(before);
        insertion
            .execute(params![
                number,
                row.generation,
                bytes_of(&row.vector),
                tag_bytes(&row.features),
                number_bytes(&row.features),
                key,
                row.id,
                row.datasource,
                row.chunk,
                row.metadata.as_ref(),
                row.text
            ])
            .map_err(sql)?;
        change.added.push(Indexed {
            seq: tx.last_insert_rowid(),
            generation: row.generation,
            vector: row.vector,
            features: row.features,
        });
    }
    Ok(change)
}

/// Deletes rows by key.
pub fn delete(tx: &Connection, id: CollectionId, keys: &[RowKey]) -> Result<Change, BackendError> {
    let mut change = Change::default();
    let Some(number) = number(tx, id)? else { return Ok(change) };
    let sql = |error: sre_store::rusqlite::Error| StoreError::from(error);
    let mut removal = tx
        .prepare_cached("delete from vector_row where collection = ?1 and key = ?2 returning seq")
        .map_err(sql)?;
    for key in keys {
        let seq: Option<i64> =
            removal.query_row(params![number, key_of(*key)], |row| row.get(0)).optional().map_err(sql)?;
        change.removed.extend(seq);
    }
    Ok(change)
}

/// Deletes some rows of a generation.
pub fn delete_generation(
    tx: &Connection,
    id: CollectionId,
    generation: Generation,
    limit: u32,
) -> Result<Change, BackendError> {
    let Some(number) = number(tx, id)? else { return Ok(Change::default()) };
    let removed = || -> Result<Vec<i64>, StoreError> {
        let mut removal = tx.prepare_cached(
            "delete from vector_row where seq in (select seq from vector_row where collection = ?1 and \
             generation = ?2 limit ?3) returning seq",
        )?;
        let rows = removal.query_map(params![number, generation, limit], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    };
    Ok(Change { added: Vec::new(), removed: removed()? })
}

/// Gives every row of a collection in the order of their numbers; none where there is no such collection.
pub fn load(
    conn: &Connection,
    id: CollectionId,
    mut take: impl FnMut(Indexed),
) -> Result<Option<()>, StoreError> {
    let Some(number) = number(conn, id)? else { return Ok(None) };
    let mut statement = conn.prepare_cached(
        "select seq, generation, vector, tags, numbers from vector_row where collection = ?1 order by seq",
    )?;
    let mut rows = statement.query([number])?;
    while let Some(row) = rows.next()? {
        take(Indexed {
            seq: row.get(0)?,
            generation: row.get(1)?,
            vector: floats_of(row.get_ref(2)?.as_blob().unwrap_or_default()),
            features: features_of(
                row.get_ref(3)?.as_blob().unwrap_or_default(),
                row.get_ref(4)?.as_blob().unwrap_or_default(),
            ),
        });
    }
    Ok(Some(()))
}

/// What was found, by number and score. Rows that are gone by now are left out.
pub fn found(conn: &Connection, hits: &[(i64, f32)], wanted: Wanted) -> Result<Vec<Found>, StoreError> {
    let columns = |on: bool, name: &'static str| if on { name } else { "null" };
    let sql = format!(
        "select id, generation, datasource, chunk, {}, {}, {} from vector_row where seq = ?1",
        columns(wanted.text, "text"),
        columns(wanted.metadata, "metadata"),
        columns(wanted.vector, "vector"),
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let mut all = Vec::with_capacity(hits.len());
    for (seq, score) in hits {
        let read = |row: &SqlRow<'_>| {
            Ok(Found {
                id: row.get(0)?,
                score: *score,
                generation: row.get(1)?,
                datasource: row.get(2)?,
                chunk: row.get(3)?,
                text: row.get::<_, Option<String>>(4)?.unwrap_or_default(),
                metadata: Bytes::from(row.get::<_, Option<Vec<u8>>>(5)?.unwrap_or_default()),
                vector: floats_of(&row.get::<_, Option<Vec<u8>>>(6)?.unwrap_or_default()),
            })
        };
        all.extend(statement.query_row([seq], read).optional()?);
    }
    Ok(all)
}

fn id_of(id: CollectionId) -> [u8; 16] {
    id.0.to_be_bytes()
}

fn key_of(key: RowKey) -> [u8; 16] {
    key.digest.to_be_bytes()
}

fn bytes_of(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn floats_of(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word)).collect()
}

fn tag_bytes(features: &Features) -> Vec<u8> {
    features.tags.iter().flat_map(Tag::bytes).collect()
}

fn number_bytes(features: &Features) -> Vec<u8> {
    features
        .numbers
        .iter()
        .flat_map(|(key, number)| key.bytes().into_iter().chain(number.to_le_bytes()))
        .collect()
}

fn features_of(tags: &[u8], numbers: &[u8]) -> Features {
    let numbers = numbers.as_chunks::<16>().0.iter().map(|pair| {
        let ([key, number], _) = pair.as_chunks::<8>() else { return (NumberKey::from_bytes([0; 8]), 0.0) };
        (NumberKey::from_bytes(*key), f64::from_le_bytes(*number))
    });
    Features {
        tags: tags.as_chunks::<16>().0.iter().map(|tag| Tag::from_bytes(*tag)).collect(),
        numbers: numbers.collect(),
    }
}
