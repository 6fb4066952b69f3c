//! The outbox: records written with the change they are about, shipped afterwards, across restarts.

use prost::Message;
use sre_proto::security::v1::AuditRecord;
use sre_store::rusqlite::{Connection, OptionalExtension, params};
use sre_store::{Store, StoreError, sql};

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
pub(super) fn insert(tx: &sql::Connection<'_>, record: &AuditRecord) -> Result<(), StoreError> {
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

/// Ships one batch.
///
/// A record has its place in the chain by its turn in the table: ids only grow, and what is there stays until it was
/// shipped. So a batch that is sent again has the same records at the same places, and nothing is written before it
/// leaves: the one writer of the store has better things to do.
pub(super) async fn ship_once(store: &Store, security: &Link) -> anyhow::Result<usize> {
    let Some(batch) = store.read(load).await? else { return Ok(0) };
    let shipped = batch.records.len();
    let stored = write(security, batch.records).await?;
    let tip = batch.tip;
    anyhow::ensure!(stored >= tip.sequence, "security stored up to {stored} of {}", tip.sequence);
    let last_id = batch.last_id;
    store
        .write(move |tx| {
            tx.prepare_cached("delete from audit_outbox where id <= ?1")?.execute([last_id])?;
            tx.prepare_cached("update audit_chain set sequence = ?1, digest = ?2 where sequence <= ?1")?
                .execute(params![tip.sequence, tip.digest])?;
            Ok(())
        })
        .await?;
    Ok(shipped)
}

/// The oldest records, each at its place.
struct Batch {
    records: Vec<AuditRecord>,
    last_id: i64,
    tip: Tip,
}

/// Where a chain ends.
struct Tip {
    sequence: i64,
    digest: Vec<u8>,
}

/// Reads a batch; none where nothing waits.
fn load(conn: &Connection) -> Result<Option<Batch>, StoreError> {
    let sql = "select writer, sequence, digest from audit_chain";
    let (writer, mut tip): (String, Tip) = conn
        .prepare_cached(sql)?
        .query_row([], |row| Ok((row.get(0)?, Tip { sequence: row.get(1)?, digest: row.get(2)? })))?;
    let sql = "select id, record, sequence from audit_outbox order by id limit ?1";
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query([BATCH as i64])?;
    let (mut records, mut last_id) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let bytes: Vec<u8> = row.get(1)?;
        // What was encoded here decodes here; a damaged row must not stop the others.
        let mut record = AuditRecord::decode(bytes.as_slice()).unwrap_or_default();
        match row.get(2)? {
            // An earlier version wrote places down before it shipped.
            Some(sequence) => tip = Tip { sequence, digest: record.digest.to_vec() },
            None => {
                let sequence = tip.sequence + 1;
                let digest = chain::chained(&mut record, &writer, sequence, &tip.digest).to_vec();
                tip = Tip { sequence, digest };
            }
        }
        last_id = row.get(0)?;
        records.push(record);
    }
    Ok((!records.is_empty()).then_some(Batch { records, last_id, tip }))
}
