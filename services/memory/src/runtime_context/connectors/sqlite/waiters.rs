//! The end of a run, and those who wait for it.

use sre_store::rusqlite::{OptionalExtension, params};

use super::inbox::{self, Room, Target};
use super::rows::{self, Marks, RunRow, key};
use super::{Result, Transaction, approvals};
use crate::runtime_context::ids::RunId;
use crate::runtime_context::model::{Close, is_ended, job_done};

pub(super) const WAITING: &str = "select r.row, r.partition, r.id, r.state, r.session, r.team, r.kind \
     from waiter w join run r on r.row = w.run where w.awaited = ?1";

/// What goes with a run when it ends: its inbox, for nobody will read it, and its open questions. Tells those
/// who wait for it.
pub(super) fn end(tx: &Transaction<'_>, row: RunRow, id: RunId, end: &Close, marks: Marks) -> Result<()> {
    tx.conn
        .prepare_cached("update content set outcome = ?2 where run = ?1")?
        .execute(params![row.0, &end.outcome[..]])?;
    if marks.has(Marks::SIGNALS) {
        tx.conn.prepare_cached("delete from signal where run = ?1")?.execute([row.0])?;
    }
    if marks.has(Marks::QUESTIONS) {
        approvals::expire_of(tx, row)?;
    }
    if marks.has(Marks::WAITERS) {
        tell_waiters(tx, row, id)?;
    }
    Ok(())
}

fn tell_waiters(tx: &Transaction<'_>, row: RunRow, id: RunId) -> Result<()> {
    let waiting: Vec<Target> = {
        let mut select = tx.conn.prepare_cached(WAITING)?;
        let found = select.query_map([row.0], inbox::read_target)?;
        found.collect::<std::result::Result<_, _>>()?
    };
    if waiting.is_empty() {
        return Ok(());
    }
    tx.conn.prepare_cached("delete from waiter where awaited = ?1")?.execute([row.0])?;
    let signal = job_done(id);
    for target in waiting {
        // There is room: no run waits for more ends than an inbox may hold of them.
        inbox::deliver(tx, &target, &signal, Room::Always)?;
    }
    Ok(())
}

/// Which of these runs go on. The others ended, or do not exist.
pub(super) fn living(tx: &Transaction<'_>, runs: &[RunId]) -> Result<(Vec<RunRow>, Vec<RunId>)> {
    let (mut living, mut ended) = (Vec::new(), Vec::new());
    let mut select = tx.conn.prepare_cached("select row, state from run where partition = ?1 and id = ?2")?;
    for run in runs {
        let found = select
            .query_row(params![run.partition, key(&run.uuid)], |row| {
                Ok((RunRow(row.get(0)?), rows::state(row, 1)?))
            })
            .optional()?;
        match found {
            Some((row, state)) if !is_ended(state) => living.push(row),
            _ => ended.push(*run),
        }
    }
    Ok((living, ended))
}

/// Lets the end of these runs wake `run`.
pub(super) fn wait_for(tx: &Transaction<'_>, run: RunRow, awaited: &[RunRow]) -> Result<()> {
    let mut insert = tx.conn.prepare_cached("insert or ignore into waiter (awaited, run) values (?1, ?2)")?;
    for awaited in awaited {
        insert.execute([awaited.0, run.0])?;
        rows::mark(tx.conn, *awaited, Marks::WAITERS)?;
    }
    Ok(())
}

/// A run that wakes waits for nothing any more.
pub(super) fn forget(tx: &Transaction<'_>, run: RunRow) -> Result<()> {
    tx.conn.prepare_cached("delete from waiter where run = ?1")?.execute([run.0])?;
    Ok(())
}
