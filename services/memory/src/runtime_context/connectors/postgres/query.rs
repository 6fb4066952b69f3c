//! Reading runs and records.

use sre_store::pg::PgClient;

use super::rows::{self, Param, RUN_COLUMNS, RUN_TABLES, get, number, partition, query};
use super::{Result, open};
use crate::runtime_context::error::JournalError;
use crate::runtime_context::ids::RunId;
use crate::runtime_context::model::{Page, ReadFrom, Run, RunFilter};

/// A page ends behind this many bytes, so that it fits into a message,
const PAGE_BYTES: i64 = 1024 * 1024;
/// and after this many records.
const PAGE_RECORDS: i64 = 1000;

/// One statement, so that the records and where the run stands are of one moment.
pub(super) async fn page(client: &PgClient, id: RunId, from: ReadFrom) -> Result<Page> {
    let text = "
        with head as materialized (
            select r.run, coalesce(l.state, e.state) as state, coalesce(l.next_seq, e.next_seq) as next_seq,
                case when $4::bool then greatest($3::int8, coalesce(l.checkpoint_seq, e.checkpoint_seq) - 1)
                     else $3::int8 end as after
            from run r left join live l on l.id = r.id and l.partition = r.partition
            left join ended e on e.id = r.id and e.partition = r.partition
            where r.id = $1 and r.partition = $2
        )
        select h.state, h.next_seq, p.* from head h left join lateral (
            select seq, epoch, kind, step, body, blob_digest, blob_bytes, at_ms from (
                select c.*, sum(octet_length(c.body) + octet_length(c.step)) over (order by c.seq)
                    - octet_length(c.body) - octet_length(c.step) as before
                from (select * from record where id = $1 and run = h.run and seq > h.after
                      order by seq limit $5::int8) as c
            ) as m where m.before < $6::int8) as p on true
        order by p.seq";
    let (after, from_checkpoint) = match from {
        ReadFrom::After(sequence) => (sequence, false),
        ReadFrom::LastCheckpoint(sequence) => (sequence, true),
    };
    let part = partition(id);
    let params: [Param<'_>; 6] = [&id.uuid, &part, &after, &from_checkpoint, &PAGE_RECORDS, &PAGE_BYTES];
    let found = query(client, text, &params).await?;
    let Some(first) = found.first() else { return Err(JournalError::RunNotFound) };
    let mut page =
        Page { records: Vec::new(), state: rows::state(get(first, 0)?), next_sequence: get(first, 1)? };
    for row in &found {
        // A run without further records has one row without them.
        if get::<Option<i64>>(row, 2)?.is_some() {
            page.records.push(rows::record(row, 2)?);
        }
    }
    Ok(page)
}

pub(super) async fn run(client: &PgClient, id: RunId) -> Result<Run> {
    open::find(client, id).await?.map(|(_, run)| run).ok_or(JournalError::RunNotFound)
}

/// The run that a caller's request id named.
pub(super) async fn by_request(client: &PgClient, caller: &str, id: &str, kept_ms: i64) -> Result<Run> {
    let text = "
        select q.partition, q.run_id from request q join run r on r.id = q.run_id and r.partition = q.partition
        where q.caller = $1 and q.id = $2 and q.at_ms > (select now_ms()) - $3::int8";
    let found = query(client, text, &[&caller, &id, &kept_ms]).await?;
    let row = found.first().ok_or(JournalError::RunNotFound)?;
    run(client, open::id_of(row, 0)?).await
}

pub(super) async fn list(client: &PgClient, filter: &RunFilter) -> Result<Vec<Run>> {
    let mut params: Vec<Param<'_>> = vec![&filter.team];
    let mut conditions = vec!["r.team = $1".to_owned()];
    if let Some(agent) = &filter.agent {
        params.push(agent);
        conditions.push(format!("r.agent = ${}", params.len()));
    }
    if let Some(caller) = &filter.caller {
        params.push(caller);
        conditions.push(format!("r.caller = ${}", params.len()));
    }
    let kind = filter.kind.map(number);
    if let Some(kind) = &kind {
        params.push(kind);
        conditions.push(format!("r.kind = ${}", params.len()));
    }
    let state = filter.state.map(number);
    if let Some(state) = &state {
        params.push(state);
        conditions.push(format!("coalesce(l.state, e.state) = ${}", params.len()));
    }
    let parent = filter.parent.map(|id| (id.uuid, partition(id)));
    if let Some((id, partition)) = &parent {
        params.push(id);
        params.push(partition);
        conditions.push(format!(
            "r.parent = ${} and r.parent_partition = ${}",
            params.len() - 1,
            params.len()
        ));
    }
    let before = filter.before.map(|id| (id.uuid, partition(id)));
    if let Some((id, partition)) = &before {
        params.push(partition);
        params.push(id);
        conditions.push(format!("(r.partition, r.id) < (${}, ${})", params.len() - 1, params.len()));
    }
    let limit = i64::from(filter.limit);
    params.push(&limit);
    let text = format!(
        "select {RUN_COLUMNS} from {RUN_TABLES} where {} order by r.partition desc, r.id desc limit ${}",
        conditions.join(" and "),
        params.len()
    );
    let found = query(client, &text, &params).await?;
    found.iter().map(|row| rows::run(row).map(|(_, run)| run)).collect()
}
