//! Writes of a run's owner: fenced, or nothing.

use sre_proto::memory::v1::{RecordKind, RunState};
use sre_store::rusqlite::{OptionalExtension, params};

use super::rows::{RunRow, key, locate};
use super::{Result, Transaction, inbox};
use crate::runtime_context::changes::Change;
use crate::runtime_context::error::JournalError;
use crate::runtime_context::model::{Append, Close, NewRecord, Owner, Parked, Parking};
use crate::runtime_context::time::UnixMs;

/// Each item for itself: fencing is the only refusal and comes before an item's first write, so that a
/// refused item leaves nothing and the others need no savepoint.
pub(super) fn append_each(tx: &Transaction<'_>, appends: &[Append]) -> Result<Vec<Result<i64>>> {
    let mut outcomes = Vec::with_capacity(appends.len());
    for append in appends {
        match append_one(tx, append) {
            // Half an item may be written: the whole transaction must go.
            Err(JournalError::Store(error)) => return Err(error.into()),
            outcome => outcomes.push(outcome),
        }
    }
    Ok(outcomes)
}

fn append_one(tx: &Transaction<'_>, append: &Append) -> Result<i64> {
    let (row, last) = write_fenced(tx, append.owner, &append.records)?;
    inbox::consume(tx, row, &append.consumed_signals)?;
    if let Some(end) = &append.close {
        close(tx, row, end)?;
    }
    Ok(last)
}

pub(super) fn park(tx: &Transaction<'_>, parking: &Parking) -> Result<Parked> {
    let (row, _) = write_fenced(tx, parking.owner, &parking.records)?;
    let waiting = inbox::pending(tx.conn, row)?;
    if !waiting.is_empty() {
        return Ok(Parked::SignalsWait(waiting));
    }
    // A run that waits for a signal alone still has to end in time.
    tx.conn
        .prepare_cached(
            "update run set state = ?2, session = null, barren = 0, \
             due_ms = case when ?3 is null then deadline_ms else min(?3, coalesce(deadline_ms, ?3)) end \
             where row = ?1",
        )?
        .execute(params![row.0, RunState::Waiting as i32, parking.until.map(|moment| moment.0)])?;
    tx.tell(Change::Rescheduled);
    Ok(Parked::Parked)
}

/// Takes sequence numbers where (session, epoch) match, and writes the records. The last sequence is 0
/// where the run has no record.
fn write_fenced(tx: &Transaction<'_>, owner: Owner, records: &[NewRecord]) -> Result<(RunRow, i64)> {
    let taken: Option<(i64, i64)> = tx
        .conn
        .prepare_cached(
            "update run set next_seq = next_seq + ?5, barren = case when ?5 > 0 then 0 else barren end \
             where partition = ?1 and id = ?2 and session = ?3 and epoch = ?4 and state = 3 \
             returning row, next_seq",
        )?
        .query_row(
            params![
                owner.run.partition,
                key(&owner.run.uuid),
                key(&owner.session.0),
                owner.epoch,
                records.len() as i64
            ],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    let Some((row, next)) = taken else {
        locate(tx.conn, owner.run)?;
        return Err(JournalError::Fenced);
    };
    insert_records(tx, RunRow(row), owner.epoch, next - records.len() as i64, records)?;
    tx.tell(Change::Run(owner.run));
    Ok((RunRow(row), next - 1))
}

/// Writes records from sequence `first` on.
pub(super) fn insert_records(
    tx: &Transaction<'_>,
    run: RunRow,
    epoch: i64,
    first: i64,
    records: &[NewRecord],
) -> Result<()> {
    let mut insert = tx.conn.prepare_cached(
        "insert into record (run, seq, epoch, kind, step, body, blob_digest, blob_bytes, at_ms) \
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    let mut checkpoint = None;
    for (sequence, record) in (first..).zip(records) {
        insert.execute(params![
            run.0,
            sequence,
            epoch,
            record.kind as i32,
            record.step,
            &record.body[..],
            record.blob.as_ref().map(|blob| &blob.digest.0[..]),
            record.blob.map(|blob| blob.size_bytes),
            tx.now.0,
        ])?;
        if record.kind == RecordKind::Checkpoint {
            checkpoint = Some(sequence);
        }
    }
    if let Some(sequence) = checkpoint {
        tx.conn
            .prepare_cached("update run set checkpoint_seq = ?2 where row = ?1")?
            .execute([run.0, sequence])?;
    }
    Ok(())
}

/// Ends a run. Its inbox goes with it: nobody will read it.
pub(super) fn close(tx: &Transaction<'_>, run: RunRow, end: &Close) -> Result<()> {
    let UnixMs(now) = tx.now;
    tx.conn
        .prepare_cached(
            "update run set state = ?2, ended_ms = ?3, session = null, due_ms = null where row = ?1",
        )?
        .execute(params![run.0, end.state as i32, now])?;
    tx.conn
        .prepare_cached("update content set outcome = ?2 where run = ?1")?
        .execute(params![run.0, &end.outcome[..]])?;
    tx.conn.prepare_cached("delete from signal where run = ?1")?.execute([run.0])?;
    Ok(())
}
