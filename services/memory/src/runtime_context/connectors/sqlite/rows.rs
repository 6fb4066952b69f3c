//! Rows as runs, records and signals.

use bytes::Bytes;
use sre_proto::memory::v1::{RecordKind, RunKind, RunState};
use sre_store::StoreError;
use sre_store::rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use super::Result;
use crate::runtime_context::error::JournalError;
use crate::runtime_context::ids::{Digest, RunId, SessionId};
use crate::runtime_context::model::{Blob, NewRecord, Record, Run, RunHead, Signal};
use crate::runtime_context::time::UnixMs;

/// A run's internal key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RunRow(pub i64);

/// What a run has in other tables, as its column `marks` says: what is not marked is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Marks(pub i64);

impl Marks {
    /// Signals, consumed ones included.
    pub(super) const SIGNALS: Self = Self(1);
    /// Questions to people.
    pub(super) const QUESTIONS: Self = Self(2);
    /// Runs that wait for its end.
    pub(super) const WAITERS: Self = Self(4);
    /// Anything.
    pub(super) const ALL: Self = Self(7);

    pub(super) fn has(self, mark: Self) -> bool {
        self.0 & mark.0 != 0
    }
}

/// Marks a run.
pub(super) fn mark(conn: &Connection, run: RunRow, marks: Marks) -> Result<()> {
    conn.prepare_cached("update run set marks = marks | ?2 where row = ?1 and marks & ?2 = 0")?
        .execute([run.0, marks.0])?;
    Ok(())
}

/// The columns that [`run`] reads, of `run` as `r`; `content` is joined by those who want it.
pub(super) const RUN_COLUMNS: &str = "r.row, r.partition, r.id, r.team, r.agent, r.caller, r.kind, r.state, \
     r.epoch, r.session, r.next_seq, r.parent_partition, r.parent, r.idempotency_key, r.created_ms, r.ended_ms, \
     r.due_ms, r.deadline_ms, r.record_format, r.barren, r.label, r.version";

/// Columns of `content`, read by [`run`] where they follow [`RUN_COLUMNS`].
pub(super) const CONTENT_COLUMNS: &str = "c.spec, c.acl, c.outcome";

/// A run from [`RUN_COLUMNS`], perhaps followed by [`CONTENT_COLUMNS`].
pub(super) fn run(row: &Row<'_>) -> sre_store::rusqlite::Result<(RunRow, Run)> {
    let with_content = row.as_ref().column_count() > 22;
    let bytes = |index: usize| -> sre_store::rusqlite::Result<Bytes> {
        if with_content { Ok(Bytes::from(row.get::<_, Vec<u8>>(index)?)) } else { Ok(Bytes::new()) }
    };
    let parent = match (row.get::<_, Option<u8>>(11)?, uuid(row, 12)?) {
        (Some(partition), Some(uuid)) => Some(RunId { partition, uuid }),
        _ => None,
    };
    let head = RunHead {
        id: RunId { partition: row.get(1)?, uuid: uuid(row, 2)?.unwrap_or_default() },
        team: row.get(3)?,
        agent: row.get(4)?,
        caller: row.get(5)?,
        kind: RunKind::try_from(row.get::<_, i32>(6)?).unwrap_or_default(),
        parent,
        idempotency_key: row.get(13)?,
        deadline: moment(row, 17)?,
        record_format: row.get(18)?,
        label: row.get(20)?,
        version: row.get(21)?,
        spec: bytes(22)?,
        acl: bytes(23)?,
    };
    let run = Run {
        head,
        state: state(row, 7)?,
        epoch: row.get(8)?,
        session: uuid(row, 9)?.map(SessionId),
        next_sequence: row.get(10)?,
        created: UnixMs(row.get(14)?),
        ended: moment(row, 15)?,
        due: moment(row, 16)?,
        barren_claims: row.get(19)?,
        outcome: bytes(24)?,
    };
    Ok((RunRow(row.get(0)?), run))
}

/// A record from `seq, epoch, kind, step, body, blob_digest, blob_bytes, at_ms`.
pub(super) fn record(row: &Row<'_>) -> sre_store::rusqlite::Result<Record> {
    let blob = match (row.get::<_, Option<[u8; 32]>>(5)?, row.get(6)?) {
        (Some(digest), Some(size_bytes)) => Some(Blob { digest: Digest(digest), size_bytes }),
        _ => None,
    };
    Ok(Record {
        sequence: row.get(0)?,
        epoch: row.get(1)?,
        time: UnixMs(row.get(7)?),
        content: NewRecord {
            kind: RecordKind::try_from(row.get::<_, i32>(2)?).unwrap_or_default(),
            step: row.get(3)?,
            body: Bytes::from(row.get::<_, Vec<u8>>(4)?),
            blob,
            usage: Bytes::new(),
            conversation: None,
        },
    })
}

/// A signal from `id, kind, body`, starting at column `first`.
pub(super) fn signal(row: &Row<'_>, first: usize) -> sre_store::rusqlite::Result<Signal> {
    Ok(Signal {
        id: row.get(first)?,
        kind: row.get(first + 1)?,
        body: Bytes::from(row.get::<_, Vec<u8>>(first + 2)?),
    })
}

/// A state.
pub(super) fn state(row: &Row<'_>, index: usize) -> sre_store::rusqlite::Result<RunState> {
    Ok(RunState::try_from(row.get::<_, i32>(index)?).unwrap_or_default())
}

/// A UUID, stored as 16 bytes.
pub(super) fn uuid(row: &Row<'_>, index: usize) -> sre_store::rusqlite::Result<Option<Uuid>> {
    Ok(row.get::<_, Option<[u8; 16]>>(index)?.map(Uuid::from_bytes))
}

/// A moment that may be absent.
pub(super) fn moment(row: &Row<'_>, index: usize) -> sre_store::rusqlite::Result<Option<UnixMs>> {
    Ok(row.get::<_, Option<i64>>(index)?.map(UnixMs))
}

/// The bytes of a UUID, as a parameter.
pub(super) fn key(uuid: &Uuid) -> &[u8] {
    uuid.as_bytes()
}

/// Finds a run with its content.
pub(super) fn find(conn: &Connection, id: RunId) -> Result<Option<(RunRow, Run)>> {
    let sql = format!(
        "select {RUN_COLUMNS}, {CONTENT_COLUMNS} from run r join content c on c.run = r.row \
         where r.partition = ?1 and r.id = ?2"
    );
    let found = conn
        .prepare_cached(&sql)?
        .query_row(params![id.partition, key(&id.uuid)], run)
        .optional()
        .map_err(StoreError::from)?;
    Ok(found)
}

/// A run's row and state.
pub(super) fn locate(conn: &Connection, id: RunId) -> Result<(RunRow, RunState)> {
    conn.prepare_cached("select row, state from run where partition = ?1 and id = ?2")?
        .query_row(params![id.partition, key(&id.uuid)], |row| Ok((RunRow(row.get(0)?), state(row, 1)?)))
        .optional()?
        .ok_or(JournalError::RunNotFound)
}
