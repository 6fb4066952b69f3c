//! What a backup of this service's store must hold beside it.

use std::collections::BTreeSet;

use sre_store::StoreError;
use sre_store::rusqlite::Connection;
use uuid::Uuid;

/// The payloads that records of a store name, as paths below their folder.
pub fn payloads(conn: &Connection) -> Result<BTreeSet<String>, StoreError> {
    let mut statement = conn.prepare(
        "select distinct run.partition, run.id, record.blob_digest from record join run on run.row = record.run
         where record.blob_digest is not null",
    )?;
    let rows = statement.query_map([], |row| {
        let (partition, id, digest): (u32, [u8; 16], [u8; 32]) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(format!("{partition:02x}/{}/{}", Uuid::from_bytes(id), blake3::Hash::from_bytes(digest).to_hex()))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
