//! What records add to the ledger, until it is shipped.

use bytes::Bytes;
use sre_store::rusqlite::{Connection, params};

use super::Result;
use crate::runtime_context::connectors::Unshipped;

/// Writes what records add, in the transaction that writes the records.
pub(super) fn put(conn: &Connection, events: &[u8]) -> Result<()> {
    conn.prepare_cached("insert into usage_outbox (events) values (?1)")?.execute([events])?;
    Ok(())
}

/// What waits, oldest first.
pub(super) fn waiting(conn: &Connection, limit: usize) -> Result<Vec<Unshipped>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = conn.prepare_cached("select id, events from usage_outbox order by id limit ?1")?;
    let rows = statement.query_map([limit], |row| {
        Ok(Unshipped { id: row.get(0)?, events: Bytes::from(row.get::<_, Vec<u8>>(1)?) })
    })?;
    Ok(rows.collect::<std::result::Result<_, _>>()?)
}

/// It was shipped.
pub(super) fn remove(conn: &Connection, ids: &[i64]) -> Result<()> {
    let mut statement = conn.prepare_cached("delete from usage_outbox where id = ?1")?;
    for id in ids {
        statement.execute(params![id])?;
    }
    Ok(())
}
