//! Rows as runs, records and signals, and the columns of statements that take many at once.

use bytes::Bytes;
use sre_proto::memory::v1::{RecordKind, RunKind, RunState};
use sre_store::StoreError;
use sre_store::pg::PgClient;
use sre_store::pg::tokio_postgres::types::{FromSql, ToSql};
use sre_store::pg::tokio_postgres::{Row, Statement};
use uuid::Uuid;

use super::Result;
use crate::runtime_context::ids::{Digest, RunId, SessionId};
use crate::runtime_context::model::{Blob, NewRecord, Record, Run, RunHead, Signal};
use crate::runtime_context::time::UnixMs;

/// A parameter.
pub(super) type Param<'a> = &'a (dyn ToSql + Sync);

/// Where a run's rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Its number, which everything but `run`, `live` and `ended` names it by.
    pub(super) run: i64,
    /// Its id.
    pub(super) id: RunId,
}

/// The columns that [`run`] reads, of `run r` with `live l` and `ended e` beside it.
pub(super) const RUN_COLUMNS: &str = "r.run, r.partition, r.id, r.team, r.agent, r.caller, r.kind, \
     coalesce(l.state, e.state), coalesce(l.epoch, e.epoch), l.session, coalesce(l.next_seq, e.next_seq), \
     r.parent_partition, r.parent, r.idempotency_key, r.created_ms, e.ended_ms, l.due_ms, r.deadline_ms, \
     r.record_format, coalesce(l.barren, e.barren), r.label, r.version";
/// The columns that follow where the content is wanted, too.
pub(super) const CONTENT_COLUMNS: &str = "r.spec, r.acl, coalesce(e.outcome, ''::bytea)";
/// The tables of [`RUN_COLUMNS`]. Every run has a row in `live` or in `ended`.
pub(super) const RUN_TABLES: &str = "run r left join live l on l.id = r.id and l.partition = r.partition \
     left join ended e on e.id = r.id and e.partition = r.partition";

/// A column's value.
pub(super) fn get<'a, T: FromSql<'a>>(row: &'a Row, index: usize) -> Result<T> {
    Ok(row.try_get(index).map_err(StoreError::from)?)
}

/// A run from [`RUN_COLUMNS`], perhaps followed by [`CONTENT_COLUMNS`].
pub(super) fn run(row: &Row) -> Result<(i64, Run)> {
    let with_content = row.len() > 22;
    let content = |index: usize| -> Result<Bytes> {
        if with_content { Ok(Bytes::copy_from_slice(get(row, index)?)) } else { Ok(Bytes::new()) }
    };
    let parent = match (get::<Option<i16>>(row, 11)?, get::<Option<Uuid>>(row, 12)?) {
        (Some(partition), Some(uuid)) => Some(run_id(partition, uuid)),
        _ => None,
    };
    let head = RunHead {
        id: run_id(get(row, 1)?, get(row, 2)?),
        team: get(row, 3)?,
        agent: get(row, 4)?,
        caller: get(row, 5)?,
        kind: kind(get(row, 6)?),
        parent,
        idempotency_key: get(row, 13)?,
        deadline: moment(row, 17)?,
        record_format: get(row, 18)?,
        label: get(row, 20)?,
        version: get(row, 21)?,
        spec: content(22)?,
        acl: content(23)?,
    };
    let run = Run {
        head,
        state: state(get(row, 7)?),
        epoch: get(row, 8)?,
        session: get::<Option<Uuid>>(row, 9)?.map(SessionId),
        next_sequence: get(row, 10)?,
        created: UnixMs(get(row, 14)?),
        ended: moment(row, 15)?,
        due: moment(row, 16)?,
        barren_claims: get(row, 19)?,
        outcome: content(24)?,
    };
    Ok((get(row, 0)?, run))
}

/// A record from `seq, epoch, kind, step, body, blob_digest, blob_bytes, at_ms`, starting at column `first`.
pub(super) fn record(row: &Row, first: usize) -> Result<Record> {
    let digest: Option<&[u8]> = get(row, first + 5)?;
    let blob = match (digest.and_then(|digest| digest.try_into().ok()), get(row, first + 6)?) {
        (Some(digest), Some(size_bytes)) => Some(Blob { digest: Digest(digest), size_bytes }),
        _ => None,
    };
    Ok(Record {
        sequence: get(row, first)?,
        epoch: get(row, first + 1)?,
        time: UnixMs(get(row, first + 7)?),
        content: NewRecord {
            kind: RecordKind::try_from(i32::from(get::<i16>(row, first + 2)?)).unwrap_or_default(),
            step: get(row, first + 3)?,
            body: Bytes::copy_from_slice(get(row, first + 4)?),
            blob,
            usage: Bytes::new(),
            conversation: None,
        },
    })
}

/// A signal from `id, kind, body`, starting at column `first`.
pub(super) fn signal(row: &Row, first: usize) -> Result<Signal> {
    Ok(Signal {
        id: get(row, first)?,
        kind: get(row, first + 1)?,
        body: Bytes::copy_from_slice(get(row, first + 2)?),
    })
}

/// A run's id from its columns.
pub(super) fn run_id(partition: i16, uuid: Uuid) -> RunId {
    RunId { partition: u8::try_from(partition).unwrap_or_default(), uuid }
}

/// A run's partition as a column.
pub(super) fn partition(id: RunId) -> i16 {
    i16::from(id.partition)
}

/// A state.
pub(super) fn state(number: i16) -> RunState {
    RunState::try_from(i32::from(number)).unwrap_or_default()
}

/// A kind.
pub(super) fn kind(number: i16) -> RunKind {
    RunKind::try_from(i32::from(number)).unwrap_or_default()
}

/// An enumeration of the contracts as a column: their numbers are small.
pub(super) fn number(value: impl Into<i32>) -> i16 {
    i16::try_from(value.into()).unwrap_or_default()
}

pub(super) fn moment(row: &Row, index: usize) -> Result<Option<UnixMs>> {
    Ok(get::<Option<i64>>(row, index)?.map(UnixMs))
}

/// Prepares statements before they are sent one behind the other: preparing between them would change
/// their order.
pub(super) async fn prepare<const N: usize>(client: &PgClient, texts: [&str; N]) -> Result<[Statement; N]> {
    let mut statements = Vec::with_capacity(N);
    for text in texts {
        statements.push(client.prepare_cached(text).await.map_err(StoreError::from)?);
    }
    statements.try_into().map_err(|_| StoreError::backend("a statement was not prepared").into())
}

/// One statement, alone.
pub(super) async fn query(client: &PgClient, text: &str, params: &[Param<'_>]) -> Result<Vec<Row>> {
    let [statement] = prepare(client, [text]).await?;
    Ok(client.query(&statement, params).await.map_err(StoreError::from)?)
}

/// Begins a transaction. Sent together with its first statement.
pub(super) async fn begin(client: &PgClient) -> Result<()> {
    Ok(client.batch_execute("begin").await.map_err(StoreError::from)?)
}

/// Commits. Sent together with the last statement: where that fails, this rolls back.
pub(super) async fn commit(client: &PgClient) -> Result<()> {
    Ok(client.batch_execute("commit").await.map_err(StoreError::from)?)
}

/// A prepared statement's rows.
pub(super) async fn rows(client: &PgClient, statement: &Statement, params: &[Param<'_>]) -> Result<Vec<Row>> {
    Ok(client.query(statement, params).await.map_err(StoreError::from)?)
}

/// Columns of runs' ids.
#[derive(Debug, Default)]
pub(super) struct Ids {
    pub(super) partitions: Vec<i16>,
    pub(super) uuids: Vec<Uuid>,
}

impl FromIterator<RunId> for Ids {
    fn from_iter<I: IntoIterator<Item = RunId>>(ids: I) -> Self {
        let mut columns = Self::default();
        for id in ids {
            columns.partitions.push(partition(id));
            columns.uuids.push(id.uuid);
        }
        columns
    }
}

/// Columns of records to write.
#[derive(Debug, Default)]
pub(super) struct Records<'a> {
    ids: Vec<Uuid>,
    runs: Vec<i64>,
    sequences: Vec<i64>,
    epochs: Vec<i64>,
    kinds: Vec<i16>,
    steps: Vec<&'a str>,
    bodies: Vec<&'a [u8]>,
    digests: Vec<Option<&'a [u8]>>,
    sizes: Vec<Option<i64>>,
    usages: Vec<Option<&'a [u8]>>,
}

impl<'a> Records<'a> {
    /// Writes records of runs, and what they add to the ledger into its outbox.
    pub(super) const INSERT: &'static str = "
        with item as materialized (
            select * from unnest($1::uuid[], $2::int8[], $3::int8[], $4::int8[], $5::int2[], $6::text[],
                $7::bytea[], $8::bytea[], $9::int8[], $10::bytea[])
                as i(id, run, seq, epoch, kind, step, body, blob_digest, blob_bytes, usage)
        ), used as (
            insert into usage_outbox (events) select usage from item where usage is not null
        )
        insert into record (id, run, seq, epoch, kind, step, body, blob_digest, blob_bytes, at_ms)
        select id, run, seq, epoch, kind, step, body, blob_digest, blob_bytes, (select now_ms()) from item";

    /// Adds a run's records from sequence `first` on.
    pub(super) fn add(
        &mut self,
        place: Place,
        epoch: i64,
        first: i64,
        records: impl IntoIterator<Item = &'a NewRecord>,
    ) {
        for (sequence, record) in (first..).zip(records) {
            self.ids.push(place.id.uuid);
            self.runs.push(place.run);
            self.sequences.push(sequence);
            self.epochs.push(epoch);
            self.kinds.push(number(record.kind));
            self.steps.push(&record.step);
            self.bodies.push(&record.body);
            self.digests.push(record.blob.as_ref().map(|blob| &blob.digest.0[..]));
            self.sizes.push(record.blob.map(|blob| blob.size_bytes));
            self.usages.push(Some(&record.usage[..]).filter(|usage| !usage.is_empty()));
        }
    }

    /// The columns.
    pub(super) fn params(&self) -> [Param<'_>; 10] {
        [
            &self.ids,
            &self.runs,
            &self.sequences,
            &self.epochs,
            &self.kinds,
            &self.steps,
            &self.bodies,
            &self.digests,
            &self.sizes,
            &self.usages,
        ]
    }
}

/// Place among `records` of the last checkpoint, counted from 0.
pub(super) fn last_checkpoint<'a>(records: impl IntoIterator<Item = &'a NewRecord>) -> Option<i64> {
    let places = (0i64..).zip(records).filter(|(_, record)| record.kind == RecordKind::Checkpoint);
    places.map(|(place, _)| place).last()
}
