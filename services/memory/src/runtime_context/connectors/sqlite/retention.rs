//! Deleting: at once for readers, row by row in batches.

use sre_proto::memory::v1::RunKind;
use sre_store::rusqlite::{Connection, params};

use super::claim::run_id;
use super::rows::{RunRow, key, locate};
use super::{Emptied, Purge, Result, Transaction, approvals, query, slots};
use crate::runtime_context::changes::Change;
use crate::runtime_context::error::JournalError;
use crate::runtime_context::ids::RunId;
use crate::runtime_context::model::is_ended;

pub(super) fn delete(tx: &Transaction<'_>, id: RunId) -> Result<()> {
    let (row, state) = locate(tx.conn, id)?;
    if !is_ended(state) {
        return Err(JournalError::NotEnded);
    }
    tx.tell(Change::Run(id));
    remove(tx, row)
}

/// Takes a run's row away, so that nobody finds it any more, and notes what is left to clean.
fn remove(tx: &Transaction<'_>, row: RunRow) -> Result<()> {
    tx.conn
        .prepare_cached(
            "insert into deleted (run, partition, id) select row, partition, id from run where row = ?1",
        )?
        .execute([row.0])?;
    for sql in [
        "delete from request where run = ?1",
        "delete from signal where run = ?1",
        "delete from approval where run = ?1",
        "delete from content where run = ?1",
        "delete from run where row = ?1",
    ] {
        tx.conn.prepare_cached(sql)?.execute([row.0])?;
    }
    Ok(())
}

pub(super) fn expire(tx: &Transaction<'_>) -> Result<usize> {
    let mut expired: Vec<i64> = Vec::new();
    for kind in [RunKind::Skill, RunKind::Job, RunKind::Turn, RunKind::Debug] {
        let kept = match kind {
            RunKind::Job => tx.settings.closed_jobs,
            RunKind::Debug => tx.settings.closed_debug,
            RunKind::Skill | RunKind::Turn | RunKind::Unspecified => tx.settings.closed_runs,
        };
        let room = (tx.settings.sweep_batch as usize).saturating_sub(expired.len());
        let mut select = tx.conn.prepare_cached(
            "select row from run where kind = ?1 and ended_ms is not null and ended_ms <= ?2 \
             order by ended_ms limit ?3",
        )?;
        let found = select.query_map(params![kind as i32, tx.now.before(kept).0, room as i64], |row| {
            row.get::<_, i64>(0)
        })?;
        for row in found {
            expired.push(row?);
        }
    }
    for row in &expired {
        remove(tx, RunRow(*row))?;
    }
    tx.conn
        .prepare_cached(
            "delete from request where (caller, id) in (select caller, id from request where at_ms <= ?1 limit ?2)",
        )?
        .execute(params![tx.now.before(tx.settings.request_ids).0, tx.settings.sweep_batch])?;
    approvals::expire(tx)?;
    slots::forget_idle(tx)?;
    Ok(expired.len())
}

pub(super) fn purge(tx: &Transaction<'_>) -> Result<Purge> {
    let mut room = tx.settings.sweep_batch as usize;
    let mut purge = Purge::default();
    let runs: Vec<(i64, RunId)> = tx
        .conn
        .prepare_cached("select partition, id, run from deleted order by run limit ?1")?
        .query_map([tx.settings.sweep_batch], |row| Ok((row.get(2)?, run_id(row)?)))?
        .collect::<std::result::Result<_, _>>()?;
    purge.more = runs.len() >= room;
    for (row, id) in runs {
        let gone = tx
            .conn
            .prepare_cached(
                "delete from record where rowid in (select rowid from record where run = ?1 limit ?2)",
            )?
            .execute(params![row, room as i64])?;
        room -= gone;
        if room == 0 {
            purge.more = true;
            break;
        }
        // A run opened anew under the same id keeps the folder of its payloads.
        let payloads_of = (!query::exists(tx.conn, id)?).then_some(id);
        purge.emptied.push(Emptied { key: row, payloads_of });
    }
    Ok(purge)
}

pub(super) fn purged(tx: &Transaction<'_>, runs: &[i64]) -> Result<()> {
    let mut delete = tx.conn.prepare_cached("delete from deleted where run = ?1")?;
    for run in runs {
        delete.execute([run])?;
    }
    Ok(())
}

pub(super) fn existing(conn: &Connection, runs: &[RunId]) -> Result<Vec<RunId>> {
    let mut found = Vec::new();
    let mut deleted = conn.prepare_cached("select 1 from deleted where partition = ?1 and id = ?2")?;
    for run in runs {
        if query::exists(conn, *run)? || deleted.exists(params![run.partition, key(&run.uuid)])? {
            found.push(*run);
        }
    }
    Ok(found)
}
