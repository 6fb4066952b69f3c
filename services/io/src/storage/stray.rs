//! Objects that no row names: those of writes in progress, and those of files that were replaced or deleted.

use rusqlite::{Connection, params};
use sre_store::StoreError;

use crate::clock::Millis;

/// Notes an object that is to be removed when due, unless a row adopts it before.
pub fn note(tx: &Connection, object: &str, due: Millis) -> Result<(), StoreError> {
    tx.prepare_cached("insert or replace into stray_object (object, due_ms) values (?1, ?2)")?
        .execute(params![object, due])?;
    Ok(())
}

/// Makes an object due now, if it is still stray: after a commit whose outcome is uncertain a row may name it.
pub fn hasten(tx: &Connection, object: &str, now: Millis) -> Result<(), StoreError> {
    tx.prepare_cached("update stray_object set due_ms = ?2 where object = ?1")?
        .execute(params![object, now])?;
    Ok(())
}

/// Takes an object into a row. False when the sweeper has it already.
pub fn adopt(tx: &Connection, object: &str) -> Result<bool, StoreError> {
    let taken = tx
        .prepare_cached("delete from stray_object where object = ?1 and condemned = 0")?
        .execute([object])?;
    Ok(taken == 1)
}

/// Condemns objects that are due, so that no row can adopt them any more, and gives them.
pub fn condemn(tx: &Connection, now: Millis, limit: u32) -> Result<Vec<String>, StoreError> {
    let mut statement = tx.prepare_cached(
        "update stray_object set condemned = 1 where object in
           (select object from stray_object where due_ms <= ?1 order by due_ms limit ?2)
         returning object",
    )?;
    let objects = statement.query_map(params![now, limit], |row| row.get(0))?;
    Ok(objects.collect::<Result<_, _>>()?)
}

/// Forgets an object that is gone.
pub fn forget(tx: &Connection, object: &str) -> Result<(), StoreError> {
    tx.prepare_cached("delete from stray_object where object = ?1")?.execute([object])?;
    Ok(())
}
