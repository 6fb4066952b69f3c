//! Reading runs and records.

use sre_store::rusqlite::{Connection, ToSql, params};

use super::Result;
use super::rows::{self, RUN_COLUMNS, key};
use crate::runtime_context::error::JournalError;
use crate::runtime_context::ids::RunId;
use crate::runtime_context::model::{Page, ReadFrom, Run, RunFilter};

/// A page ends behind this many bytes, so that it fits into a message,
const PAGE_BYTES: usize = 1024 * 1024;
/// and after this many records.
const PAGE_RECORDS: i64 = 1000;

pub(super) fn page(conn: &Connection, id: RunId, from: ReadFrom) -> Result<Page> {
    let (row, state) = rows::locate(conn, id)?;
    let (next_sequence, checkpoint): (i64, i64) = conn
        .prepare_cached("select next_seq, checkpoint_seq from run where row = ?1")?
        .query_row([row.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let after = match from {
        ReadFrom::After(sequence) => sequence,
        ReadFrom::LastCheckpoint(sequence) => sequence.max(checkpoint - 1),
    };
    let mut select = conn.prepare_cached(
        "select seq, epoch, kind, step, body, blob_digest, blob_bytes, at_ms from record \
         where run = ?1 and seq > ?2 order by seq limit ?3",
    )?;
    let mut records = Vec::new();
    let mut bytes = 0;
    for record in select.query_map([row.0, after, PAGE_RECORDS], rows::record)? {
        let record = record?;
        bytes += record.content.body.len() + record.content.step.len();
        records.push(record);
        if bytes >= PAGE_BYTES {
            break;
        }
    }
    Ok(Page { records, state, next_sequence })
}

pub(super) fn run(conn: &Connection, id: RunId) -> Result<Run> {
    rows::find(conn, id)?.map(|(_, run)| run).ok_or(JournalError::RunNotFound)
}

pub(super) fn list(conn: &Connection, filter: &RunFilter) -> Result<Vec<Run>> {
    let mut conditions: Vec<&str> = vec!["r.team = ?"];
    let mut values: Vec<&dyn ToSql> = vec![&filter.team];
    if let Some(agent) = &filter.agent {
        conditions.push("r.agent = ?");
        values.push(agent);
    }
    if let Some(caller) = &filter.caller {
        conditions.push("r.caller = ?");
        values.push(caller);
    }
    let state = filter.state.map(|state| state as i32);
    if let Some(state) = &state {
        conditions.push("r.state = ?");
        values.push(state);
    }
    let parent = filter.parent.map(|id| (id.partition, key(&id.uuid).to_vec()));
    if let Some((partition, id)) = &parent {
        conditions.push("r.parent_partition = ? and r.parent = ?");
        values.push(partition);
        values.push(id);
    }
    // A literal, so that the partial index of debug sessions serves.
    let kind = filter.kind.map(|kind| format!("r.kind = {}", kind as i32));
    if let Some(kind) = &kind {
        conditions.push(kind);
    }
    let before = filter.before.map(|id| (id.partition, key(&id.uuid).to_vec()));
    if let Some((partition, id)) = &before {
        conditions.push("(r.partition, r.id) < (?, ?)");
        values.push(partition);
        values.push(id);
    }
    values.push(&filter.limit);
    let sql = format!(
        "select {RUN_COLUMNS} from run r where {} order by r.partition desc, r.id desc limit ?",
        conditions.join(" and ")
    );
    let mut select = conn.prepare_cached(&sql)?;
    let runs = select.query_map(&values[..], |row| rows::run(row).map(|(_, run)| run))?;
    Ok(runs.collect::<std::result::Result<_, _>>()?)
}

/// Whether a run row of this id is there.
pub(super) fn exists(conn: &Connection, id: RunId) -> Result<bool> {
    let found = conn
        .prepare_cached("select 1 from run where partition = ?1 and id = ?2")?
        .exists(params![id.partition, key(&id.uuid)])?;
    Ok(found)
}
