//! Admission: how many runs of a team and kind are LEASED, and which teams have something to claim.

use sre_proto::memory::v1::{RunKind, RunState};
use sre_store::rusqlite::{Connection, OptionalExtension, params};

use super::{Result, Transaction};
use crate::runtime_context::changes::Change;
use crate::runtime_context::model::RunHead;
use crate::runtime_context::time::UnixMs;

/// Teams and kinds that one claim looks at: those that have waited longest.
const LOOKED_AT: u32 = 1024;
/// Runs that may be claimed once due; the words of the index `run_claim`.
pub(super) const CLAIMABLE: &str = "r.due_ms is not null and r.state in (1, 2, 4, 5)";

pub(super) const DUE: &str = "select team, kind, leased, due_ms, \
     (select sum(leased) from slot t where t.team = s.team) \
     from slot s where due_ms is not null and due_ms <= ?1 and leased < ?2 order by due_ms limit ?3";

/// For each priority apart: so each is the first entry of an index.
pub(super) const LOOK_AGAIN: &str = "update slot set due_ms = (select min(at) from (\
     select (select r.due_ms from run r where r.team = ?1 and r.kind = ?2 and r.priority = 1 \
     and r.due_ms is not null and r.state in (1, 2, 4, 5) order by r.due_ms limit 1) as at union all \
     select (select r.due_ms from run r where r.team = ?1 and r.kind = ?2 and r.priority = 0 \
     and r.due_ms is not null and r.state in (1, 2, 4, 5) order by r.due_ms limit 1))) \
     where team = ?1 and kind = ?2";

pub(super) const NEXT_DUE: &str =
    "select due_ms from slot where due_ms is not null and leased < ?1 order by due_ms limit 1";

/// Whose slots are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Share {
    pub team: String,
    pub kind: RunKind,
}

impl Share {
    pub(super) fn of(head: &RunHead) -> Self {
        Self { team: head.team.clone(), kind: head.kind }
    }
}

/// A share of which a run may be due.
pub(super) struct Due {
    pub share: Share,
    /// Runs of the share that are LEASED.
    pub leased: i64,
    /// Runs of the team that are LEASED, of all kinds.
    pub of_team: i64,
    /// Nothing of it is due before.
    pub due: UnixMs,
    /// Whether a run of it was claimed, so that its first due run is another now.
    pub served: bool,
}

/// Takes a slot for a new run; false where none is free, or others of the share are queued: a child goes
/// before them.
pub(super) fn take(tx: &Transaction<'_>, head: &RunHead) -> Result<bool> {
    let changed = tx
        .conn
        .prepare_cached(
            "insert into slot (team, kind, leased) values (?1, ?2, 1) on conflict (team, kind) do update \
             set leased = leased + 1 where leased < ?3 and (queued = 0 or ?4)",
        )?
        .execute(params![head.team, head.kind as i32, tx.settings.team_running, head.parent.is_some()])?;
    Ok(changed > 0)
}

/// Counts a run that was claimed or taken.
pub(super) fn leased(tx: &Transaction<'_>, share: &Share, from: RunState) -> Result<()> {
    tx.conn
        .prepare_cached(
            "insert into slot (team, kind, leased) values (?1, ?2, 1) on conflict (team, kind) do update \
             set leased = leased + 1, queued = queued - ?3",
        )?
        .execute(params![share.team, share.kind as i32, from == RunState::Queued])?;
    Ok(())
}

/// Gives a slot back, and tells engines where a run waited for it.
pub(super) fn free(tx: &Transaction<'_>, share: &Share) -> Result<()> {
    let slot = params![share.team, share.kind as i32];
    let found: Option<(i64, Option<i64>)> = tx
        .conn
        .prepare_cached("select leased, due_ms from slot where team = ?1 and kind = ?2")?
        .query_row(slot, |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((leased, due)) = found else { return Ok(()) };
    tx.conn
        .prepare_cached("update slot set leased = leased - 1 where team = ?1 and kind = ?2")?
        .execute(slot)?;
    if leased >= i64::from(tx.settings.team_running) && due.is_some_and(|due| due <= tx.now.0) {
        tx.tell(Change::Claimable);
    }
    Ok(())
}

/// Forgets a queued run that ends without having run.
pub(super) fn unqueue(tx: &Transaction<'_>, share: &Share) -> Result<()> {
    tx.conn
        .prepare_cached("update slot set queued = queued - 1 where team = ?1 and kind = ?2")?
        .execute(params![share.team, share.kind as i32])?;
    Ok(())
}

/// The state of a run that could be claimed now: READY, or QUEUED where its share is full.
pub(super) fn ready(tx: &Transaction<'_>, share: &Share) -> Result<RunState> {
    let full = tx
        .conn
        .prepare_cached("select 1 from slot where team = ?1 and kind = ?2 and leased >= ?3")?
        .exists(params![share.team, share.kind as i32, tx.settings.team_running])?;
    Ok(if full { RunState::Queued } else { RunState::Ready })
}

/// Counts a run that nobody owns (any more) and that comes due.
pub(super) fn comes_due(tx: &Transaction<'_>, share: &Share, state: RunState, due: UnixMs) -> Result<()> {
    tx.conn
        .prepare_cached(
            "insert into slot (team, kind, queued, due_ms) values (?1, ?2, ?3, ?4) \
             on conflict (team, kind) do update \
             set queued = queued + ?3, due_ms = min(coalesce(due_ms, ?4), ?4)",
        )?
        .execute(params![share.team, share.kind as i32, state == RunState::Queued, due.0])?;
    if due > tx.now {
        tx.tell(Change::Rescheduled);
    } else if state != RunState::Queued {
        tx.tell(Change::Claimable);
    }
    Ok(())
}

/// Shares with a free slot and, probably, a run that is due.
pub(super) fn due(tx: &Transaction<'_>) -> Result<Vec<Due>> {
    let mut select = tx.conn.prepare_cached(DUE)?;
    let found = select.query_map(params![tx.now.0, tx.settings.team_running, LOOKED_AT], |row| {
        let kind = RunKind::try_from(row.get::<_, i32>(1)?).unwrap_or_default();
        let share = Share { team: row.get(0)?, kind };
        Ok(Due { share, leased: row.get(2)?, due: UnixMs(row.get(3)?), of_team: row.get(4)?, served: false })
    })?;
    Ok(found.collect::<std::result::Result<_, _>>()?)
}

/// Looks when the next run of a share comes due, after some of them were claimed.
pub(super) fn look_again(tx: &Transaction<'_>, share: &Share) -> Result<()> {
    tx.conn.prepare_cached(LOOK_AGAIN)?.execute(params![share.team, share.kind as i32])?;
    Ok(())
}

/// When next a run may come due whose share has a free slot.
pub(super) fn next_due(conn: &Connection, limit: u32) -> Result<Option<UnixMs>> {
    let next: Option<i64> = conn.prepare_cached(NEXT_DUE)?.query_row([limit], |row| row.get(0)).optional()?;
    Ok(next.map(UnixMs))
}

/// Forgets shares of which nothing runs or comes due.
pub(super) fn forget_idle(tx: &Transaction<'_>) -> Result<()> {
    tx.conn
        .prepare_cached("delete from slot where leased = 0 and queued = 0 and due_ms is null")?
        .execute([])?;
    Ok(())
}

/// What the runs say, share by share; read from partial indexes, as most runs in the file have ended.
pub(super) const COUNTED: &str = "select team, kind, sum(leased), sum(queued), min(due_ms) from (\
     select team, kind, 1 as leased, 0 as queued, null as due_ms from run where session is not null \
     union all \
     select team, kind, 0, state = 1, due_ms from run where due_ms is not null and state in (1, 2, 4, 5)) \
     group by team, kind";

/// Counts all anew, and marks what the version before did not.
pub(super) fn recount(tx: &Transaction<'_>) -> Result<()> {
    tx.conn.execute("delete from slot", [])?;
    tx.conn.execute(&format!("insert into slot (team, kind, leased, queued, due_ms) {COUNTED}"), [])?;
    tx.conn.execute("update run set marks = marks | 1 where row in (select run from signal)", [])?;
    Ok(())
}

/// Panics where the counters differ from the runs.
#[cfg(test)]
pub(super) fn verify(conn: &Connection) {
    type Row = ((String, i32), (i64, i64, Option<i64>));
    let rows = |sql: &str| -> std::collections::BTreeMap<(String, i32), (i64, i64, Option<i64>)> {
        let mut select = conn.prepare(sql).unwrap();
        let rows = select.query_map([], |row| -> sre_store::rusqlite::Result<Row> {
            Ok(((row.get(0)?, row.get(1)?), (row.get(2)?, row.get(3)?, row.get(4)?)))
        });
        rows.unwrap().map(|row| row.unwrap()).collect()
    };
    let kept = rows("select team, kind, leased, queued, due_ms from slot");
    for (share, (leased, queued, due)) in rows(COUNTED) {
        let (kept_leased, kept_queued, kept_due) = kept.get(&share).copied().unwrap_or_default();
        assert_eq!((kept_leased, kept_queued), (leased, queued), "{share:?}");
        // A lower bound, and null only where nothing comes due.
        assert!(
            due.is_none() || kept_due.is_some_and(|kept| Some(kept) <= due),
            "{share:?} {kept_due:?} {due:?}"
        );
    }
    for (table, key, mark) in [("signal", "run", 1), ("approval", "run", 2), ("waiter", "awaited", 4)] {
        let sql = format!(
            "select count(*) from run where marks & {mark} = 0 and row in (select {key} from {table})"
        );
        let unmarked: i64 = conn.query_row(&sql, [], |row| row.get(0)).unwrap();
        assert_eq!(unmarked, 0, "{table}");
    }
    let counted = rows(COUNTED);
    assert!(
        kept.iter().all(|(share, row)| counted.contains_key(share) || (row.0, row.1) == (0, 0)),
        "{kept:?}"
    );
}
