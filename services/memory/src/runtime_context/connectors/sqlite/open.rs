//! Opening runs, once.

use sre_proto::memory::v1::RunState;
use sre_store::rusqlite::{Connection, OptionalExtension, params};

use super::append::insert_records;
use super::claim::run_id;
use super::rows::{self, RunRow, key};
use super::slots::Share;
use super::{Result, Transaction, sessions, slots};
use crate::runtime_context::error::JournalError;
use crate::runtime_context::ids::RunId;
use crate::runtime_context::model::{Opened, Opening, Request, Run, RunHead, Summary};
use crate::runtime_context::time::UnixMs;

pub(super) fn open(tx: &Transaction<'_>, opening: &Opening) -> Result<Opened> {
    if let Some(run) = existing(tx, opening)? {
        return Ok(Opened { run, attached: true });
    }
    if let Some(session) = opening.session {
        sessions::require_live(tx, session)?;
    }
    let due = opening.due.unwrap_or(tx.now);
    let share = Share::of(&opening.head);
    let state = match opening.session {
        Some(_) if slots::take(tx, &opening.head)? => RunState::Leased,
        Some(_) => RunState::Queued,
        None if due > tx.now => RunState::Waiting,
        None => slots::ready(tx, &share)?,
    };
    let owner = opening.session.filter(|_| state == RunState::Leased);
    let run = Run {
        head: opening.head.clone(),
        state,
        epoch: i64::from(owner.is_some()),
        session: owner,
        next_sequence: 1 + opening.records.len() as i64,
        created: tx.now,
        ended: None,
        due: Some(due),
        outcome: bytes::Bytes::new(),
        barren_claims: 0,
    };
    let row = insert(tx, &run)?;
    insert_records(tx, row, run.epoch, 1, &opening.records)?;
    if owner.is_none() {
        slots::comes_due(tx, &share, state, due)?;
    }
    if let Some(request) = &opening.request {
        remember(tx, row, &opening.head.caller, request)?;
    }
    Ok(Opened { run, attached: false })
}

/// The run that this opening names already, by any of its three names.
fn existing(tx: &Transaction<'_>, opening: &Opening) -> Result<Option<Run>> {
    let head = &opening.head;
    if let Some(request) = &opening.request
        && let Some(run) = by_request(tx, &head.caller, request)?
    {
        return Ok(Some(run));
    }
    if let Some(parent) = head.parent.filter(|_| !head.idempotency_key.is_empty())
        && let Some(run) = by_key(tx, parent, &head.idempotency_key)?
    {
        return Ok(Some(run));
    }
    let Some((_, run)) = rows::find(tx.conn, head.id)? else { return Ok(None) };
    let same = |run: &RunHead| {
        run.team == head.team
            && run.agent == head.agent
            && run.caller == head.caller
            && run.kind == head.kind
            && run.parent == head.parent
            && run.idempotency_key == head.idempotency_key
    };
    if !same(&run.head) {
        return Err(JournalError::AlreadyExists("the run id belongs to another run: make a new one"));
    }
    Ok(Some(run))
}

fn by_request(tx: &Transaction<'_>, caller: &str, request: &Request) -> Result<Option<Run>> {
    let oldest = tx.now.before(tx.settings.request_ids);
    let Some((id, digest)) = requested(tx.conn, caller, &request.id, oldest)? else { return Ok(None) };
    if digest != request.input_digest {
        return Err(JournalError::AlreadyExists(
            "the request id was used with another input within the last 24 hours: use a new one",
        ));
    }
    Ok(rows::find(tx.conn, id)?.map(|(_, run)| run))
}

/// The run that a request id named, and the digest of what it asked.
fn requested(conn: &Connection, caller: &str, id: &str, after: UnixMs) -> Result<Option<(RunId, String)>> {
    let found = conn
        .prepare_cached(
            "select r.partition, r.id, q.input_digest from request q join run r on r.row = q.run \
             where q.caller = ?1 and q.id = ?2 and q.at_ms > ?3",
        )?
        .query_row(params![caller, id, after.0], |row| Ok((run_id(row)?, row.get(2)?)))
        .optional()?;
    Ok(found)
}

pub(super) fn find(conn: &Connection, caller: &str, id: &str, after: UnixMs) -> Result<Run> {
    let (run, _) = requested(conn, caller, id, after)?.ok_or(JournalError::RunNotFound)?;
    rows::find(conn, run)?.map(|(_, run)| run).ok_or(JournalError::RunNotFound)
}

fn by_key(tx: &Transaction<'_>, parent: RunId, idempotency_key: &str) -> Result<Option<Run>> {
    let found: Option<RunId> = tx
        .conn
        .prepare_cached(
            "select partition, id from run where parent = ?1 and idempotency_key = ?2 and idempotency_key <> ''",
        )?
        .query_row(params![key(&parent.uuid), idempotency_key], run_id)
        .optional()?;
    let Some(id) = found else { return Ok(None) };
    Ok(rows::find(tx.conn, id)?.map(|(_, run)| run))
}

fn remember(tx: &Transaction<'_>, run: RunRow, caller: &str, request: &Request) -> Result<()> {
    tx.conn
        .prepare_cached(
            "insert or replace into request (caller, id, run, input_digest, at_ms) values (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![caller, request.id, run.0, request.input_digest, tx.now.0])?;
    Ok(())
}

/// Inserts a run's rows.
fn insert(tx: &Transaction<'_>, run: &Run) -> Result<RunRow> {
    let head = &run.head;
    let admitted = (run.state == RunState::Leased).then_some(run.created.0);
    tx.conn
        .prepare_cached(
            "insert into run (partition, id, team, agent, caller, kind, state, epoch, session, next_seq, \
             parent_partition, parent, idempotency_key, priority, admitted_ms, created_ms, ended_ms, due_ms, \
             deadline_ms, record_format, label, version) \
             values (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,?21,?22)",
        )?
        .execute(params![
            head.id.partition,
            key(&head.id.uuid),
            head.team,
            head.agent,
            head.caller,
            head.kind as i32,
            run.state as i32,
            run.epoch,
            run.session.as_ref().map(|session| key(&session.0)),
            run.next_sequence,
            head.parent.map(|parent| parent.partition),
            head.parent.as_ref().map(|parent| key(&parent.uuid)),
            head.idempotency_key,
            // Child runs go ahead of new roots: a root that waits for them holds resources.
            i32::from(head.parent.is_some()),
            admitted,
            run.created.0,
            run.ended.map(|moment| moment.0),
            run.due.map(|moment| moment.0),
            head.deadline.map(|moment| moment.0),
            head.record_format,
            head.label,
            head.version,
        ])?;
    let row = RunRow(tx.conn.last_insert_rowid());
    tx.conn
        .prepare_cached("insert into content (run, spec, acl, outcome) values (?1, ?2, ?3, ?4)")?
        .execute(params![row.0, &head.spec[..], &head.acl[..], &run.outcome[..]])?;
    Ok(row)
}

pub(super) fn write_summaries(tx: &Transaction<'_>, summaries: &[Summary]) -> Result<usize> {
    let mut written = 0;
    for summary in summaries {
        let id = summary.head.id;
        let taken = tx
            .conn
            .prepare_cached("select 1 from run where partition = ?1 and id = ?2")?
            .exists(params![id.partition, key(&id.uuid)])?;
        if taken {
            continue;
        }
        let run = Run {
            head: summary.head.clone(),
            state: summary.state,
            epoch: 0,
            session: None,
            next_sequence: 1,
            created: summary.created,
            // Retention counts from the writing, by this store's clock, whatever the engine's says.
            ended: Some(UnixMs(summary.ended.0.min(tx.now.0))),
            due: None,
            outcome: summary.outcome.clone(),
            barren_claims: 0,
        };
        insert(tx, &run)?;
        written += 1;
    }
    Ok(written)
}
