//! Signals: kept until consumed, and remembered after, so that a repeat is one.

use sre_proto::memory::v1::{RunKind, RunState};
use sre_store::rusqlite::{Connection, OptionalExtension, Row, params};

use super::rows::{self, Marks, RunRow, key};
use super::slots::Share;
use super::{Result, Transaction, slots, waiters};
use crate::runtime_context::changes::Change;
use crate::runtime_context::error::JournalError;
use crate::runtime_context::ids::{RunId, SessionId};
use crate::runtime_context::model::{Hold, Signal, Signalled, is_ended};

/// A run that a signal is for.
pub(super) struct Target {
    pub row: RunRow,
    pub id: RunId,
    pub state: RunState,
    pub owner: Option<SessionId>,
    pub share: Share,
}

/// A target from `row, partition, id, state, session, team, kind`.
pub(super) fn read_target(row: &Row<'_>) -> sre_store::rusqlite::Result<Target> {
    Ok(Target {
        row: RunRow(row.get(0)?),
        id: RunId { partition: row.get(1)?, uuid: rows::uuid(row, 2)?.unwrap_or_default() },
        state: rows::state(row, 3)?,
        owner: rows::uuid(row, 4)?.map(SessionId),
        share: Share {
            team: row.get(5)?,
            kind: RunKind::try_from(row.get::<_, i32>(6)?).unwrap_or_default(),
        },
    })
}

pub(super) fn target(conn: &Connection, id: RunId) -> Result<Target> {
    conn.prepare_cached(
        "select row, partition, id, state, session, team, kind from run where partition = ?1 and id = ?2",
    )?
    .query_row(params![id.partition, key(&id.uuid)], read_target)
    .optional()?
    .ok_or(JournalError::RunNotFound)
}

/// Whether a full inbox refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    Limited,
    Always,
}

pub(super) fn signal(tx: &Transaction<'_>, id: RunId, signal: &Signal) -> Result<Signalled> {
    deliver(tx, &target(tx.conn, id)?, signal, Room::Limited)
}

/// Puts a signal into the inbox and wakes who waits for it.
pub(super) fn deliver(
    tx: &Transaction<'_>,
    target: &Target,
    signal: &Signal,
    room: Room,
) -> Result<Signalled> {
    let state = target.state;
    if is_ended(state) {
        return Ok(Signalled::Ended(state));
    }
    if !put(tx, target.row, signal, room)? {
        return Ok(Signalled::Kept { state, owner: None, woken: false });
    }
    if let Some(session) = target.owner {
        tx.tell(Change::Signal { session, run: target.id, signal: signal.clone() });
    }
    let woken = match state {
        RunState::Waiting => Hold::Waiting.wakes(&signal.kind),
        RunState::Paused => Hold::Paused.wakes(&signal.kind),
        _ => false,
    };
    if woken {
        wake(tx, target)?;
    }
    Ok(Signalled::Kept { state, owner: target.owner, woken })
}

fn wake(tx: &Transaction<'_>, target: &Target) -> Result<()> {
    let state = slots::ready(tx, &target.share)?;
    tx.conn.prepare_cached("update run set state = ?2, due_ms = ?3 where row = ?1")?.execute(params![
        target.row.0,
        state as i32,
        tx.now.0
    ])?;
    waiters::forget(tx, target.row)?;
    slots::comes_due(tx, &target.share, state, tx.now)
}

/// False where the signal is there already, or was consumed.
fn put(tx: &Transaction<'_>, run: RunRow, signal: &Signal, room: Room) -> Result<bool> {
    let (known, count): (bool, u32) = tx
        .conn
        .prepare_cached(
            "select coalesce(max(id = ?2), 0), count(*) filter (where consumed = 0) from signal where run = ?1",
        )?
        .query_row(params![run.0, signal.id], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if known {
        return Ok(false);
    }
    if room == Room::Limited && count >= tx.settings.inbox_signals {
        return Err(JournalError::InboxFull { limit: tx.settings.inbox_signals });
    }
    tx.conn
        .prepare_cached(
            "insert into signal (run, id, kind, body, arrival) values \
             (?1, ?2, ?3, ?4, (select coalesce(max(arrival), 0) + 1 from signal where run = ?1))",
        )?
        .execute(params![run.0, signal.id, signal.kind, &signal.body[..]])?;
    rows::mark(tx.conn, run, Marks::SIGNALS)?;
    Ok(true)
}

/// Takes signals out of the inbox; their ids stay, without content, as long as the run goes on.
pub(super) fn consume(tx: &Transaction<'_>, run: RunRow, ids: &[String]) -> Result<()> {
    let mut update =
        tx.conn.prepare_cached("update signal set consumed = 1, body = x'' where run = ?1 and id = ?2")?;
    for id in ids {
        update.execute(params![run.0, id])?;
    }
    Ok(())
}

/// What waits in a run's inbox, in order of arrival.
pub(super) fn pending(conn: &Connection, run: RunRow) -> Result<Vec<Signal>> {
    let mut select = conn.prepare_cached(
        "select id, kind, body from signal where run = ?1 and consumed = 0 order by arrival",
    )?;
    let signals = select.query_map([run.0], |row| rows::signal(row, 0))?;
    Ok(signals.collect::<std::result::Result<_, _>>()?)
}

pub(super) fn pending_of_session(
    conn: &Connection,
    session: SessionId,
) -> Result<Option<Vec<(RunId, Signal)>>> {
    let live = conn
        .prepare_cached("select 1 from session where id = ?1 and reaped = 0")?
        .exists([key(&session.0)])?;
    if !live {
        return Ok(None);
    }
    let mut select = conn.prepare_cached(
        "select r.partition, r.id, s.id, s.kind, s.body from run r join signal s on s.run = r.row \
         where r.session = ?1 and s.consumed = 0 order by r.row, s.arrival",
    )?;
    let signals = select.query_map([key(&session.0)], |row| {
        let id = RunId { partition: row.get(0)?, uuid: rows::uuid(row, 1)?.unwrap_or_default() };
        Ok((id, rows::signal(row, 2)?))
    })?;
    Ok(Some(signals.collect::<std::result::Result<_, _>>()?))
}
