//! Deleting: at once for readers, row by row in batches.

use futures::try_join;
use sre_proto::memory::v1::RunKind;
use sre_store::pg::PgClient;
use uuid::Uuid;

use super::rows::{self, Ids, Param, begin, commit, get, number, partition, prepare, query};
use super::{Core, Result, open, questions, sessions, transact};
use crate::runtime_context::changes::Change;
use crate::runtime_context::connectors::{Emptied, Purge};
use crate::runtime_context::error::JournalError;
use crate::runtime_context::ids::RunId;
use crate::runtime_context::model::{Summary, is_ended};

pub(super) async fn delete(core: &Core, id: RunId) -> Result<()> {
    transact!(core, client => {
        let text = format!(
            "with gone as (delete from ended where id = $1 and partition = $2 returning run, id, partition) {REMOVE}"
        );
        if query(client, &text, &[&id.uuid, &partition(id)]).await?.is_empty() {
            let (_, run) = open::find(client, id).await?.ok_or(JournalError::RunNotFound)?;
            return Err(if is_ended(run.state) { JournalError::RunNotFound } else { JournalError::NotEnded });
        }
        Ok(())
    })?;
    core.tell(vec![Change::Run(id)]);
    Ok(())
}

/// Takes away the rows of `gone`, so that nobody finds them any more, and notes what is left to clean. What
/// their request ids named is found by nobody, and goes after a day.
const REMOVE: &str = "
    , noted as (
        insert into deleted (run, id, partition) select run, id, partition from gone returning 1
    ), runs as (
        delete from run r using gone where r.id = gone.id and r.partition = gone.partition
    ), signals as (
        delete from signal s using gone where s.run = gone.run
    ), approvals as (
        delete from approval a using gone where a.run = gone.run
    )
    select 1 from noted";

pub(super) async fn expire(core: &Core, client: &PgClient) -> Result<usize> {
    let settings = &core.settings;
    let batch = i64::from(settings.sweep_batch);
    let mut expired = 0;
    for kind in [RunKind::Skill, RunKind::Job, RunKind::Turn, RunKind::Debug] {
        let kept = sessions::millis(match kind {
            RunKind::Job => settings.closed_jobs,
            RunKind::Debug => settings.closed_debug,
            RunKind::Skill | RunKind::Turn | RunKind::Unspecified => settings.closed_runs,
        });
        let text = format!(
            "with old as materialized (
                select id, partition from ended where kind = $1 and ended_ms <= (select now_ms()) - $2::int8
                order by ended_ms limit $3 for update skip locked
            ), gone as (
                delete from ended e using old where e.id = old.id and e.partition = old.partition
                returning e.run, e.id, e.partition
            ) {REMOVE}"
        );
        let room = batch - i64::try_from(expired).unwrap_or(i64::MAX);
        expired += query(client, &text, &[&number(kind), &kept, &room]).await?.len();
    }
    let text = "
        delete from request where (caller, id) in (select caller, id from request
            where at_ms <= (select now_ms()) - $1::int8 order by at_ms limit $2 for update skip locked)";
    query(client, text, &[&sessions::millis(settings.request_ids), &batch]).await?;
    questions::expire(client, batch).await?;
    Ok(expired)
}

pub(super) async fn purge(core: &Core, client: &PgClient) -> Result<Purge> {
    let room = i64::from(core.settings.sweep_batch);
    let [victims, emptied] = prepare(client, [VICTIMS, EMPTIED]).await?;
    let params: [Param<'_>; 1] = [&room];
    let gone = try_join!(begin(client), rows::rows(client, &victims, &params))?.1;
    let mut runs = Vec::with_capacity(gone.len());
    let mut removed = 0;
    for row in &gone {
        runs.push(get::<i64>(row, 0)?);
        removed = get(row, 1)?;
    }
    let params: [Param<'_>; 1] = [&runs];
    let left = try_join!(rows::rows(client, &emptied, &params), commit(client))?.0;
    let mut purge = Purge { emptied: Vec::new(), more: removed >= room || gone.len() as i64 >= room };
    for row in &left {
        // A run opened anew under the same id keeps its payloads.
        let payloads_of = if get(row, 1)? { None } else { Some(open::id_of(row, 2)?) };
        purge.emptied.push(Emptied { key: get(row, 0)?, payloads_of });
    }
    Ok(purge)
}

/// Removes records of deleted runs; gives the runs, each with how many records went in all.
const VICTIMS: &str = "
with runs as materialized (
    select run, id from deleted order by run limit $1 for update skip locked
), victims as materialized (
    select r.id, r.run, r.seq from runs d join record r on r.id = d.id and r.run = d.run limit $1
), gone as (
    delete from record r using victims v where r.id = v.id and r.run = v.run and r.seq = v.seq returning 1
)
select run, (select count(*) from gone) from runs";

/// Those of the runs that have no record left: `run, whether its id is in use again, partition, id`.
const EMPTIED: &str = "
select d.run, exists (select 1 from run r where r.id = d.id and r.partition = d.partition), d.partition, d.id
from deleted d where d.run = any($1::int8[])
    and not exists (select 1 from record r where r.id = d.id and r.run = d.run)";

pub(super) async fn purged(client: &PgClient, runs: &[i64]) -> Result<()> {
    query(client, "delete from deleted where run = any($1::int8[])", &[&runs]).await?;
    Ok(())
}

pub(super) async fn existing(client: &PgClient, runs: &[RunId]) -> Result<Vec<RunId>> {
    let ids: Ids = runs.iter().copied().collect();
    let text = "
        select i.partition, i.id from unnest($1::int2[], $2::uuid[]) as i(partition, id)
        where exists (select 1 from run r where r.id = i.id and r.partition = i.partition)
            or exists (select 1 from deleted d where d.id = i.id and d.partition = i.partition)";
    let found = query(client, text, &[&ids.partitions, &ids.uuids]).await?;
    found.iter().map(|row| open::id_of(row, 0)).collect()
}

/// Writes ended runs whose ids are free.
pub(super) async fn write_summaries(client: &PgClient, summaries: &[Summary]) -> Result<usize> {
    let heads: Vec<_> = summaries.iter().map(|summary| &summary.head).collect();
    let ids: Ids = heads.iter().map(|head| head.id).collect();
    let teams: Vec<&str> = heads.iter().map(|head| head.team.as_str()).collect();
    let agents: Vec<&str> = heads.iter().map(|head| head.agent.as_str()).collect();
    let callers: Vec<&str> = heads.iter().map(|head| head.caller.as_str()).collect();
    let kinds: Vec<i16> = heads.iter().map(|head| number(head.kind)).collect();
    let parents: Vec<Option<Uuid>> = heads.iter().map(|head| head.parent.map(|parent| parent.uuid)).collect();
    let parent_partitions: Vec<Option<i16>> = heads.iter().map(|head| head.parent.map(partition)).collect();
    let keys: Vec<&str> = heads.iter().map(|head| head.idempotency_key.as_str()).collect();
    let deadlines: Vec<Option<i64>> = heads.iter().map(|head| head.deadline.map(|moment| moment.0)).collect();
    let formats: Vec<i32> = heads.iter().map(|head| head.record_format).collect();
    let labels: Vec<&str> = heads.iter().map(|head| head.label.as_str()).collect();
    let versions: Vec<&str> = heads.iter().map(|head| head.version.as_str()).collect();
    let specs: Vec<&[u8]> = heads.iter().map(|head| &head.spec[..]).collect();
    let acls: Vec<&[u8]> = heads.iter().map(|head| &head.acl[..]).collect();
    let states: Vec<i16> = summaries.iter().map(|summary| number(summary.state)).collect();
    let created: Vec<i64> = summaries.iter().map(|summary| summary.created.0).collect();
    let ended: Vec<i64> = summaries.iter().map(|summary| summary.ended.0).collect();
    let outcomes: Vec<&[u8]> = summaries.iter().map(|summary| &summary.outcome[..]).collect();
    let params: [Param<'_>; 19] = [
        &ids.partitions,
        &ids.uuids,
        &teams,
        &agents,
        &callers,
        &kinds,
        &parents,
        &parent_partitions,
        &keys,
        &deadlines,
        &formats,
        &labels,
        &versions,
        &specs,
        &acls,
        &states,
        &created,
        &ended,
        &outcomes,
    ];
    let written = query(client, SUMMARIES, &params).await?;
    Ok(written.len())
}

/// Retention counts from the writing, by this store's clock, whatever the engine's says.
const SUMMARIES: &str = "
with item as materialized (
    select * from unnest($1::int2[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::int2[], $7::uuid[],
        $8::int2[], $9::text[], $10::int8[], $11::int4[], $12::text[], $13::text[], $14::bytea[], $15::bytea[],
        $16::int2[], $17::int8[], $18::int8[], $19::bytea[])
        as i(partition, id, team, agent, caller, kind, parent, parent_partition, key, deadline_ms, record_format,
            label, version, spec, acl, state, created_ms, ended_ms, outcome)
), written as (
    insert into run (run, created_ms, deadline_ms, id, parent, record_format, partition, parent_partition, kind,
        team, agent, caller, idempotency_key, label, version, spec, acl)
    select nextval('run_row'), created_ms, deadline_ms, id, parent, record_format, partition, parent_partition,
        kind, team, agent, caller, key, label, version, spec, acl from item
    on conflict do nothing returning run, id, partition
)
insert into ended (run, epoch, next_seq, checkpoint_seq, ended_ms, id, barren, partition, kind, state, outcome)
select w.run, 0, 1, 0, least(i.ended_ms, (select now_ms())), w.id, 0, w.partition, i.kind, i.state, i.outcome
from written w join item i on i.id = w.id and i.partition = w.partition
on conflict do nothing returning 1";
