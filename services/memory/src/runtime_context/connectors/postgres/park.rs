//! Parking: an owner gives its run up until something happens.

use futures::try_join;
use sre_proto::memory::v1::RunState;
use sre_store::pg::PgClient;

use super::append::{FENCE, fence_of};
use super::ending::FREED;
use super::inbox::{Consumed, PENDING};
use super::questions::Questions;
use super::rows::{self, Ids, Param, Place, Records, begin, commit, get, number, partition, prepare, query};
use super::{Core, Result, open, transact};
use crate::runtime_context::changes::Change;
use crate::runtime_context::error::JournalError;
use crate::runtime_context::ids::RunId;
use crate::runtime_context::model::{Append, Hold, Parked, Parking, Signal, job_done};

pub(super) async fn park(core: &Core, parking: &Parking) -> Result<Parked> {
    let (parked, changes) = transact!(core, client => write(core, client, parking).await)?;
    core.tell(changes);
    Ok(parked)
}

async fn write(core: &Core, client: &PgClient, parking: &Parking) -> Result<(Parked, Vec<Change>)> {
    let run = parking.owner.run;
    let [fence, insert, park, wait, pending, freed] =
        prepare(client, [FENCE, Records::INSERT, PARK, WAIT, PENDING, FREED]).await?;
    let as_append = Append { records: parking.records.clone(), ..Append::of(parking.owner) };
    let columns = fence_of(&as_append);
    let params = columns.params();
    begin(client).await?;
    // Those it waits for come before it, as where they end: there the waiter's row is locked last.
    let (awaited, ended) = living(client, &parking.wake_on_end).await?;
    let fenced = rows::rows(client, &fence, &params).await?;
    let Some(row) = fenced.first() else {
        commit(client).await?;
        let there = open::exists(client, run).await?;
        return Err(if there { JournalError::Fenced } else { JournalError::RunNotFound });
    };
    let place = Place { run: get(row, 1)?, id: run };
    let mut records = Records::default();
    records.add(place, parking.owner.epoch, get(row, 2)?, &parking.records);
    let mut consumed = Consumed::default();
    consumed.add(place, &parking.consumed_signals);
    let mut questions = Questions::default();
    questions.add(place, &parking.approvals);
    consumed.write(client).await?;
    questions.write(client).await?;

    let paused = parking.hold == Hold::Paused;
    let state = number(if paused { RunState::Paused } else { RunState::Waiting });
    let until = parking.until.filter(|_| !paused).map(|moment| moment.0);
    let ends_wake = ended.iter().any(|run| parking.hold.wakes(&job_done(*run).kind));
    let limit = i64::from(core.settings.team_running);
    let part = partition(run);
    let records_params = records.params();
    let park_params: [Param<'_>; 7] = [&run.uuid, &part, &place.run, &state, &until, &ends_wake, &paused];
    let wait_params: [Param<'_>; 4] = [&awaited, &place.run, &run.uuid, &part];
    let runs = vec![place.run];
    let pending_params: [Param<'_>; 1] = [&runs];
    let parked =
        try_join!(rows::rows(client, &insert, &records_params), rows::rows(client, &park, &park_params))?.1;
    let mut changes = vec![Change::Run(run)];
    let Some(row) = parked.first() else {
        let waiting = try_join!(rows::rows(client, &pending, &pending_params), commit(client))?.0;
        let mut signals = waiting.iter().map(|row| rows::signal(row, 1)).collect::<Result<Vec<Signal>>>()?;
        for end in ended.into_iter().map(job_done) {
            if !signals.iter().any(|signal| signal.id == end.id) {
                signals.push(end);
            }
        }
        return Ok((Parked::SignalsWait(signals), changes));
    };
    let (teams, kinds) = (vec![get::<String>(row, 0)?], vec![get::<i16>(row, 1)?]);
    let due: Option<i64> = get(row, 2)?;
    let freed_params: [Param<'_>; 3] = [&teams, &kinds, &limit];
    let freed = if awaited.is_empty() {
        try_join!(rows::rows(client, &freed, &freed_params), commit(client))?.0
    } else {
        let (_, freed, ()) = try_join!(
            rows::rows(client, &wait, &wait_params),
            rows::rows(client, &freed, &freed_params),
            commit(client)
        )?;
        freed
    };
    if freed.first().map(|row| get::<bool>(row, 0)).transpose()?.unwrap_or(false) {
        changes.push(Change::Claimable);
    }
    if due.is_some() {
        changes.push(Change::Rescheduled);
    }
    Ok((Parked::Parked, changes))
}

/// Which of these runs go on, locked against their end; the others ended, or do not exist.
async fn living(client: &PgClient, runs: &[RunId]) -> Result<(Vec<i64>, Vec<RunId>)> {
    if runs.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let mut sorted = runs.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let ids: Ids = sorted.iter().copied().collect();
    let text = "
        select l.run, l.partition, l.id from unnest($1::int2[], $2::uuid[]) as i(partition, id)
        join live l on l.id = i.id and l.partition = i.partition
        order by l.id, l.partition for key share of l";
    let found = query(client, text, &[&ids.partitions, &ids.uuids]).await?;
    let mut living = Vec::with_capacity(found.len());
    for row in &found {
        living.push(get(row, 0)?);
        let id = open::id_of(row, 1)?;
        sorted.retain(|run| *run != id);
    }
    // In the order they were asked in.
    Ok((living, runs.iter().copied().filter(|run| sorted.contains(run)).collect()))
}

/// Parks unless signals wait that would wake it, or an end that would. In a statement of its own, after the
/// run's row was locked: a signal that came before is seen. Gives `team, kind, due_ms`.
const PARK: &str = "
update live set session = null, barren = 0, state = $4,
    due_ms = case when $5::int8 is null then deadline_ms else least($5::int8, coalesce(deadline_ms, $5::int8)) end
where id = $1 and partition = $2 and not $6::bool and not exists (
    select 1 from signal where run = $3 and not consumed and (not $7::bool or kind in ('resume', 'cancel')))
returning team, kind, due_ms";

const WAIT: &str = "
insert into waiter (awaited, waiter, id, partition)
select awaited, $2, $3, $4 from unnest($1::int8[]) as a(awaited) on conflict do nothing";
