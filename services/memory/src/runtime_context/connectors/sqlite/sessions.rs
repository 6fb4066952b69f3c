//! Sessions: one lease for all runs of an engine.

use std::time::Duration;

use sre_store::rusqlite::{OptionalExtension, params};

use super::rows::key;
use super::{Result, Transaction, claim};
use crate::runtime_context::changes::Change;
use crate::runtime_context::error::JournalError;
use crate::runtime_context::ids::SessionId;
use crate::runtime_context::model::Session;
use crate::runtime_context::time::UnixMs;

pub(super) fn open(tx: &Transaction<'_>, time_to_live: Duration, host: &str) -> Result<Session> {
    let id = SessionId(sre_proto::ids::new_uuid());
    let until = tx.now.after(time_to_live);
    tx.conn
        .prepare_cached("insert into session (id, host, ttl_ms, until_ms) values (?1, ?2, ?3, ?4)")?
        .execute(params![key(&id.0), host, millis(time_to_live), until.0])?;
    tx.tell(Change::Rescheduled);
    Ok(Session { id, time_to_live, until })
}

pub(super) fn renew(tx: &Transaction<'_>, id: SessionId) -> Result<Option<Session>> {
    let renewed = tx
        .conn
        .prepare_cached(
            "update session set until_ms = ?2 + ttl_ms where id = ?1 and reaped = 0 returning ttl_ms, until_ms",
        )?
        .query_row(params![key(&id.0), tx.now.0], |row| {
            let ttl_ms: i64 = row.get(0)?;
            let time_to_live = Duration::from_millis(u64::try_from(ttl_ms).unwrap_or(0));
            Ok(Session { id, time_to_live, until: UnixMs(row.get(1)?) })
        })
        .optional()?;
    Ok(renewed)
}

pub(super) fn close(tx: &Transaction<'_>, id: SessionId) -> Result<u64> {
    tx.conn.prepare_cached("delete from session where id = ?1")?.execute([key(&id.0)])?;
    // An owner that leaves in order did not fail: its last claim does not count against the run.
    let released = claim::hand_back(tx, key(&id.0), i64::MAX as u64, |barren| (tx.now, (barren - 1).max(0)))?;
    tx.tell(Change::SessionOver(id));
    Ok(released)
}

/// Refuses a session that is over. One that expired and was not reaped still counts.
pub(super) fn require_live(tx: &Transaction<'_>, id: SessionId) -> Result<()> {
    let live =
        tx.conn.prepare_cached("select 1 from session where id = ?1 and reaped = 0")?.exists([key(&id.0)])?;
    if live { Ok(()) } else { Err(JournalError::SessionOver) }
}

/// Whether a session's time is over, so that its runs are anybody's.
pub(super) fn is_expired(tx: &Transaction<'_>, id: SessionId) -> Result<bool> {
    let live = tx
        .conn
        .prepare_cached("select 1 from session where id = ?1 and reaped = 0 and until_ms > ?2")?
        .exists(params![key(&id.0), tx.now.0])?;
    Ok(!live)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
