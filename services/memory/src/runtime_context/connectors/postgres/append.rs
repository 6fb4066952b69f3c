//! Writes of runs' owners: fenced, or nothing. Many runs in two round trips.

use std::collections::HashMap;

use futures::try_join;
use sre_store::pg::PgClient;
use uuid::Uuid;

use super::ending::{self, Ended};
use super::inbox::Consumed;
use super::questions::Questions;
use super::rows::{
    self, Place, Records, begin, commit, get, last_checkpoint, number, partition, prepare, query,
};
use super::{Core, Result, conversations, transact};
use crate::runtime_context::changes::Change;
use crate::runtime_context::error::JournalError;
use crate::runtime_context::ids::RunId;
use crate::runtime_context::model::{Append, NewRecord, Owner};

/// Each item for itself. Items of one owner that follow each other are written as one.
pub(super) async fn append_each(core: &Core, appends: &[Append]) -> Result<Vec<Result<i64>>> {
    let written = transact!(core, client => write(core, client, appends).await)?;
    core.tell(written.changes);
    let mut outcomes = Vec::with_capacity(appends.len());
    for (append, last) in appends.iter().zip(written.lasts) {
        outcomes.push(match last {
            Some(last) => Ok(last),
            None => transact!(core, client => refusal(client, append).await)?,
        });
    }
    Ok(outcomes)
}

struct Written {
    /// Sequence of the last record of each item; none where refused.
    lasts: Vec<Option<i64>>,
    changes: Vec<Change>,
}

/// Items of one owner, written together.
struct Group {
    owner: Owner,
    expected: Option<i64>,
    items: Vec<usize>,
    records: i64,
    closes: bool,
}

/// Groups in rounds: in a round no run comes twice.
fn rounds(appends: &[Append]) -> Vec<Vec<Group>> {
    let mut rounds: Vec<Vec<Group>> = Vec::new();
    // Round and place in it of each run's latest group.
    let mut latest: HashMap<RunId, (usize, usize)> = HashMap::new();
    for (index, append) in appends.iter().enumerate() {
        let records = append.records.len() as i64;
        let known = latest.get(&append.owner.run).copied();
        if let Some((round, place)) = known {
            let group = &mut rounds[round][place];
            let follows = match (append.expected_sequence, group.expected) {
                (None, _) => true,
                (Some(expected), Some(first)) => expected == first + group.records,
                (Some(_), None) => false,
            };
            if group.owner == append.owner && !group.closes && follows {
                group.items.push(index);
                group.records += records;
                group.closes = append.close.is_some();
                continue;
            }
        }
        let round = known.map_or(0, |(round, _)| round + 1);
        if rounds.len() <= round {
            rounds.push(Vec::new());
        }
        latest.insert(append.owner.run, (round, rounds[round].len()));
        rounds[round].push(Group {
            owner: append.owner,
            expected: append.expected_sequence,
            items: vec![index],
            records,
            closes: append.close.is_some(),
        });
    }
    for round in &mut rounds {
        // Rows are locked in this order, as far as the server takes them in it.
        round.sort_unstable_by_key(|group| (group.owner.run.uuid, group.owner.run.partition));
    }
    rounds
}

async fn write(core: &Core, client: &PgClient, appends: &[Append]) -> Result<Written> {
    let [fence, insert] = prepare(client, [FENCE, Records::INSERT]).await?;
    let mut written = Written { lasts: vec![None; appends.len()], changes: Vec::new() };
    let rounds = rounds(appends);
    let count = rounds.len();
    for (round, groups) in rounds.iter().enumerate() {
        let columns = Columns::of(appends, groups);
        let params = columns.params();
        let fenced = if round == 0 {
            try_join!(begin(client), rows::rows(client, &fence, &params))?.1
        } else {
            rows::rows(client, &fence, &params).await?
        };
        let mut records = Records::default();
        let mut consumed = Consumed::default();
        let mut questions = Questions::default();
        let mut ended = Ended::default();
        let mut messages = Vec::new();
        for row in &fenced {
            let group = &groups[usize::try_from(get::<i64>(row, 0)? - 1).unwrap_or(0)];
            let place = Place { run: get(row, 1)?, id: group.owner.run };
            let mut next: i64 = get(row, 2)?;
            for item in &group.items {
                let append = &appends[*item];
                records.add(place, group.owner.epoch, next, &append.records);
                next += append.records.len() as i64;
                written.lasts[*item] = Some(next - 1);
                consumed.add(place, &append.consumed_signals);
                questions.add(place, &append.approvals);
                messages.extend(append.records.iter().filter_map(|record| record.conversation.as_ref()));
            }
            if group.closes {
                ended.add(place, get(row, 3)?, get(row, 4)?);
            }
            written.changes.push(Change::Run(place.id));
        }
        consumed.write(client).await?;
        questions.write(client).await?;
        conversations::add_all(client, messages).await?;
        let params = records.params();
        let last = round + 1 == count;
        let claimable = if ended.is_empty() {
            if last {
                try_join!(rows::rows(client, &insert, &params), commit(client))?;
            } else {
                rows::rows(client, &insert, &params).await?;
            }
            false
        } else {
            ending::finish(client, &insert, &params, &ended, core.settings.team_running, last).await?
        };
        if claimable {
            written.changes.push(Change::Claimable);
        }
    }
    Ok(written)
}

/// The columns of one item.
pub(super) fn fence_of(append: &Append) -> Columns<'_> {
    let appends = std::slice::from_ref(append);
    let groups = rounds(appends).pop().unwrap_or_default();
    Columns::of(appends, &groups)
}

/// Columns of groups.
#[derive(Default)]
pub(super) struct Columns<'a> {
    partitions: Vec<i16>,
    ids: Vec<Uuid>,
    sessions: Vec<Uuid>,
    epochs: Vec<i64>,
    counts: Vec<i64>,
    expected: Vec<Option<i64>>,
    checkpoints: Vec<Option<i64>>,
    states: Vec<Option<i16>>,
    outcomes: Vec<Option<&'a [u8]>>,
}

impl<'a> Columns<'a> {
    fn of(appends: &'a [Append], groups: &[Group]) -> Self {
        let mut columns = Self::default();
        for group in groups {
            let Owner { run, session, epoch } = group.owner;
            let items = group.items.iter().map(|item| &appends[*item]);
            let records = items.clone().flat_map(|append| &append.records);
            let close = items.filter_map(|append| append.close.as_ref()).last();
            columns.partitions.push(partition(run));
            columns.ids.push(run.uuid);
            columns.sessions.push(session.0);
            columns.epochs.push(epoch);
            columns.counts.push(group.records);
            columns.expected.push(group.expected);
            columns.checkpoints.push(last_checkpoint(records));
            columns.states.push(close.map(|close| number(close.state)));
            columns.outcomes.push(close.map(|close| &close.outcome[..]));
        }
        columns
    }

    pub(super) fn params(&self) -> [rows::Param<'_>; 9] {
        [
            &self.partitions,
            &self.ids,
            &self.sessions,
            &self.epochs,
            &self.counts,
            &self.expected,
            &self.checkpoints,
            &self.states,
            &self.outcomes,
        ]
    }
}

/// Takes sequence numbers where session and epoch match, and ends what is to end.
/// Gives `ord, run, first sequence`, and `team, kind` of what ended.
pub(super) const FENCE: &str = "
with item as materialized (
    select * from unnest($1::int2[], $2::uuid[], $3::uuid[], $4::int8[], $5::int8[], $6::int8[], $7::int8[],
        $8::int2[], $9::bytea[]) with ordinality
        as i(partition, id, session, epoch, records, expected, checkpoint, state, outcome, ord)
), kept as (
    update live l set next_seq = l.next_seq + i.records,
        barren = case when i.records > 0 then 0 else l.barren end,
        checkpoint_seq = coalesce(l.next_seq + i.checkpoint, l.checkpoint_seq)
    from item i
    where i.state is null and l.id = i.id and l.partition = i.partition and l.session = i.session
        and l.epoch = i.epoch and l.state = 3 and l.next_seq = coalesce(i.expected, l.next_seq)
    returning i.ord, l.run, l.next_seq - i.records as first
), closed as (
    delete from live l using item i
    where i.state is not null and l.id = i.id and l.partition = i.partition and l.session = i.session
        and l.epoch = i.epoch and l.state = 3 and l.next_seq = coalesce(i.expected, l.next_seq)
    returning i.ord, l.run, l.next_seq as first, l.next_seq + i.records as next, l.epoch, l.id, l.partition,
        l.team, l.kind, i.state, i.outcome, case when i.records > 0 then 0 else l.barren end as barren,
        coalesce(l.next_seq + i.checkpoint, l.checkpoint_seq) as checkpoint
), ended as (
    insert into ended (run, epoch, next_seq, checkpoint_seq, ended_ms, id, barren, partition, kind, state, outcome)
    select run, epoch, next, checkpoint, (select now_ms()), id, barren, partition, kind, state, outcome from closed
)
select ord, run, first, null::text, null::int2 from kept
union all select ord, run, first, team, kind from closed";

/// Why an item was refused; or its answer, where it repeats what was written before.
async fn refusal(client: &PgClient, append: &Append) -> Result<Result<i64>> {
    let Owner { run, session, epoch } = append.owner;
    let text = "
        select r.run, coalesce(l.next_seq, e.next_seq), coalesce(l.epoch, e.epoch),
            coalesce(l.state, e.state), l.session
        from run r left join live l on l.id = r.id and l.partition = r.partition
        left join ended e on e.id = r.id and e.partition = r.partition where r.id = $1 and r.partition = $2";
    let found = query(client, text, &[&run.uuid, &partition(run)]).await?;
    let Some(row) = found.first() else { return Ok(Err(JournalError::RunNotFound)) };
    let (next, its_epoch): (i64, i64) = (get(row, 1)?, get(row, 2)?);
    let state = rows::state(get(row, 3)?);
    let mine = get::<Option<Uuid>>(row, 4)? == Some(session.0);
    // An epoch has one owner. Whoever comes after it makes this one a zombie, whatever it wrote.
    let Some(expected) = append.expected_sequence.filter(|_| its_epoch == epoch) else {
        return Ok(Err(JournalError::Fenced));
    };
    let as_asked = append.close.as_ref().map_or(mine, |close| close.state == state);
    let last = expected + append.records.len() as i64 - 1;
    if as_asked && last < next && is_repeat(client, append, get(row, 0)?, expected).await? {
        return Ok(Ok(last));
    }
    Ok(Err(if mine { JournalError::OutOfSequence { next } } else { JournalError::Fenced }))
}

/// Whether the run's records from `first` on are these, by this owner's epoch.
async fn is_repeat(client: &PgClient, append: &Append, run: i64, first: i64) -> Result<bool> {
    let text = "select seq, epoch, kind, step, body, blob_digest, blob_bytes, at_ms from record \
                where id = $1 and run = $2 and seq >= $3 and seq < $4 order by seq";
    let end = first + append.records.len() as i64;
    let found = query(client, text, &[&append.owner.run.uuid, &run, &first, &end]).await?;
    let mut same = found.len() == append.records.len();
    for (row, asked) in found.iter().zip(&append.records) {
        let record = rows::record(row, 0)?;
        let content: &NewRecord = &record.content;
        same &= record.epoch == append.owner.epoch && asked.is_written_as(content);
    }
    Ok(same)
}
