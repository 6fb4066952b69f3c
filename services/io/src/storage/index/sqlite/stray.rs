//! Objects that no row names. Every statement about the table `stray_object` is here.

use rusqlite::{Connection, params};
use sre_store::StoreError;

use crate::clock::Millis;
use crate::storage::index::Stray;

/// Notes an object; noted again, only the name of its unfinished write changes.
pub fn note(tx: &Connection, stray: &Stray, due: Millis) -> Result<(), StoreError> {
    tx.prepare_cached(
        "insert into stray_object (object, instance, unfinished, due_ms) values (?1, ?2, ?3, ?4)
         on conflict (object) do update set unfinished = excluded.unfinished",
    )?
    .execute(params![stray.object, stray.instance, stray.unfinished, due])?;
    Ok(())
}

/// Sets when an object is due, if it is still stray.
pub fn due_at(tx: &Connection, object: &str, due: Millis) -> Result<(), StoreError> {
    tx.prepare_cached("update stray_object set due_ms = ?2 where object = ?1")?
        .execute(params![object, due])?;
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
pub fn condemn(tx: &Connection, now: Millis, limit: u32) -> Result<Vec<Stray>, StoreError> {
    let mut statement = tx.prepare_cached(
        "update stray_object set condemned = 1 where object in
           (select object from stray_object where due_ms <= ?1 order by due_ms limit ?2)
         returning object, instance, unfinished",
    )?;
    let strays = statement.query_map(params![now, limit], |row| {
        Ok(Stray { object: row.get(0)?, instance: row.get(1)?, unfinished: row.get(2)? })
    })?;
    Ok(strays.collect::<Result<_, _>>()?)
}

/// Forgets an object that is gone.
pub fn forget(tx: &Connection, object: &str) -> Result<(), StoreError> {
    tx.prepare_cached("delete from stray_object where object = ?1")?.execute([object])?;
    Ok(())
}
