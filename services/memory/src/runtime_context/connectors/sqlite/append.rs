//! Writes of a run's owner: fenced, or nothing.

use sre_proto::memory::v1::{RecordKind, RunKind, RunState};
use sre_store::rusqlite::{OptionalExtension, params};

use super::rows::{self, Marks, RunRow, key, locate};
use super::slots::Share;
use super::{Result, Transaction, approvals, conversations, inbox, outbox, slots, waiters};
use crate::runtime_context::changes::Change;
use crate::runtime_context::error::JournalError;
use crate::runtime_context::model::{Append, NewRecord, Owner, Parked, Parking, Signal, job_done};
use crate::runtime_context::time::UnixMs;

/// What records add to the ledger goes into one row up to so much.
const OUTBOX_BYTES: usize = 64 << 10;

/// Each item for itself: the refusals come before an item's first write, so that a refused item leaves
/// nothing and the others need no savepoint.
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
    let end = append.close.as_ref().map(|close| close.state);
    let Some(written) = write_fenced(tx, append.owner, &append.records, append.expected_sequence, end)?
    else {
        return repeated(tx, append);
    };
    inbox::consume(tx, written.row, &append.consumed_signals)?;
    approvals::ask(tx, written.row, &append.approvals)?;
    if let Some(close) = &append.close {
        waiters::end(tx, written.row, append.owner.run, close, written.marks)?;
        slots::free(tx, &written.share)?;
    }
    Ok(written.last)
}

pub(super) fn park(tx: &Transaction<'_>, parking: &Parking) -> Result<Parked> {
    let Some(written) = write_fenced(tx, parking.owner, &parking.records, None, None)? else {
        locate(tx.conn, parking.owner.run)?;
        return Err(JournalError::Fenced);
    };
    inbox::consume(tx, written.row, &parking.consumed_signals)?;
    approvals::ask(tx, written.row, &parking.approvals)?;
    let signals = inbox::pending(tx.conn, written.row)?;
    let (living, ended) = waiters::living(tx, &parking.wake_on_end)?;
    let wakes = |signal: &Signal| parking.hold.wakes(&signal.kind);
    if signals.iter().any(wakes) || ended.iter().any(|run| wakes(&job_done(*run))) {
        return Ok(Parked::SignalsWait(with_ends(signals, ended.into_iter().map(job_done))));
    }
    waiters::wait_for(tx, written.row, &living)?;
    let paused = parking.hold == crate::runtime_context::model::Hold::Paused;
    let state = if paused { RunState::Paused } else { RunState::Waiting };
    // A run that waits for a signal alone still has to end in time.
    let until = parking.until.filter(|_| !paused);
    let due: Option<i64> = tx
        .conn
        .prepare_cached(
            "update run set state = ?2, session = null, barren = 0, \
             due_ms = case when ?3 is null then deadline_ms else min(?3, coalesce(deadline_ms, ?3)) end \
             where row = ?1 returning due_ms",
        )?
        .query_row(params![written.row.0, state as i32, until.map(|moment| moment.0)], |row| row.get(0))?;
    slots::free(tx, &written.share)?;
    if let Some(due) = due {
        slots::comes_due(tx, &written.share, state, UnixMs(due))?;
    }
    Ok(Parked::Parked)
}

/// What waits, and the ends that are no signals yet: they never will be, the runs ended before.
fn with_ends(mut signals: Vec<Signal>, ends: impl Iterator<Item = Signal>) -> Vec<Signal> {
    for end in ends {
        if !signals.iter().any(|signal| signal.id == end.id) {
            signals.push(end);
        }
    }
    signals
}

/// What a fenced write found and did.
struct Written {
    row: RunRow,
    share: Share,
    marks: Marks,
    /// Sequence of the last record; 0 where the run has none.
    last: i64,
}

/// Takes sequence numbers where (session, epoch) match, and writes the records; ends the run in the same
/// statement, for each touch of the row costs. None where the owner is another or the sequence not the
/// expected one.
///
/// Read first and changed by its row then: with `returning`, SQLite makes a table in memory for the answer, which
/// costs more than the second statement.
fn write_fenced(
    tx: &Transaction<'_>,
    owner: Owner,
    records: &[NewRecord],
    expected: Option<i64>,
    end: Option<RunState>,
) -> Result<Option<Written>> {
    let mut owned = tx.conn.prepare_cached(
        "select row, next_seq, team, kind, marks from run where partition = ?1 and id = ?2 and session = ?3 \
         and epoch = ?4 and state = 3 and (?5 is null or next_seq = ?5)",
    )?;
    let (run, session) = (key(&owner.run.uuid), key(&owner.session.0));
    let found = owned
        .query_row(params![owner.run.partition, run, session, owner.epoch, expected], |row| {
            let kind = RunKind::try_from(row.get::<_, i32>(3)?).unwrap_or_default();
            let share = Share { team: row.get(2)?, kind };
            let next: i64 = row.get(1)?;
            Ok((next, Written { row: RunRow(row.get(0)?), share, marks: Marks(row.get(4)?), last: 0 }))
        })
        .optional()?;
    let Some((first, written)) = found else { return Ok(None) };
    let next = first + records.len() as i64;
    match end {
        // A write without records is no progress, and leaves the row as it is.
        None if records.is_empty() => {}
        None => {
            tx.conn
                .prepare_cached("update run set next_seq = ?2, barren = 0 where row = ?1")?
                .execute(params![written.row.0, next])?;
        }
        Some(end) => {
            tx.conn
                .prepare_cached(
                    "update run set next_seq = ?2, barren = case when ?3 then 0 else barren end, state = ?4, \
                     ended_ms = ?5, session = null, due_ms = null where row = ?1",
                )?
                .execute(params![written.row.0, next, !records.is_empty(), end as i32, tx.now.0])?;
        }
    }
    insert_records(tx, written.row, owner.epoch, first, records)?;
    tx.tell(Change::Run(owner.run));
    Ok(Some(Written { last: next - 1, ..written }))
}

/// The answer to an append that found another owner or sequence: as before where it was written before.
fn repeated(tx: &Transaction<'_>, append: &Append) -> Result<i64> {
    let (row, state) = locate(tx.conn, append.owner.run)?;
    let (epoch, next, mine): (i64, i64, bool) = tx
        .conn
        .prepare_cached("select epoch, next_seq, coalesce(session = ?2, 0) from run where row = ?1")?
        .query_row(params![row.0, key(&append.owner.session.0)], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    let Some(expected) = append.expected_sequence else { return Err(JournalError::Fenced) };
    // An epoch has one owner. Whoever comes after it makes this one a zombie, whatever it wrote.
    if epoch != append.owner.epoch {
        return Err(JournalError::Fenced);
    }
    let as_asked = match &append.close {
        Some(close) => close.state == state,
        None => mine,
    };
    let mut select = tx.conn.prepare_cached(
        "select seq, epoch, kind, step, body, blob_digest, blob_bytes, at_ms from record \
         where run = ?1 and seq >= ?2 order by seq limit ?3",
    )?;
    let there = select
        .query_map(params![row.0, expected, append.records.len() as i64], rows::record)?
        .collect::<std::result::Result<Vec<_>, _>>()?;
    let same = there.len() == append.records.len()
        && there
            .iter()
            .zip(&append.records)
            .all(|(there, record)| there.epoch == append.owner.epoch && record.is_written_as(&there.content));
    let last = expected + append.records.len() as i64 - 1;
    match (as_asked && same && last < next, mine) {
        (true, _) => Ok(last),
        (false, true) => Err(JournalError::OutOfSequence { next }),
        (false, false) => Err(JournalError::Fenced),
    }
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
    let mut used = Vec::new();
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
        // Encoded messages that follow each other are one, with the items of all.
        used.extend_from_slice(&record.usage);
        if used.len() > OUTBOX_BYTES {
            outbox::put(tx.conn, &std::mem::take(&mut used))?;
        }
        if let Some(added) = &record.conversation {
            conversations::add(tx.conn, tx.now, added)?;
        }
        if record.kind == RecordKind::Checkpoint {
            checkpoint = Some(sequence);
        }
    }
    if !used.is_empty() {
        outbox::put(tx.conn, &used)?;
    }
    if let Some(sequence) = checkpoint {
        tx.conn
            .prepare_cached("update run set checkpoint_seq = ?2 where row = ?1")?
            .execute([run.0, sequence])?;
    }
    Ok(())
}
