//! Handing runs to engines, and taking them from those that died.

use bytes::Bytes;
use sre_proto::memory::v1::{RecordKind, RunState};
use sre_store::rusqlite::{Connection, params};
use uuid::Uuid;

use super::append::{close, insert_records};
use super::rows::{self, CONTENT_COLUMNS, RUN_COLUMNS, RunRow, key};
use super::{Result, Transaction, inbox, sessions};
use crate::runtime_context::changes::Change;
use crate::runtime_context::ids::{RunId, SessionId};
use crate::runtime_context::model::{Claim, Claimed, Close, NewRecord, Reaped, Run, Signal};
use crate::runtime_context::time::UnixMs;

/// Runs that one reaping releases: the rest follow in the next, so that the writer serves others between.
const REAP_BATCH: u32 = 1000;
/// A claim stops growing here, so that its answer fits into a message.
const CLAIM_BYTES: usize = 2 * 1024 * 1024;

pub(super) fn claim(tx: &Transaction<'_>, claim: Claim) -> Result<Claimed> {
    sessions::require_live(tx, claim.session)?;
    let mut reaped = reap(tx)?;
    let mut runs: Vec<(Run, Vec<Signal>)> = Vec::new();
    let mut bytes = 0;
    // Child runs first. Two queries, so that each walks its index in order and stops at the limit.
    for priority in [1, 0] {
        for (row, run) in candidates(tx, priority, claim, runs.len())? {
            if run.barren_claims >= tx.settings.barren_claims {
                fail_poisoned(tx, row, &run)?;
                tx.tell(Change::Run(run.head.id));
                reaped.poisoned.push(run.head.id);
                continue;
            }
            if bytes > CLAIM_BYTES {
                break;
            }
            let run = take(tx, row, run, claim.session)?;
            let signals = inbox::pending(tx.conn, row)?;
            bytes += run.head.spec.len() + signals.iter().map(|signal| signal.body.len()).sum::<usize>();
            runs.push((run, signals));
        }
    }
    Ok(Claimed { runs, reaped })
}

fn candidates(tx: &Transaction<'_>, priority: i32, claim: Claim, have: usize) -> Result<Vec<(RunRow, Run)>> {
    let limit = (claim.limit as usize).saturating_sub(have);
    let sql = format!(
        "select {RUN_COLUMNS}, {CONTENT_COLUMNS} from run r join content c on c.run = r.row \
         where r.priority = ?1 and r.due_ms <= ?2 and r.due_ms is not null and r.state in (2, 4) \
         and r.record_format <= ?3 order by r.due_ms limit ?4"
    );
    let mut select = tx.conn.prepare_cached(&sql)?;
    let found =
        select.query_map(params![priority, tx.now.0, claim.max_record_format, limit as i64], rows::run)?;
    Ok(found.collect::<std::result::Result<_, _>>()?)
}

fn take(tx: &Transaction<'_>, row: RunRow, run: Run, session: SessionId) -> Result<Run> {
    tx.conn
        .prepare_cached(
            "update run set state = ?2, epoch = epoch + 1, session = ?3, barren = barren + 1 where row = ?1",
        )?
        .execute(params![row.0, RunState::Leased as i32, key(&session.0)])?;
    Ok(Run {
        state: RunState::Leased,
        epoch: run.epoch + 1,
        session: Some(session),
        barren_claims: run.barren_claims + 1,
        ..run
    })
}

/// Ends a run that brings its owners down, with a last record for those who watch it.
fn fail_poisoned(tx: &Transaction<'_>, row: RunRow, run: &Run) -> Result<()> {
    let words = serde_json::json!({
        "error": "poison",
        "message": format!(
            "claimed {} times in a row without progress: each owner stopped or died before its first record",
            run.barren_claims
        ),
    });
    let body = Bytes::from(words.to_string());
    let record =
        NewRecord { kind: RecordKind::Closed, step: "poison".to_owned(), body: body.clone(), blob: None };
    insert_records(tx, row, run.epoch, run.next_sequence, &[record])?;
    tx.conn.prepare_cached("update run set next_seq = next_seq + 1 where row = ?1")?.execute([row.0])?;
    close(tx, row, &Close { state: RunState::Failed, outcome: body })
}

pub(super) fn reap(tx: &Transaction<'_>) -> Result<Reaped> {
    let mut reaped = Reaped::default();
    let expired: Vec<(Vec<u8>, bool)> = tx
        .conn
        .prepare_cached("select id, reaped from session where until_ms <= ?1 order by until_ms limit 16")?
        .query_map([tx.now.0], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<std::result::Result<_, _>>()?;
    for (id, known) in expired {
        let room = u64::from(REAP_BATCH).saturating_sub(reaped.released);
        if room == 0 {
            break;
        }
        if !known && let Ok(uuid) = Uuid::from_slice(&id) {
            tx.tell(Change::SessionOver(SessionId(uuid)));
            reaped.sessions.push(SessionId(uuid));
        }
        let released = release(tx, &id, room)?;
        reaped.released += released;
        // Only then is nothing left that names it.
        let sql = if released < room {
            "delete from session where id = ?1"
        } else {
            "update session set reaped = 1 where id = ?1"
        };
        tx.conn.prepare_cached(sql)?.execute([&id])?;
    }
    if reaped.released > 0 {
        tx.tell(Change::Claimable);
        tx.tell(Change::Rescheduled);
    }
    Ok(reaped)
}

/// Gives back runs of a dead session. Those that made no progress wait longer each time.
fn release(tx: &Transaction<'_>, session: &[u8], limit: u64) -> Result<u64> {
    let released: Vec<(i64, i32)> = tx
        .conn
        .prepare_cached(
            "update run set state = ?2, session = null, due_ms = ?3 \
             where row in (select row from run where session = ?1 limit ?4) returning row, barren",
        )?
        .query_map(params![session, RunState::Ready as i32, tx.now.0, limit as i64], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect::<std::result::Result<_, _>>()?;
    for (row, barren) in released.iter().filter(|(_, barren)| *barren > 0) {
        let UnixMs(due) = tx.now.after(backoff(tx, *barren));
        tx.conn.prepare_cached("update run set due_ms = ?2 where row = ?1")?.execute([*row, due])?;
    }
    Ok(released.len() as u64)
}

fn backoff(tx: &Transaction<'_>, barren: i32) -> std::time::Duration {
    let doublings = u32::try_from(barren.saturating_sub(1)).unwrap_or(0).min(20);
    (tx.settings.barren_backoff * 2u32.pow(doublings)).min(tx.settings.barren_backoff_max)
}

pub(super) fn next_wake(conn: &Connection) -> Result<Option<UnixMs>> {
    let next: Option<i64> = conn
        .prepare_cached(
            "select min(at) from (\
             select min(until_ms) as at from session \
             union all select min(due_ms) from run where priority = 1 and due_ms is not null and state in (2, 4) \
             union all select min(due_ms) from run where priority = 0 and due_ms is not null and state in (2, 4))",
        )?
        .query_row([], |row| row.get(0))?;
    Ok(next.map(UnixMs))
}

/// A run's id from `partition, id`.
pub(super) fn run_id(row: &sre_store::rusqlite::Row<'_>) -> sre_store::rusqlite::Result<RunId> {
    Ok(RunId { partition: row.get(0)?, uuid: rows::uuid(row, 1)?.unwrap_or_default() })
}
