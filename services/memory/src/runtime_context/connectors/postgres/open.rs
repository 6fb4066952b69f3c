//! Opening runs, once, many at a time.

use std::collections::{BTreeSet, HashMap, HashSet};

use futures::{FutureExt as _, try_join};
use sre_proto::memory::v1::RunState;
use sre_store::pg::PgClient;
use sre_store::pg::tokio_postgres::Row;
use sre_store::{ConstraintKind, StoreError};
use uuid::Uuid;

use super::admission::{self, Slots};
use super::rows::{
    self, CONTENT_COLUMNS, Place, RUN_COLUMNS, RUN_TABLES, Records, begin, commit, get, number, partition,
    prepare, query, run_id,
};
use super::{Core, Result, transact};
use crate::runtime_context::changes::Change;
use crate::runtime_context::error::JournalError;
use crate::runtime_context::ids::{RunId, SessionId};
use crate::runtime_context::model::{Opened, Opening, Run, RunHead};
use crate::runtime_context::time::UnixMs;

/// Opens what is new, and finds the runs that the others name already. One outcome for each, in order.
pub(super) async fn open_each(core: &Core, openings: &[Opening]) -> Vec<Result<Opened>> {
    let mut outcomes: Vec<Option<Result<Opened>>> = openings.iter().map(|_| None).collect();
    let (first, later) = without_repeats(openings);
    match open_new(core, openings, &first).await {
        Ok(opened) => opened.into_iter().for_each(|(place, run)| {
            outcomes[place] = Some(Ok(Opened { run, attached: false }));
        }),
        // Somebody else took a name of one of these meanwhile: one by one it shows whose.
        Err(JournalError::Store(error)) if error.is_duplicate() => {
            for place in first.iter().copied() {
                outcomes[place] = Some(open_one(core, &openings[place]).boxed().await);
            }
        }
        Err(error) => first.iter().for_each(|place| outcomes[*place] = Some(Err(error.clone()))),
    }
    for place in first.into_iter().chain(later) {
        if outcomes[place].is_none() {
            outcomes[place] = Some(open_one(core, &openings[place]).boxed().await);
        }
    }
    outcomes.into_iter().map(|outcome| outcome.unwrap_or(Err(JournalError::SessionOver))).collect()
}

/// Opens one, or finds it. A run that is deleted between looking and opening makes it look again.
async fn open_one(core: &Core, opening: &Opening) -> Result<Opened> {
    for _ in 0..4 {
        if let Some(run) = transact!(core, client => existing(core, client, opening).await)? {
            return Ok(Opened { run, attached: true });
        }
        match open_new(core, std::slice::from_ref(opening), &[0]).await {
            Ok(mut opened) => match opened.pop() {
                Some((_, run)) => return Ok(Opened { run, attached: false }),
                None => continue,
            },
            Err(JournalError::Store(error)) if error.is_duplicate() => continue,
            Err(error) => return Err(error),
        }
    }
    // Neither there nor to be opened: what is missing is its session.
    Err(JournalError::SessionOver)
}

/// Those that share no name with an earlier one, and the rest.
fn without_repeats(openings: &[Opening]) -> (Vec<usize>, Vec<usize>) {
    let mut ids = HashSet::new();
    let mut requests = HashSet::new();
    let mut keys = HashSet::new();
    (0..openings.len()).partition(|place| {
        let Opening { head, request, .. } = &openings[*place];
        let new_request = request.as_ref().is_none_or(|request| requests.insert((&head.caller, &request.id)));
        let new_key = head.idempotency_key.is_empty() || keys.insert((head.parent, &head.idempotency_key));
        ids.insert(head.id) && new_request && new_key
    })
}

/// The run that this opening names already, by any of its three names.
async fn existing(core: &Core, client: &PgClient, opening: &Opening) -> Result<Option<Run>> {
    let head = &opening.head;
    if let Some(request) = &opening.request {
        let text = format!(
            "select {RUN_COLUMNS}, {CONTENT_COLUMNS}, q.input_digest from {RUN_TABLES} \
             join request q on q.run_id = r.id and q.partition = r.partition \
             where q.caller = $1 and q.id = $2 and q.at_ms > (select now_ms()) - $3"
        );
        let kept = super::sessions::millis(core.settings.request_ids);
        if let Some(row) = query(client, &text, &[&head.caller, &request.id, &kept]).await?.first() {
            if get::<String>(row, 25)? != request.input_digest {
                return Err(JournalError::AlreadyExists(
                    "the request id was used with another input within the last 24 hours: use a new one",
                ));
            }
            return Ok(Some(rows::run(row)?.1));
        }
    }
    if let Some(parent) = head.parent.filter(|_| !head.idempotency_key.is_empty()) {
        let text = format!(
            "select {RUN_COLUMNS}, {CONTENT_COLUMNS} from {RUN_TABLES} where r.parent = $1 \
             and r.parent_partition = $2 and r.idempotency_key = $3 and r.idempotency_key <> ''"
        );
        let params: [rows::Param<'_>; 3] = [&parent.uuid, &partition(parent), &head.idempotency_key];
        if let Some(row) = query(client, &text, &params).await?.first() {
            return Ok(Some(rows::run(row)?.1));
        }
    }
    let Some((_, run)) = find(client, head.id).await? else { return Ok(None) };
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

/// A run with everything.
pub(super) async fn find(client: &PgClient, id: RunId) -> Result<Option<(i64, Run)>> {
    let text = format!(
        "select {RUN_COLUMNS}, {CONTENT_COLUMNS} from {RUN_TABLES} where r.id = $1 and r.partition = $2"
    );
    let found = query(client, &text, &[&id.uuid, &partition(id)]).await?;
    found.first().map(rows::run).transpose()
}

/// Opens those of `places` whose names are free and whose sessions live; gives them.
async fn open_new(core: &Core, openings: &[Opening], places: &[usize]) -> Result<Vec<(usize, Run)>> {
    let slots: Vec<Slots> = places.iter().filter_map(|place| slots_of(&openings[*place])).collect();
    let limit = core.settings.team_running;
    let mut locked = core.admission.near(&slots, limit);
    loop {
        let attempt = transact!(core, client => insert(core, client, openings, places, &locked).await)?;
        match attempt {
            Attempt::Opened(opened) => {
                tell(core, &opened);
                return Ok(opened);
            }
            // Counting without turns was a mistake: nothing was written, once more with them.
            Attempt::Near(near) => locked.extend(near),
        }
    }
}

fn tell(core: &Core, opened: &[(usize, Run)]) {
    let mut changes = Vec::new();
    for (_, run) in opened {
        match run.state {
            RunState::Leased => {}
            RunState::Ready => changes.push(Change::Claimable),
            _ => changes.push(Change::Rescheduled),
        }
    }
    changes.dedup();
    core.tell(changes);
}

fn slots_of(opening: &Opening) -> Option<Slots> {
    opening.session.map(|_| (opening.head.team.clone(), number(opening.head.kind)))
}

enum Attempt {
    Opened(Vec<(usize, Run)>),
    Near(BTreeSet<Slots>),
}

async fn insert(
    core: &Core,
    client: &PgClient,
    openings: &[Opening],
    places: &[usize],
    locked: &BTreeSet<Slots>,
) -> Result<Attempt> {
    let [new, records] = prepare(client, [NEW, Records::INSERT]).await?;
    let columns = Columns::of(openings, places);
    let limit = i64::from(core.settings.team_running);
    let kept = super::sessions::millis(core.settings.request_ids);
    let mut params = columns.params();
    params.extend([&limit as rows::Param<'_>, &kept]);
    let inserted = if locked.is_empty() {
        try_join!(begin(client), rows::rows(client, &new, &params))?.1
    } else {
        begin(client).await?;
        admission::lock(client, locked).await?;
        rows::rows(client, &new, &params).await?
    };
    let mut opened = Vec::with_capacity(inserted.len());
    let mut writes = Records::default();
    let mut added: HashMap<Slots, i64> = HashMap::new();
    for row in &inserted {
        let place = places[usize::try_from(get::<i64>(row, 0)? - 1).unwrap_or(0)];
        let opening = &openings[place];
        let run = opened_run(row, opening)?;
        let at = Place { run: get(row, 1)?, id: run.head.id };
        writes.add(at, run.epoch, 1, &opening.records);
        if run.state == RunState::Leased
            && let Some(slots) = slots_of(opening)
        {
            *added.entry(slots).or_insert(get(row, 5)?) += 1;
        }
        opened.push((place, run));
    }
    if let Some(row) = inserted.first() {
        let asked = opened.iter().filter(|(place, _)| openings[*place].request.is_some()).count();
        if get::<i64>(row, 6)? != asked as i64 {
            // Somebody used the same request id at the same time.
            let (kind, name) = (ConstraintKind::Unique, "request".to_owned());
            return Err(StoreError::Constraint { kind, name }.into());
        }
    }
    let mut near = BTreeSet::new();
    for (slots, used) in added {
        core.admission.counted(&slots, used);
        if admission::is_near(used, core.settings.team_running) && !locked.contains(&slots) {
            near.insert(slots);
        }
    }
    if !near.is_empty() {
        client.batch_execute("rollback").await.map_err(StoreError::from)?;
        return Ok(Attempt::Near(near));
    }
    let params = writes.params();
    try_join!(rows::rows(client, &records, &params), commit(client))?;
    Ok(Attempt::Opened(opened))
}

fn opened_run(row: &Row, opening: &Opening) -> Result<Run> {
    let state = rows::state(get(row, 2)?);
    let leased = state == RunState::Leased;
    Ok(Run {
        head: opening.head.clone(),
        state,
        epoch: i64::from(leased),
        session: opening.session.filter(|_| leased),
        next_sequence: 1 + opening.records.len() as i64,
        created: UnixMs(get(row, 3)?),
        ended: None,
        due: rows::moment(row, 4)?,
        outcome: bytes::Bytes::new(),
        barren_claims: 0,
    })
}

/// Columns of openings.
#[derive(Default)]
struct Columns<'a> {
    partitions: Vec<i16>,
    ids: Vec<Uuid>,
    teams: Vec<&'a str>,
    agents: Vec<&'a str>,
    callers: Vec<&'a str>,
    kinds: Vec<i16>,
    parent_partitions: Vec<Option<i16>>,
    parents: Vec<Option<Uuid>>,
    keys: Vec<&'a str>,
    deadlines: Vec<Option<i64>>,
    formats: Vec<i32>,
    labels: Vec<&'a str>,
    versions: Vec<&'a str>,
    specs: Vec<&'a [u8]>,
    acls: Vec<&'a [u8]>,
    sessions: Vec<Option<Uuid>>,
    dues: Vec<Option<i64>>,
    counts: Vec<i64>,
    checkpoints: Vec<i64>,
    requests: Vec<Option<&'a str>>,
    digests: Vec<Option<&'a str>>,
}

impl<'a> Columns<'a> {
    fn of(openings: &'a [Opening], places: &[usize]) -> Self {
        let mut columns = Self::default();
        for opening in places.iter().map(|place| &openings[*place]) {
            let head = &opening.head;
            columns.partitions.push(partition(head.id));
            columns.ids.push(head.id.uuid);
            columns.teams.push(&head.team);
            columns.agents.push(&head.agent);
            columns.callers.push(&head.caller);
            columns.kinds.push(number(head.kind));
            columns.parent_partitions.push(head.parent.map(partition));
            columns.parents.push(head.parent.map(|parent| parent.uuid));
            columns.keys.push(&head.idempotency_key);
            columns.deadlines.push(head.deadline.map(|moment| moment.0));
            columns.formats.push(head.record_format);
            columns.labels.push(&head.label);
            columns.versions.push(&head.version);
            columns.specs.push(&head.spec);
            columns.acls.push(&head.acl);
            columns.sessions.push(opening.session.map(|SessionId(session)| session));
            columns.dues.push(opening.due.map(|moment| moment.0));
            columns.counts.push(opening.records.len() as i64);
            columns.checkpoints.push(rows::last_checkpoint(&opening.records).map_or(0, |place| place + 1));
            columns.requests.push(opening.request.as_ref().map(|request| request.id.as_str()));
            columns.digests.push(opening.request.as_ref().map(|request| request.input_digest.as_str()));
        }
        columns
    }

    fn params(&self) -> Vec<rows::Param<'_>> {
        vec![
            &self.partitions,
            &self.ids,
            &self.teams,
            &self.agents,
            &self.callers,
            &self.kinds,
            &self.parent_partitions,
            &self.parents,
            &self.keys,
            &self.deadlines,
            &self.formats,
            &self.labels,
            &self.versions,
            &self.specs,
            &self.acls,
            &self.sessions,
            &self.dues,
            &self.counts,
            &self.checkpoints,
            &self.requests,
            &self.digests,
        ]
    }
}

/// Inserts runs whose names are free and whose sessions live. What asks for an owner gets it where a slot of
/// its team and kind is free (children first; roots behind those that are queued already), or is queued; so is
/// what could be claimed at once if a slot were free.
/// A request whose run is gone names the new one; but only one that this statement's snapshot holds, for of a
/// request written meanwhile it sees no run either.
/// Gives `ord, run, state, created_ms, due_ms, used`.
const NEW: &str = "
with item as materialized (
    select i.*, (i.parent is not null)::int::int2 as priority, (select now_ms()) as now
    from unnest($1::int2[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::int2[], $7::int2[], $8::uuid[],
        $9::text[], $10::int8[], $11::int4[], $12::text[], $13::text[], $14::bytea[], $15::bytea[],
        $16::uuid[], $17::int8[], $18::int8[], $19::int8[], $20::text[], $21::text[])
    with ordinality as i(partition, id, team, agent, caller, kind, parent_partition, parent, key, deadline_ms,
        record_format, label, version, spec, acl, session, due_ms, records, checkpoint, request, digest, ord)
), alive as materialized (
    select id from session where id = any($16::uuid[]) and not reaped for key share
), fresh as materialized (
    select i.*, nextval('run_row') as run from item i
    where (i.session is null or exists (select 1 from alive a where a.id = i.session))
      and not exists (select 1 from run r where r.id = i.id and r.partition = i.partition)
      and (i.key = '' or i.parent is null or not exists (select 1 from run r where r.parent = i.parent
           and r.parent_partition = i.parent_partition and r.idempotency_key = i.key and r.idempotency_key <> ''))
      and (i.request is null or not exists (select 1 from request q
           join run r on r.id = q.run_id and r.partition = q.partition
           where q.caller = i.caller and q.id = i.request and q.at_ms > i.now - $23::int8))
), slots as materialized (
    select t.team, t.kind,
        (select count(*) from (select 1 from live l where l.team = t.team and l.kind = t.kind and l.state = 3
            limit $22::int8) as counted) as used,
        exists (select 1 from live l where l.team = t.team and l.kind = t.kind and l.state = 1) as queue
    from (select distinct team, kind from fresh where session is not null or due_ms is null or due_ms <= now) as t
), turn as materialized (
    select f.ord, s.used, s.used >= $22::int8 as taken, f.session is not null
        and s.used + row_number() over (partition by f.team, f.kind, f.session is null
            order by (s.queue and f.priority = 0), f.priority desc, f.ord) <= $22::int8
        and not (s.queue and f.priority = 0) as admitted
    from fresh f join slots s on s.team = f.team and s.kind = f.kind
), placed as materialized (
    select f.*, t.used,
        case when t.admitted then 3 when f.session is not null then 1
             when f.due_ms > f.now then 4 when t.taken then 1 else 2 end::int2 as state,
        coalesce(f.due_ms, f.now) as due
    from fresh f left join turn t on t.ord = f.ord
), runs as (
    insert into run (run, created_ms, deadline_ms, id, parent, record_format, partition, parent_partition, kind,
        team, agent, caller, idempotency_key, label, version, spec, acl)
    select run, now, deadline_ms, id, parent, record_format, partition, parent_partition, kind,
        team, agent, caller, key, label, version, spec, acl from placed
), lives as (
    insert into live (run, epoch, next_seq, checkpoint_seq, due_ms, deadline_ms, id, session, record_format,
        barren, partition, kind, state, priority, team)
    select run, (state = 3)::int, records + 1, checkpoint, due, deadline_ms, id,
        case when state = 3 then session end, record_format, 0, partition, kind, state, priority, team
    from placed
), requests as (
    insert into request (at_ms, run_id, partition, caller, id, input_digest)
    select now, id, partition, caller, request, digest from placed where request is not null
    on conflict (caller, id) do update set at_ms = excluded.at_ms, run_id = excluded.run_id,
        partition = excluded.partition, input_digest = excluded.input_digest
        where request.at_ms <= excluded.at_ms - $23::int8 or (exists (
            select 1 from request q where q.caller = request.caller and q.id = request.id
            and q.run_id = request.run_id and q.partition = request.partition) and not exists (
            select 1 from run r where r.id = request.run_id and r.partition = request.partition))
    returning 1
)
select ord, run, state, now, due, coalesce(used, 0), (select count(*) from requests) from placed";

/// Whether a run of this id was found.
pub(super) async fn exists(client: &PgClient, id: RunId) -> Result<bool> {
    let found =
        query(client, "select 1 from run where id = $1 and partition = $2", &[&id.uuid, &partition(id)])
            .await?;
    Ok(!found.is_empty())
}

/// A run's id from its columns, `partition` first.
pub(super) fn id_of(row: &Row, first: usize) -> Result<RunId> {
    Ok(run_id(get(row, first)?, get(row, first + 1)?))
}
