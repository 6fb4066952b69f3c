//! The outbox in PostgreSQL: one chain for all replicas of a role, shipped by whichever of them is free.

use prost::Message;
use sre_proto::security::v1::AuditRecord;
use sre_store::StoreError;
use sre_store::pg::{GenericClient, Pg, PgClient};

use super::chain;
use super::sink::{BATCH, RETRY, write};
use crate::link::Link;
use crate::role::Role;

/// The tables of the outbox, for the first migration of a service that audits in its transactions.
pub const PG_MIGRATION_SQL: &str = "
create table audit_outbox (
    id bigint generated always as identity primary key,
    record bytea not null,
    -- Null until the record has its place in the chain.
    sequence bigint
);
create index audit_outbox_by_sequence on audit_outbox (sequence);
create table audit_chain (
    one integer primary key check (one = 1),
    writer text not null,
    sequence bigint not null,
    digest bytea not null
);
";

/// Writes a record in the transaction of the change it is about.
pub(crate) async fn insert(tx: &impl GenericClient, record: &AuditRecord) -> Result<(), StoreError> {
    let sql = "insert into audit_outbox (record) values ($1)";
    tx.execute(&tx.prepare_cached(sql).await?, &[&record.encode_to_vec()]).await?;
    Ok(())
}

pub(super) async fn exists(pg: &Pg) -> Result<bool, StoreError> {
    let client = pg.get().await?;
    let row = pg.bounded(client.query_one("select to_regclass('audit_outbox') is not null", &[])).await?;
    Ok(row.try_get(0)?)
}

/// Makes this schema's chain where there is none yet.
pub(super) async fn prepare(pg: &Pg, role: Role) -> Result<(), StoreError> {
    let fresh = format!("{role}/{}", sre_proto::ids::new_uuid());
    let client = pg.get().await?;
    let sql = "insert into audit_chain (one, writer, sequence, digest) values (1, $1, 0, $2)
               on conflict (one) do nothing";
    pg.bounded(client.execute(sql, &[&fresh, &[0_u8; 32].as_slice()])).await?;
    Ok(())
}

/// Ships until the process ends.
pub(super) async fn ship(pg: Pg, security: Link) {
    loop {
        match ship_once(&pg, &security).await {
            Ok(shipped) if shipped == BATCH => continue,
            Ok(_) => {}
            Err(error) => tracing::debug!(error = format!("{error:#}"), "audit records wait"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Ships one batch, unless another replica is at it. Places in the chain are durable before anything leaves, so
/// a batch that is sent again is the same one.
pub(super) async fn ship_once(pg: &Pg, security: &Link) -> anyhow::Result<usize> {
    let loan = pg.lend().await?;
    let placed: Result<Vec<AuditRecord>, StoreError> = loan.run(place(loan.client()?)).await;
    let batch = loan.finish(placed).await?;
    let (Some(first), Some(last)) = (batch.first(), batch.last()) else { return Ok(0) };
    let (first, last, shipped) = (first.sequence, last.sequence, batch.len());
    let stored = write(security, batch).await?;
    anyhow::ensure!(stored >= last, "security stored up to {stored} of {first} to {last}");
    let client = pg.get().await?;
    pg.bounded(client.execute("delete from audit_outbox where sequence <= $1", &[&last])).await?;
    Ok(shipped)
}

/// Gives records without a place theirs, and gives what is to be shipped. Empty while another replica is at it.
async fn place(client: &PgClient) -> Result<Vec<AuditRecord>, StoreError> {
    client.batch_execute("begin").await?;
    let chain = "select writer, sequence, digest from audit_chain for update skip locked";
    let Some(chain_row) = client.query_opt(chain, &[]).await? else {
        client.batch_execute("rollback").await?;
        return Ok(Vec::new());
    };
    let writer: String = chain_row.try_get(0)?;
    let mut sequence: i64 = chain_row.try_get(1)?;
    let mut digest: Vec<u8> = chain_row.try_get(2)?;
    let limit = i64::try_from(BATCH).unwrap_or(i64::MAX);
    let unplaced = "select id, record from audit_outbox where sequence is null order by id limit $1";
    let (mut ids, mut records, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for row in client.query(unplaced, &[&limit]).await? {
        let (id, bytes): (i64, Vec<u8>) = (row.try_get(0)?, row.try_get(1)?);
        // What was encoded here decodes here; a damaged row must not stop the others.
        let mut record = AuditRecord::decode(bytes.as_slice()).unwrap_or_default();
        sequence += 1;
        digest = chain::chained(&mut record, &writer, sequence, &digest).to_vec();
        ids.push(id);
        records.push(record.encode_to_vec());
        places.push(sequence);
    }
    if !ids.is_empty() {
        let sql = "update audit_outbox o set record = u.record, sequence = u.sequence
                   from unnest($1::bigint[], $2::bytea[], $3::bigint[]) as u (id, record, sequence)
                   where o.id = u.id";
        client.execute(sql, &[&ids, &records, &places]).await?;
        client.execute("update audit_chain set sequence = $1, digest = $2", &[&sequence, &digest]).await?;
    }
    let due = "select record from audit_outbox where sequence is not null order by sequence limit $1";
    let rows = client.query(due, &[&limit]).await?;
    client.batch_execute("commit").await?;
    rows.iter()
        .map(|row| {
            let bytes: Vec<u8> = row.try_get(0)?;
            Ok(AuditRecord::decode(bytes.as_slice()).unwrap_or_default())
        })
        .collect()
}
