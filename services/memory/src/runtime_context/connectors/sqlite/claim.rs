//! Handing runs to engines, and taking them from those that died.

use bytes::Bytes;
use sre_proto::memory::v1::{RecordKind, RunKind, RunState};
use sre_store::rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use super::append::insert_records;
use super::rows::{self, CONTENT_COLUMNS, Marks, RUN_COLUMNS, RunRow, key};
use super::slots::{CLAIMABLE, Due, Share};
use super::{Result, Transaction, inbox, sessions, slots, waiters};
use crate::runtime_context::changes::Change;
use crate::runtime_context::error::JournalError;
use crate::runtime_context::ids::{RunId, SessionId};
use crate::runtime_context::model::{Claim, Claimed, Close, NewRecord, Reaped, Run, Signal, Take, is_ended};
use crate::runtime_context::time::UnixMs;

/// Runs that one reaping releases: the rest follow in the next, so that the writer serves others between.
const REAP_BATCH: u32 = 1000;
/// A claim stops growing here, so that its answer fits into a message.
const CLAIM_BYTES: usize = 2 * 1024 * 1024;

pub(super) fn claim(tx: &Transaction<'_>, claim: Claim) -> Result<Claimed> {
    sessions::require_live(tx, claim.session)?;
    let mut claimed = Claimed { runs: Vec::new(), reaped: reap(tx)? };
    let mut bytes = 0;
    let mut shares = slots::due(tx)?;
    let limit = i64::from(tx.settings.team_running);
    while claimed.runs.len() < claim.limit as usize && bytes <= CLAIM_BYTES {
        let Some(next) = next_served(&shares) else { break };
        let share = &mut shares[next];
        let Some((row, run)) = first_due(tx, &share.share, claim.max_record_format)? else {
            slots::look_again(tx, &share.share)?;
            shares.swap_remove(next);
            continue;
        };
        if run.barren_claims >= tx.settings.barren_claims {
            fail_poisoned(tx, row, &run)?;
            claimed.reaped.poisoned.push(run.head.id);
            continue;
        }
        share.leased += 1;
        share.served = true;
        share.due = run.due.unwrap_or(share.due);
        let run = lease(tx, row, run, claim.session, Barren::Counted)?;
        let signals = inbox::pending(tx.conn, row)?;
        bytes += run.head.spec.len() + signals.iter().map(|signal| signal.body.len()).sum::<usize>();
        let full = share.leased >= limit;
        if full {
            slots::look_again(tx, &share.share)?;
            shares.swap_remove(next);
        }
        for other in shares.iter_mut().filter(|other| other.share.team == run.head.team) {
            other.of_team += 1;
        }
        claimed.runs.push((run, signals));
    }
    for share in shares.iter().filter(|share| share.served) {
        slots::look_again(tx, &share.share)?;
    }
    Ok(claimed)
}

/// The share whose team has the fewest running; among equals the one that has waited longest.
fn next_served(shares: &[Due]) -> Option<usize> {
    let order = |(_, share): &(usize, &Due)| (share.of_team, share.due);
    shares.iter().enumerate().min_by_key(order).map(|(index, _)| index)
}

/// The first run of a share that is due. Two queries, child runs first, so that each walks its index in
/// order and stops at once.
fn first_due(tx: &Transaction<'_>, share: &Share, max_record_format: i32) -> Result<Option<(RunRow, Run)>> {
    let mut select = tx.conn.prepare_cached(&first_due_sql())?;
    for priority in [1, 0] {
        let values = params![share.team, share.kind as i32, priority, tx.now.0, max_record_format];
        if let Some(found) = select.query_row(values, rows::run).optional()? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

pub(super) fn first_due_sql() -> String {
    format!(
        "select {RUN_COLUMNS}, {CONTENT_COLUMNS} from run r join content c on c.run = r.row \
         where r.team = ?1 and r.kind = ?2 and r.priority = ?3 and r.due_ms <= ?4 and {CLAIMABLE} \
         and r.record_format <= ?5 order by r.due_ms limit 1"
    )
}

pub(super) fn take(tx: &Transaction<'_>, take: Take) -> Result<(Run, Vec<Signal>)> {
    sessions::require_live(tx, take.session)?;
    let (row, run) = rows::find(tx.conn, take.run)?.ok_or(JournalError::RunNotFound)?;
    if is_ended(run.state) {
        return Err(JournalError::RunEnded);
    }
    if run.head.record_format > take.max_record_format {
        return Err(JournalError::NewerFormat { format: run.head.record_format });
    }
    if let Some(owner) = run.session {
        if !sessions::is_expired(tx, owner)? {
            return Err(JournalError::RunBusy);
        }
        // As the reaper would: its owner finds itself fenced.
        slots::free(tx, &Share::of(&run.head))?;
    }
    let run = lease(tx, row, run, take.session, Barren::NotCounted)?;
    let signals = inbox::pending(tx.conn, row)?;
    Ok((run, signals))
}

/// Whether owning a run without writing to it counts against the run.
#[derive(Debug, Clone, Copy)]
enum Barren {
    Counted,
    NotCounted,
}

fn lease(tx: &Transaction<'_>, row: RunRow, run: Run, session: SessionId, barren: Barren) -> Result<Run> {
    let barren_claims = run.barren_claims + i32::from(matches!(barren, Barren::Counted));
    tx.conn
        .prepare_cached(
            "update run set state = ?2, epoch = epoch + 1, session = ?3, barren = ?4, \
             admitted_ms = coalesce(admitted_ms, ?5) where row = ?1",
        )?
        .execute(params![row.0, RunState::Leased as i32, key(&session.0), barren_claims, tx.now.0])?;
    if matches!(run.state, RunState::Waiting | RunState::Paused) {
        waiters::forget(tx, row)?;
    }
    slots::leased(tx, &Share::of(&run.head), run.state)?;
    Ok(Run { state: RunState::Leased, epoch: run.epoch + 1, session: Some(session), barren_claims, ..run })
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
    let record = NewRecord {
        kind: RecordKind::Closed,
        step: "poison".to_owned(),
        body: body.clone(),
        blob: None,
        usage: Bytes::new(),
        conversation: None,
    };
    insert_records(tx, row, run.epoch, run.next_sequence, &[record])?;
    tx.conn
        .prepare_cached(
            "update run set next_seq = next_seq + 1, state = ?2, ended_ms = ?3, session = null, due_ms = null \
             where row = ?1",
        )?
        .execute(params![row.0, RunState::Failed as i32, tx.now.0])?;
    if run.state == RunState::Queued {
        slots::unqueue(tx, &Share::of(&run.head))?;
    }
    waiters::forget(tx, row)?;
    waiters::end(tx, row, run.head.id, &Close { state: RunState::Failed, outcome: body }, Marks::ALL)?;
    tx.tell(Change::Run(run.head.id));
    Ok(())
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
    Ok(reaped)
}

/// Gives back runs of a dead session. Those that made no progress wait longer each time.
fn release(tx: &Transaction<'_>, session: &[u8], limit: u64) -> Result<u64> {
    let backing_off = |barren| if barren > 0 { tx.now.after(backoff(tx, barren)) } else { tx.now };
    hand_back(tx, session, limit, |barren| (backing_off(barren), barren))
}

/// Hands back up to `limit` runs of a session: when each can be claimed, and how many barren claims it has,
/// follows from those it has.
pub(super) fn hand_back(
    tx: &Transaction<'_>,
    session: &[u8],
    limit: u64,
    next: impl Fn(i32) -> (UnixMs, i32),
) -> Result<u64> {
    let held: Vec<(i64, i32, Share)> = tx
        .conn
        .prepare_cached("select row, barren, team, kind from run where session = ?1 limit ?2")?
        .query_map(params![session, limit as i64], |row| {
            let kind = RunKind::try_from(row.get::<_, i32>(3)?).unwrap_or_default();
            Ok((row.get(0)?, row.get(1)?, Share { team: row.get(2)?, kind }))
        })?
        .collect::<std::result::Result<_, _>>()?;
    let mut update = tx.conn.prepare_cached(
        "update run set state = ?2, session = null, due_ms = ?3, barren = ?4 where row = ?1",
    )?;
    for (row, barren, share) in &held {
        let (due, barren) = next(*barren);
        slots::free(tx, share)?;
        update.execute(params![row, RunState::Ready as i32, due.0, barren])?;
        slots::comes_due(tx, share, RunState::Ready, due)?;
    }
    Ok(held.len() as u64)
}

fn backoff(tx: &Transaction<'_>, barren: i32) -> std::time::Duration {
    let doublings = u32::try_from(barren.saturating_sub(1)).unwrap_or(0).min(20);
    (tx.settings.barren_backoff * 2u32.pow(doublings)).min(tx.settings.barren_backoff_max)
}

pub(super) fn next_wake(conn: &Connection, team_running: u32) -> Result<Option<UnixMs>> {
    let expiry: Option<i64> =
        conn.prepare_cached("select min(until_ms) from session")?.query_row([], |row| row.get(0))?;
    let due = slots::next_due(conn, team_running)?;
    Ok(expiry.map(UnixMs).into_iter().chain(due).min())
}

/// A run's id from `partition, id`.
pub(super) fn run_id(row: &sre_store::rusqlite::Row<'_>) -> sre_store::rusqlite::Result<RunId> {
    Ok(RunId { partition: row.get(0)?, uuid: rows::uuid(row, 1)?.unwrap_or_default() })
}
