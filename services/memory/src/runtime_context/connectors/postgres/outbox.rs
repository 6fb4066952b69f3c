//! What records add to the ledger, until it is shipped.

use bytes::Bytes;
use sre_store::pg::PgClient;

use super::Result;
use super::rows::{get, query};
use crate::runtime_context::connectors::Unshipped;

/// What waits, oldest first.
pub(super) async fn waiting(client: &PgClient, limit: usize) -> Result<Vec<Unshipped>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = query(client, "select id, events from usage_outbox order by id limit $1", &[&limit]).await?;
    let read = |row| Ok(Unshipped { id: get(row, 0)?, events: Bytes::copy_from_slice(get(row, 1)?) });
    rows.iter().map(read).collect()
}

/// It was shipped.
pub(super) async fn remove(client: &PgClient, ids: &[i64]) -> Result<()> {
    query(client, "delete from usage_outbox where id = any($1)", &[&ids]).await?;
    Ok(())
}
