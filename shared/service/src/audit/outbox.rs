//! The outbox: records written with the change they are about, shipped afterwards, across restarts.

use prost::Message;
use sre_proto::security::v1::AuditRecord;
use sre_store::rusqlite::{Connection, OptionalExtension, params};
use sre_store::{Store, StoreError};

use super::chain;
use super::sink::{BATCH, GATHER, RETRY, write};
use crate::link::Link;
use crate::role::Role;

/// The tables of the outbox, for the first migration of a service that audits in its transactions.
pub const MIGRATION_SQL: &str = "
create table audit_outbox (
    id integer primary key autoincrement,
    record blob not null,
    -- Null until the record has its place in the chain.
    sequence integer
) strict;
create table audit_chain (
    one integer primary key check (one = 1),
    writer text not null,
    sequence integer not null,
    digest blob not null
) strict;
";

/// Writes a record in the transaction of the change it is about.
pub(super) fn insert(tx: &Connection, record: &AuditRecord) -> Result<(), StoreError> {
    tx.prepare_cached("insert into audit_outbox (record) values (?1)")?.execute([record.encode_to_vec()])?;
    Ok(())
}

pub(super) async fn exists(store: &Store) -> Result<bool, StoreError> {
    store
        .read(|conn| {
            let sql = "select 1 from sqlite_master where type = 'table' and name = 'audit_outbox'";
            Ok(conn.query_row(sql, [], |_| Ok(())).optional()?.is_some())
        })
        .await
}

/// The name of this store's chain: made once, kept with the store.
pub(super) async fn writer(store: &Store, role: Role) -> Result<String, StoreError> {
    let fresh = format!("{role}/{}", sre_proto::ids::new_uuid());
    store
        .write(move |tx| {
            let sql =
                "insert into audit_chain (one, writer, sequence, digest) values (1, ?1, 0, zeroblob(32))
                       on conflict (one) do nothing";
            tx.execute(sql, [&fresh])?;
            Ok(tx.query_row("select writer from audit_chain", [], |row| row.get(0))?)
        })
        .await
}

/// Ships until the process ends; wakes with the store's commits.
pub(super) async fn ship(store: Store, security: Link, writer: String) {
    let mut commits = store.watch();
    loop {
        match ship_once(&store, &security).await {
            Ok(shipped) if shipped == BATCH => continue,
            Ok(_) => {
                if commits.changed().await.is_err() {
                    return;
                }
                tokio::time::sleep(GATHER).await;
            }
            Err(error) => {
                tracing::debug!(writer, error = format!("{error:#}"), "audit records wait");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Ships one batch. Places in the chain are durable before anything leaves, so a batch that is sent again is
/// the same one.
pub(super) async fn ship_once(store: &Store, security: &Link) -> anyhow::Result<usize> {
    let unplaced = store
        .read(|conn| {
            let sql = "select 1 from audit_outbox where sequence is null limit 1";
            Ok(conn.query_row(sql, [], |_| Ok(())).optional()?.is_some())
        })
        .await?;
    if unplaced {
        store.write(place).await?;
    }
    let batch = store.read(load).await?;
    let (Some(first), Some(last)) = (batch.first().map(|row| row.0), batch.last().map(|row| row.0)) else {
        return Ok(0);
    };
    let records: Vec<AuditRecord> = batch.into_iter().map(|row| row.1).collect();
    let shipped = records.len();
    let stored = write(security, records).await?;
    anyhow::ensure!(stored >= last, "security stored up to {stored} of {first} to {last}");
    store
        .write(move |tx| {
            tx.prepare_cached("delete from audit_outbox where sequence <= ?1")?.execute([last])?;
            Ok(())
        })
        .await?;
    Ok(shipped)
}

/// Gives records without a place theirs.
fn place(tx: &Connection) -> Result<(), StoreError> {
    let (writer, mut sequence, mut digest): (String, i64, Vec<u8>) =
        tx.query_row("select writer, sequence, digest from audit_chain", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    let sql = "select id, record from audit_outbox where sequence is null order by id limit ?1";
    let rows = tx
        .prepare_cached(sql)?
        .query_map([BATCH as i64], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<Vec<(i64, Vec<u8>)>, _>>()?;
    for (id, bytes) in rows {
        // What was encoded here decodes here; a damaged row must not stop the others.
        let mut record = AuditRecord::decode(bytes.as_slice()).unwrap_or_default();
        sequence += 1;
        digest = chain::chained(&mut record, &writer, sequence, &digest).to_vec();
        tx.prepare_cached("update audit_outbox set record = ?2, sequence = ?3 where id = ?1")?
            .execute(params![id, record.encode_to_vec(), sequence])?;
    }
    tx.execute("update audit_chain set sequence = ?1, digest = ?2", params![sequence, digest])?;
    Ok(())
}

fn load(conn: &Connection) -> Result<Vec<(i64, AuditRecord)>, StoreError> {
    let sql =
        "select sequence, record from audit_outbox where sequence is not null order by sequence limit ?1";
    let rows = conn
        .prepare_cached(sql)?
        .query_map([BATCH as i64], |row| Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?)))?
        .collect::<Result<Vec<_>, _>>()?;
    Ok(rows
        .into_iter()
        .map(|(sequence, bytes)| (sequence, AuditRecord::decode(bytes.as_slice()).unwrap_or_default()))
        .collect())
}
