//! Handing runs to engines, fairly, one team after the other.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use futures::try_join;
use sre_proto::memory::v1::RunState;
use sre_store::pg::PgClient;
use uuid::Uuid;

use super::admission::{self, Slots};
use super::inbox::{LOCK, PENDING};
use super::rows::{
    self, CONTENT_COLUMNS, Ids, Param, Place, RUN_COLUMNS, RUN_TABLES, begin, commit, get, partition,
    prepare, query, state,
};
use super::{Core, Result, open, poison, reap, transact};
use crate::runtime_context::changes::Change;
use crate::runtime_context::error::JournalError;
use crate::runtime_context::ids::SessionId;
use crate::runtime_context::model::{Claim, Claimed, Run, Signal, Take};

/// A claim stops growing here, so that its answer fits into a message.
const CLAIM_BYTES: i64 = 2 * 1024 * 1024;
/// Teams and kinds that one claim looks at.
const LOOKED_AT: i64 = 4096;

/// What may be claimed of a team, a kind and a priority.
#[derive(Debug, Clone)]
struct Queue {
    slots: Slots,
    priority: i16,
    /// The first of them is due then.
    due: i64,
}

/// A run that may be claimed, locked.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) place: Place,
    pub(super) slots: Slots,
    pub(super) barren: i32,
    priority: i16,
    due: i64,
    bytes: i64,
}

pub(super) async fn claim(core: &Core, claim: Claim) -> Result<Claimed> {
    let reaped = reap::reap(core).await?;
    let (mut claimed, changes) = transact!(core, client => take_due(core, client, claim).await)?;
    core.tell(changes);
    claimed.reaped.sessions.extend(reaped.sessions);
    claimed.reaped.released += reaped.released;
    Ok(claimed)
}

async fn take_due(core: &Core, client: &PgClient, claim: Claim) -> Result<(Claimed, Vec<Change>)> {
    let [session, queues] = prepare(client, [SESSION, QUEUES]).await?;
    let session_params: [Param<'_>; 1] = [&claim.session.0];
    let queue_params: [Param<'_>; 1] = [&LOOKED_AT];
    let (_, live, queues) = try_join!(
        begin(client),
        rows::rows(client, &session, &session_params),
        rows::rows(client, &queues, &queue_params)
    )?;
    if live.is_empty() {
        return Err(JournalError::SessionOver);
    }
    let mut due = Vec::new();
    for row in &queues {
        let queue = Queue { slots: (get(row, 0)?, get(row, 1)?), priority: get(row, 2)?, due: get(row, 3)? };
        if queue.due <= get(row, 4)? {
            due.push(queue);
        }
    }
    if due.is_empty() {
        commit(client).await?;
        return Ok(Default::default());
    }
    let limit = core.settings.team_running;
    let mut leased = count(client, &due).await?;
    let near: BTreeSet<Slots> = due
        .iter()
        .filter(|queue| admission::is_near(leased.get(&queue.slots).copied().unwrap_or(0), limit))
        .map(|queue| queue.slots.clone())
        .collect();
    if !near.is_empty() {
        admission::lock(client, &near).await?;
        leased = count(client, &due).await?;
    }
    let candidates = candidates(client, &due, &leased, claim, limit).await?;
    let most = core.settings.barren_claims;
    let (poisoned, candidates): (Vec<_>, Vec<_>) =
        candidates.into_iter().partition(|candidate| candidate.barren >= most);
    let mut changes = poison::fail(core, client, &poisoned).await?;
    let chosen = choose(candidates, leased, claim.limit as usize, i64::from(limit));
    let mut claimed = Claimed::default();
    claimed.reaped.poisoned = poisoned.iter().map(|candidate| candidate.place.id).collect();
    for run in &claimed.reaped.poisoned {
        changes.push(Change::Run(*run));
    }
    let places: Vec<Place> = chosen.iter().map(|candidate| candidate.place).collect();
    claimed.runs = lease(client, &places, claim.session, 1).await?;
    Ok((claimed, changes))
}

/// LEASED runs of the teams that have something due, by team and kind.
async fn count(client: &PgClient, due: &[Queue]) -> Result<HashMap<Slots, i64>> {
    let teams: BTreeSet<&str> = due.iter().map(|queue| queue.slots.0.as_str()).collect();
    let teams: Vec<&str> = teams.into_iter().collect();
    let text = "select l.team, l.kind, count(*) from unnest($1::text[]) as t(team) \
                join live l on l.team = t.team and l.state = 3 group by l.team, l.kind";
    let mut leased = HashMap::new();
    for row in &query(client, text, &[&teams]).await? {
        leased.insert((get(row, 0)?, get(row, 1)?), get(row, 2)?);
    }
    Ok(leased)
}

/// Locks the first runs of the queues that can get a slot, as many of each as could be served.
async fn candidates(
    client: &PgClient,
    due: &[Queue],
    leased: &HashMap<Slots, i64>,
    claim: Claim,
    limit: u32,
) -> Result<Vec<Candidate>> {
    let of_team = running(leased);
    let mut open: Vec<(&Queue, i64)> = due
        .iter()
        .map(|queue| (queue, i64::from(limit) - leased.get(&queue.slots).copied().unwrap_or(0)))
        .filter(|(_, free)| *free > 0)
        .collect();
    open.sort_by_key(|(queue, _)| (of_team.get(queue.slots.0.as_str()).copied().unwrap_or(0), queue.due));
    // No more teams than runs are served. Those that run fewest come first.
    let mut served: Vec<&str> = Vec::new();
    for (queue, _) in &open {
        if served.len() < claim.limit as usize && !served.contains(&queue.slots.0.as_str()) {
            served.push(&queue.slots.0);
        }
    }
    open.retain(|(queue, _)| served.contains(&queue.slots.0.as_str()));
    let teams: Vec<&str> = open.iter().map(|(queue, _)| queue.slots.0.as_str()).collect();
    let kinds: Vec<i16> = open.iter().map(|(queue, _)| queue.slots.1).collect();
    let priorities: Vec<i16> = open.iter().map(|(queue, _)| queue.priority).collect();
    let counts: Vec<i64> = open.iter().map(|(_, free)| (*free).min(i64::from(claim.limit))).collect();
    let params: [Param<'_>; 5] = [&teams, &kinds, &priorities, &counts, &claim.max_record_format];
    let mut found = Vec::new();
    for row in &query(client, CANDIDATES, &params).await? {
        found.push(Candidate {
            place: Place { run: get(row, 0)?, id: open::id_of(row, 1)? },
            slots: (get(row, 3)?, get(row, 4)?),
            priority: get(row, 5)?,
            due: get(row, 6)?,
            barren: get(row, 7)?,
            bytes: get(row, 8)?,
        });
    }
    Ok(found)
}

fn running(leased: &HashMap<Slots, i64>) -> HashMap<&str, i64> {
    let mut of_team: HashMap<&str, i64> = HashMap::new();
    for ((team, _), count) in leased {
        *of_team.entry(team).or_default() += count;
    }
    of_team
}

/// One run at a time goes to the team with the fewest running that has one and a slot for it; in a team
/// children first, then by due time.
fn choose(
    candidates: Vec<Candidate>,
    mut leased: HashMap<Slots, i64>,
    count: usize,
    limit: i64,
) -> Vec<Candidate> {
    let mut teams: BTreeMap<String, VecDeque<Candidate>> = BTreeMap::new();
    for candidate in candidates {
        teams.entry(candidate.slots.0.clone()).or_default().push_back(candidate);
    }
    for queue in teams.values_mut() {
        queue
            .make_contiguous()
            .sort_by_key(|candidate| (-candidate.priority, candidate.due, candidate.place.run));
    }
    let mut of_team: BTreeMap<String, i64> = BTreeMap::new();
    for ((team, _), running) in &leased {
        *of_team.entry(team.clone()).or_default() += running;
    }
    let mut chosen: Vec<Candidate> = Vec::new();
    let mut bytes = 0;
    while chosen.len() < count && bytes <= CLAIM_BYTES {
        // What has no slot waits, and lets the next of its team go by.
        for queue in teams.values_mut() {
            while queue.front().is_some_and(|first| leased.get(&first.slots).copied().unwrap_or(0) >= limit) {
                queue.pop_front();
            }
        }
        teams.retain(|_, queue| !queue.is_empty());
        let fewest = teams.iter().min_by_key(|(team, queue)| {
            (of_team.get(*team).copied().unwrap_or(0), queue.front().map(|first| first.due))
        });
        let Some(team) = fewest.map(|(team, _)| team.clone()) else { break };
        let Some(next) = teams.get_mut(&team).and_then(VecDeque::pop_front) else { break };
        *of_team.entry(team).or_default() += 1;
        *leased.entry(next.slots.clone()).or_default() += 1;
        bytes += next.bytes;
        chosen.push(next);
    }
    chosen
}

/// Makes locked runs the session's, in order, and commits.
async fn lease(
    client: &PgClient,
    places: &[Place],
    session: SessionId,
    barren: i32,
) -> Result<Vec<(Run, Vec<Signal>)>> {
    if places.is_empty() {
        commit(client).await?;
        return Ok(Vec::new());
    }
    let heads = format!(
        "select {RUN_COLUMNS}, {CONTENT_COLUMNS} from {RUN_TABLES} \
         join unnest($1::int2[], $2::uuid[]) with ordinality as i(partition, id, ord) \
         on r.id = i.id and r.partition = i.partition order by i.ord"
    );
    let [lease, forget, heads, pending] = prepare(client, [LEASE, FORGET, &heads, PENDING]).await?;
    let ids: Ids = places.iter().map(|place| place.id).collect();
    let runs: Vec<i64> = places.iter().map(|place| place.run).collect();
    let lease_params: [Param<'_>; 4] = [&ids.partitions, &ids.uuids, &session.0, &barren];
    let runs_params: [Param<'_>; 1] = [&runs];
    let heads_params: [Param<'_>; 2] = [&ids.partitions, &ids.uuids];
    let (_, _, heads, waiting, ()) = try_join!(
        rows::rows(client, &lease, &lease_params),
        rows::rows(client, &forget, &runs_params),
        rows::rows(client, &heads, &heads_params),
        rows::rows(client, &pending, &runs_params),
        commit(client)
    )?;
    let mut inboxes: HashMap<i64, Vec<Signal>> = HashMap::new();
    for row in &waiting {
        inboxes.entry(get(row, 0)?).or_default().push(rows::signal(row, 1)?);
    }
    let mut leased = Vec::with_capacity(heads.len());
    for row in &heads {
        let (run, head) = rows::run(row)?;
        leased.push((head, inboxes.remove(&run).unwrap_or_default()));
    }
    Ok(leased)
}

/// One run, whatever it waits for.
pub(super) async fn take(core: &Core, take: Take) -> Result<(Run, Vec<Signal>)> {
    let taken = transact!(core, client => {
        let [session, lock] = prepare(client, [SESSION, LOCK]).await?;
        let session_params: [Param<'_>; 1] = [&take.session.0];
        let (uuid, part) = (take.run.uuid, partition(take.run));
        let key: [Param<'_>; 2] = [&uuid, &part];
        let (_, live, found) = try_join!(
            begin(client),
            rows::rows(client, &session, &session_params),
            rows::rows(client, &lock, &key)
        )?;
        if live.is_empty() {
            return Err(JournalError::SessionOver);
        }
        let Some(row) = found.first() else {
            let there = open::exists(client, take.run).await?;
            return Err(if there { JournalError::RunEnded } else { JournalError::RunNotFound });
        };
        let place = Place { run: get(row, 0)?, id: take.run };
        let text = "select record_format from run where id = $1 and partition = $2";
        let head = query(client, text, &key).await?;
        let format: i32 = head.first().map(|row| get(row, 0)).transpose()?.unwrap_or(0);
        if format > take.max_record_format {
            return Err(JournalError::NewerFormat { format });
        }
        if state(get(row, 1)?) == RunState::Leased && owner_lives(client, get(row, 2)?).await? {
            return Err(JournalError::RunBusy);
        }
        lease(client, &[place], take.session, 0).await
    })?;
    taken.into_iter().next().ok_or(JournalError::RunNotFound)
}

/// Whether a session's time is not over.
async fn owner_lives(client: &PgClient, session: Option<Uuid>) -> Result<bool> {
    let text = "select 1 from session where id = $1 and not reaped and until_ms > (select now_ms())";
    Ok(!query(client, text, &[&session]).await?.is_empty())
}

/// Keeps the session from being found over before the commit.
const SESSION: &str = "select 1 from session where id = $1 and not reaped for key share";

/// The first run to be claimed of each team, kind and priority, jumping from one to the next in the index.
pub(super) const QUEUES: &str = "
with recursive queue as (
    (select team, kind, priority, due_ms from live where state in (1, 2, 4, 5) and due_ms is not null
     order by team, kind, priority, due_ms limit 1)
    union all
    select n.team, n.kind, n.priority, n.due_ms from queue q cross join lateral (
        select l.team, l.kind, l.priority, l.due_ms from live l
        where l.state in (1, 2, 4, 5) and l.due_ms is not null
            and (l.team, l.kind, l.priority) > (q.team, q.kind, q.priority)
        order by l.team, l.kind, l.priority, l.due_ms limit 1) as n
)
select team, kind, priority, due_ms, (select now_ms()) from queue limit $1::int8";

const CANDIDATES: &str = "
select c.* from unnest($1::text[], $2::int2[], $3::int2[], $4::int8[]) as q(team, kind, priority, most)
cross join lateral (
    select l.run, l.partition, l.id, l.team, l.kind, l.priority, l.due_ms, l.barren,
        (select octet_length(r.spec)::int8 from run r where r.id = l.id and r.partition = l.partition)
    from live l
    where l.team = q.team and l.kind = q.kind and l.priority = q.priority and l.state in (1, 2, 4, 5)
        and l.due_ms is not null and l.due_ms <= (select now_ms()) and l.record_format <= $5
    order by l.due_ms limit q.most for update of l skip locked) as c";

const LEASE: &str = "
update live l set state = 3, epoch = l.epoch + 1, session = $3, barren = l.barren + $4
from unnest($1::int2[], $2::uuid[]) as i(partition, id) where l.id = i.id and l.partition = i.partition";

/// What the runs waited for.
const FORGET: &str = "delete from waiter where waiter = any($1::int8[])";
