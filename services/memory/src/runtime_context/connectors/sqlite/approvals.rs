//! Questions to people: asked with a write of the owner, decided once.

use bytes::Bytes;
use sre_proto::memory::v1::ApprovalState;
use sre_store::rusqlite::{Connection, OptionalExtension, Row, ToSql, params};

use super::inbox::{self, Room};
use super::rows::{self, Marks, RunRow, locate};
use super::{Result, Transaction};
use crate::runtime_context::approval::{Approval, ApprovalFilter, Decision, Question, Verdict};
use crate::runtime_context::error::JournalError;
use crate::runtime_context::ids::RunId;
use crate::runtime_context::time::UnixMs;

const COLUMNS: &str = "a.place, r.partition, r.id, a.team, a.agent, a.id, a.component, a.kind, a.title, a.details, \
     a.approvers, a.expire_ms, a.created_ms, a.state, a.decided_by, a.comment, a.decided_ms, a.decision";

/// An approval from [`COLUMNS`], as it reads at `now`.
fn approval(row: &Row<'_>, now: UnixMs) -> sre_store::rusqlite::Result<Approval> {
    let question = Question {
        id: row.get(5)?,
        component: row.get(6)?,
        kind: row.get(7)?,
        title: row.get(8)?,
        details: Bytes::from(row.get::<_, Vec<u8>>(9)?),
        // Written below; whoever reads a file made by hand gets nobody rather than an error.
        approvers: serde_json::from_str(&row.get::<_, String>(10)?).unwrap_or_default(),
        expires: rows::moment(row, 11)?,
    };
    let state = ApprovalState::try_from(row.get::<_, i32>(13)?).unwrap_or_default();
    let verdict = match rows::moment(row, 16)? {
        None => None,
        Some(decided) => {
            let content = Bytes::from(row.get::<_, Vec<u8>>(17)?);
            let decision = Decision { state, decided_by: row.get(14)?, comment: row.get(15)?, content };
            Some(Verdict { decision, decided })
        }
    };
    Ok(Approval {
        place: row.get(0)?,
        run: RunId { partition: row.get(1)?, uuid: rows::uuid(row, 2)?.unwrap_or_default() },
        team: row.get(3)?,
        agent: row.get(4)?,
        created: UnixMs(row.get(12)?),
        state: Approval::state_at(state, question.expires, now),
        question,
        verdict,
    })
}

/// Writes what a run asks. A question that was asked before is left as it is.
pub(super) fn ask(tx: &Transaction<'_>, run: RunRow, questions: &[Question]) -> Result<()> {
    if !questions.is_empty() {
        rows::mark(tx.conn, run, Marks::QUESTIONS)?;
    }
    for question in questions {
        tx.conn
            .prepare_cached(
                "insert into approval (run, id, team, agent, component, kind, title, details, approvers, state, \
                 created_ms, expire_ms) select ?1, ?2, team, agent, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10 from run \
                 where row = ?1 on conflict (run, id) do nothing",
            )?
            .execute(params![
                run.0,
                question.id,
                question.component,
                question.kind,
                question.title,
                &question.details[..],
                serde_json::Value::from(question.approvers.clone()).to_string(),
                ApprovalState::Pending as i32,
                tx.now.0,
                question.expires.map(|moment| moment.0),
            ])?;
    }
    Ok(())
}

/// What a run that ended still asks, nobody answers.
pub(super) fn expire_of(tx: &Transaction<'_>, run: RunRow) -> Result<()> {
    tx.conn.prepare_cached("update approval set state = 4 where run = ?1 and state = 1")?.execute([run.0])?;
    Ok(())
}

/// Marks a batch of those whose time has passed. They read as expired before.
pub(super) fn expire(tx: &Transaction<'_>) -> Result<()> {
    tx.conn
        .prepare_cached(
            "update approval set state = 4 where place in (select place from approval \
             where state = 1 and expire_ms is not null and expire_ms <= ?1 order by expire_ms limit ?2)",
        )?
        .execute(params![tx.now.0, tx.settings.sweep_batch])?;
    Ok(())
}

pub(super) fn get(conn: &Connection, run: RunId, id: &str, now: UnixMs) -> Result<Approval> {
    let (row, _) = locate(conn, run)?;
    let sql = format!(
        "select {COLUMNS} from approval a join run r on r.row = a.run where a.run = ?1 and a.id = ?2"
    );
    conn.prepare_cached(&sql)?
        .query_row(params![row.0, id], |row| approval(row, now))
        .optional()?
        .ok_or(JournalError::ApprovalNotFound)
}

pub(super) fn list(conn: &Connection, filter: &ApprovalFilter, now: UnixMs) -> Result<Vec<Approval>> {
    let mut conditions = vec!["a.team = ?"];
    let mut values: Vec<&dyn ToSql> = vec![&filter.team];
    if let Some(agent) = &filter.agent {
        conditions.push("a.agent = ?");
        values.push(agent);
    }
    let run = match filter.run.map(|run| locate(conn, run)).transpose() {
        Ok(run) => run.map(|(row, _)| row.0),
        Err(JournalError::RunNotFound) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    if let Some(run) = &run {
        conditions.push("a.run = ?");
        values.push(run);
    }
    let state = filter.state.map(|state| state as i32);
    match (filter.state, &state) {
        // Literals, so that the partial index serves.
        (Some(ApprovalState::Pending), _) => {
            conditions.push("a.state = 1 and (a.expire_ms is null or a.expire_ms > ?)");
            values.push(&now.0);
        }
        (Some(ApprovalState::Expired), _) => {
            conditions.push("(a.state = 4 or a.state = 1 and a.expire_ms <= ?)");
            values.push(&now.0);
        }
        (Some(_), Some(state)) => {
            conditions.push("a.state = ?");
            values.push(state);
        }
        _ => {}
    }
    if let Some(before) = &filter.before {
        conditions.push("a.place < ?");
        values.push(before);
    }
    values.push(&filter.limit);
    let sql = format!(
        "select {COLUMNS} from approval a join run r on r.row = a.run where {} order by a.place desc limit ?",
        conditions.join(" and ")
    );
    let mut select = conn.prepare_cached(&sql)?;
    let found = select.query_map(&values[..], |row| approval(row, now))?;
    Ok(found.collect::<std::result::Result<_, _>>()?)
}

pub(super) fn decide(tx: &Transaction<'_>, run: RunId, id: &str, decision: &Decision) -> Result<Approval> {
    let asked = get(tx.conn, run, id, tx.now)?;
    if let Some(verdict) = &asked.verdict {
        if verdict.decision == *decision {
            return Ok(asked);
        }
        return Err(JournalError::already_decided(&verdict.decision));
    }
    if asked.state != ApprovalState::Pending {
        return Err(JournalError::ApprovalExpired);
    }
    tx.conn
        .prepare_cached(
            "update approval set state = ?2, decided_by = ?3, comment = ?4, decided_ms = ?5, decision = ?6 \
             where place = ?1",
        )?
        .execute(params![
            asked.place,
            decision.state as i32,
            decision.decided_by,
            decision.comment,
            tx.now.0,
            &decision.content[..]
        ])?;
    let verdict = Verdict { decision: decision.clone(), decided: tx.now };
    let decided = Approval { state: decision.state, verdict: Some(verdict), ..asked };
    let target = inbox::target(tx.conn, run)?;
    // As many as the run asked for, however full its inbox is.
    inbox::deliver(tx, &target, &decided.signal(), Room::Always)?;
    Ok(decided)
}
