//! Signals: kept until consumed, and remembered after, so that a repeat is one.

use futures::try_join;
use sre_proto::memory::v1::RunState;
use sre_store::pg::PgClient;
use sre_store::pg::tokio_postgres::Row;
use uuid::Uuid;

use super::open::id_of;
use super::rows::{self, Param, Place, begin, commit, get, number, partition, prepare, query, state};
use super::{Core, Result, transact};
use crate::runtime_context::changes::Change;
use crate::runtime_context::error::JournalError;
use crate::runtime_context::ids::{RunId, SessionId};
use crate::runtime_context::model::{Hold, Signal, Signalled, is_ended};

/// Locks a run that goes on: `run, state, session, partition, id, team, kind`. Whoever parks or ends it comes
/// before or after.
pub(super) const LOCK: &str = "
    select run, state, session, partition, id, team, kind from live where id = $1 and partition = $2 for update";

/// A run that a signal is for, locked.
pub(super) struct Target {
    place: Place,
    state: RunState,
    owner: Option<SessionId>,
}

/// A target from a row of [`LOCK`].
pub(super) fn target(place: Place, row: &Row) -> Result<Target> {
    Ok(Target { place, state: state(get(row, 1)?), owner: get::<Option<Uuid>>(row, 2)?.map(SessionId) })
}

pub(super) async fn signal(core: &Core, run: RunId, signal: &Signal) -> Result<Signalled> {
    let (signalled, changes) = transact!(core, client => {
        let [lock] = prepare(client, [LOCK]).await?;
        let key: [Param<'_>; 2] = [&run.uuid, &partition(run)];
        let found = try_join!(begin(client), rows::rows(client, &lock, &key))?.1;
        let Some(row) = found.first() else {
            let ended = super::open::find(client, run).await?;
            commit(client).await?;
            let (_, run) = ended.ok_or(JournalError::RunNotFound)?;
            if !is_ended(run.state) {
                // It was opened after the look for its row.
                return Err(JournalError::Store(sre_store::StoreError::Busy {
                    message: "the run was just opened".to_owned(),
                }));
            }
            return Ok((Signalled::Ended(run.state), Vec::new()));
        };
        let target = target(Place { run: get(row, 0)?, id: run }, row)?;
        put(core, client, &target, signal, i64::from(core.settings.inbox_signals)).await
    })?;
    core.tell(changes);
    Ok(signalled)
}

/// Puts a signal into the inbox of a locked run, wakes who waits for it, and commits.
pub(super) async fn put(
    core: &Core,
    client: &PgClient,
    target: &Target,
    signal: &Signal,
    limit: i64,
) -> Result<(Signalled, Vec<Change>)> {
    let Target { place, state, owner } = target;
    let [insert, wake] = prepare(client, [INSERT, WAKE]).await?;
    let body: &[u8] = &signal.body;
    let (uuid, part) = (place.id.uuid, partition(place.id));
    let params: [Param<'_>; 7] = [&place.run, &uuid, &part, &signal.id, &signal.kind, &body, &limit];
    let wakes = match state {
        RunState::Waiting => Hold::Waiting.wakes(&signal.kind),
        RunState::Paused => Hold::Paused.wakes(&signal.kind),
        _ => false,
    };
    let inserted = rows::rows(client, &insert, &params).await?;
    let Some(outcome) = inserted.first() else { return Err(JournalError::RunNotFound) };
    let (fits, known): (bool, bool) = (get(outcome, 0)?, get(outcome, 1)?);
    if known || !fits {
        commit(client).await?;
        if !known {
            return Err(JournalError::InboxFull { limit: core.settings.inbox_signals });
        }
        return Ok((Signalled::Kept { state: *state, owner: None, woken: false }, Vec::new()));
    }
    let mut changes = Vec::new();
    if let Some(session) = owner {
        changes.push(Change::Signal { session: *session, run: place.id, signal: signal.clone() });
    }
    if wakes {
        let slots = i64::from(core.settings.team_running);
        let params: [Param<'_>; 4] = [&place.run, &uuid, &part, &slots];
        let woken = try_join!(rows::rows(client, &wake, &params), commit(client))?.0;
        if woken.first().map(|row| get::<i16>(row, 0)).transpose()? == Some(number(RunState::Ready)) {
            changes.push(Change::Claimable);
        }
    } else {
        commit(client).await?;
    }
    Ok((Signalled::Kept { state: *state, owner: *owner, woken: wakes }, changes))
}

/// Gives whether there is room, and whether the signal was known.
const INSERT: &str = "
with seen as materialized (
    select coalesce(bool_or(id = $4), false) as known,
        count(*) filter (where not consumed) < $7::int8 as fits from signal where run = $1
), added as (
    insert into signal (run, run_id, partition, id, kind, body)
    select $1, $2, $3, $4, $5, $6 from seen where fits and not known
)
select fits, known from seen";

/// Wakes a run: READY, or QUEUED where its team has no slot. What it waited for is forgotten.
const WAKE: &str = "
with forgotten as (
    delete from waiter where waiter = $1
)
update live l set due_ms = (select now_ms()),
    state = case when (select count(*) from (select 1 from live o where o.team = l.team and o.kind = l.kind
        and o.state = 3 limit $4::int8) as counted) >= $4::int8 then 1 else 2 end
where l.id = $2 and l.partition = $3 returning l.state";

/// Columns of signals that were consumed.
#[derive(Debug, Default)]
pub(super) struct Consumed<'a> {
    runs: Vec<i64>,
    ids: Vec<&'a str>,
}

impl<'a> Consumed<'a> {
    pub(super) fn add(&mut self, place: Place, ids: &'a [String]) {
        for id in ids {
            self.runs.push(place.run);
            self.ids.push(id);
        }
    }

    /// Takes them out of their inboxes; their ids stay, without content, as long as the run goes on.
    pub(super) async fn write(&self, client: &PgClient) -> Result<()> {
        if self.runs.is_empty() {
            return Ok(());
        }
        let text = "
            update signal s set consumed = true, body = '' from unnest($1::int8[], $2::text[]) as c(run, id)
            where s.run = c.run and s.id = c.id and not s.consumed";
        query(client, text, &[&self.runs, &self.ids]).await?;
        Ok(())
    }
}

/// What waits in runs' inboxes, in order of arrival: `run, id, kind, body`.
pub(super) const PENDING: &str = "
    select run, id, kind, body from signal where run = any($1::int8[]) and not consumed order by run, arrival";

/// Signals that wait for runs of a session. From the signals on, for few wait and a session owns many runs.
pub(super) async fn pending_of_session(
    client: &PgClient,
    session: SessionId,
) -> Result<Option<Vec<(RunId, Signal)>>> {
    let text = "
        select l.partition, l.id, s.id, s.kind, s.body from session o
        left join (signal s join live l on l.id = s.run_id and l.partition = s.partition and l.run = s.run)
            on l.session = o.id and not s.consumed
        where o.id = $1 and not o.reaped order by s.run, s.arrival";
    let found = query(client, text, &[&session.0]).await?;
    if found.is_empty() {
        return Ok(None);
    }
    let mut signals = Vec::with_capacity(found.len());
    for row in &found {
        // A session without signals has one row without them.
        if get::<Option<Uuid>>(row, 1)?.is_some() {
            signals.push((id_of(row, 0)?, rows::signal(row, 2)?));
        }
    }
    Ok(Some(signals))
}
