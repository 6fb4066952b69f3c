//! The end of runs: inboxes go, questions expire, waiters are woken, slots come free.

use futures::try_join;
use sre_store::pg::PgClient;
use sre_store::pg::tokio_postgres::Statement;

use super::Result;
use super::rows::{self, Place, commit, get, prepare};

/// Columns of runs that ended in this transaction.
#[derive(Debug, Default)]
pub(super) struct Ended {
    runs: Vec<i64>,
    ids: Vec<String>,
    teams: Vec<String>,
    kinds: Vec<i16>,
}

impl Ended {
    pub(super) fn add(&mut self, place: Place, team: String, kind: i16) {
        self.runs.push(place.run);
        self.ids.push(place.id.to_string());
        self.teams.push(team);
        self.kinds.push(kind);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }
}

/// Writes the last records and does what an end brings with it, and commits where this is the last round.
/// True where a run can be claimed because of it: one that waited, or one of a team whose slots were taken.
///
/// The runs' rows are locked by now, so that whoever parks to wait for one of them has either been seen by the
/// statement here, which comes after the lock, or sees the end.
pub(super) async fn finish(
    client: &PgClient,
    insert: &Statement,
    records: &[rows::Param<'_>],
    ended: &Ended,
    limit: u32,
    last: bool,
) -> Result<bool> {
    let [inboxes, questions, wake, freed] = prepare(client, [INBOXES, QUESTIONS, WAKE, FREED]).await?;
    let runs: [rows::Param<'_>; 1] = [&ended.runs];
    let limit = i64::from(limit);
    let waiters: [rows::Param<'_>; 3] = [&ended.runs, &ended.ids, &limit];
    let slots: [rows::Param<'_>; 3] = [&ended.teams, &ended.kinds, &limit];
    let end = async { if last { commit(client).await } else { Ok(()) } };
    let (_, _, _, woken, freed, ()) = try_join!(
        rows::rows(client, insert, records),
        rows::rows(client, &inboxes, &runs),
        rows::rows(client, &questions, &runs),
        rows::rows(client, &wake, &waiters),
        rows::rows(client, &freed, &slots),
        end,
    )?;
    let woken: i64 = woken.first().map(|row| get(row, 0)).transpose()?.unwrap_or(0);
    let freed: bool = freed.first().map(|row| get(row, 0)).transpose()?.unwrap_or(false);
    Ok(woken > 0 || freed)
}

/// Nobody will read it.
const INBOXES: &str = "delete from signal where run = any($1::int8[])";

const QUESTIONS: &str = "update approval set state = 4 where run = any($1::int8[]) and state = 1";

/// Tells those who wait for these runs, and wakes them unless they are paused.
const WAKE: &str = "
with waiting as materialized (
    select w.waiter, l.id, l.partition, e.done from unnest($1::int8[], $2::text[]) as e(awaited, done)
    join waiter w on w.awaited = e.awaited
    join live l on l.id = w.id and l.partition = w.partition and l.run = w.waiter
    order by l.id, l.partition for update of l
), told as (
    insert into signal (run, run_id, partition, id, kind, body)
    select waiter, id, partition, 'job_done/' || done, 'job_done', convert_to(done, 'UTF8') from waiting
    on conflict do nothing
), met as (
    delete from waiter where awaited = any($1::int8[])
), woken as (
    update live l set due_ms = (select now_ms()),
        state = case when (select count(*) from (select 1 from live o where o.team = l.team and o.kind = l.kind
            and o.state = 3 limit $3::int8) as counted) >= $3::int8 then 1 else 2 end
    from (select distinct id, partition from waiting) as w
    where l.id = w.id and l.partition = w.partition and l.state = 4 returning l.run, l.state
), forgotten as (
    delete from waiter w using woken where w.waiter = woken.run and not w.awaited = any($1::int8[])
)
select count(*) from woken where state = 2";

/// Whether one of these teams and kinds, each named once for each slot that came free, had no other and has
/// a run that waits for it.
pub(super) const FREED: &str = "
select coalesce(bool_or(t.freed + (select count(*) from (select 1 from live l where l.team = t.team
        and l.kind = t.kind and l.state = 3 limit $3::int8) as counted) >= $3::int8
    and exists (select 1 from live l where l.team = t.team and l.kind = t.kind and l.priority = p.priority
        and l.state in (1, 2, 4, 5) and l.due_ms is not null and l.due_ms <= (select now_ms()))), false)
from (select team, kind, count(*) as freed from unnest($1::text[], $2::int2[]) as s(team, kind)
    group by team, kind) as t
cross join (values (0::int2), (1::int2)) as p(priority)";
