//! Taking runs from engines that died, and when to look next.

use std::time::Duration;

use futures::try_join;
use sre_store::pg::PgClient;
use uuid::Uuid;

use super::claim::QUEUES;
use super::rows::{self, Param, begin, commit, get, prepare, query};
use super::{Core, Result, sessions, transact};
use crate::runtime_context::changes::Change;
use crate::runtime_context::ids::SessionId;
use crate::runtime_context::model::Reaped;

/// Sessions that one reaping ends.
const SESSIONS: i64 = 16;

pub(super) async fn reap(core: &Core) -> Result<Reaped> {
    let expired = "select 1 from session where until_ms <= (select now_ms()) limit 1";
    // Without a transaction where there is nothing to do, which is nearly always.
    if transact!(core, client => query(client, expired, &[]).await)?.is_empty() {
        return Ok(Reaped::default());
    }
    let reaped = transact!(core, client => end_expired(core, client).await)?;
    let mut changes: Vec<Change> = reaped.sessions.iter().map(|id| Change::SessionOver(*id)).collect();
    if reaped.released > 0 {
        changes.extend([Change::Claimable, Change::Rescheduled]);
    }
    core.tell(changes);
    Ok(reaped)
}

/// A session to which somebody is just giving a run is left for the next round: its row is locked.
async fn end_expired(core: &Core, client: &PgClient) -> Result<Reaped> {
    let text = "select id, reaped from session where until_ms <= (select now_ms()) order by until_ms limit $1 \
                for update skip locked";
    let [expired, mark] = prepare(client, [text, "update session set reaped = true where id = $1"]).await?;
    let params: [Param<'_>; 1] = [&SESSIONS];
    let found = try_join!(begin(client), rows::rows(client, &expired, &params))?.1;
    let mut reaped = Reaped::default();
    for row in &found {
        let session: Uuid = get(row, 0)?;
        let room = sessions::RELEASE_BATCH - i64::try_from(reaped.released).unwrap_or(i64::MAX);
        if room <= 0 {
            break;
        }
        if !get::<bool>(row, 1)? {
            reaped.sessions.push(SessionId(session));
            rows::rows(client, &mark, &[&session]).await?;
        }
        reaped.released += sessions::release(client, &core.settings, session, room).await?;
        sessions::forget(client, session).await?;
    }
    commit(client).await?;
    Ok(reaped)
}

/// How long until a session expires, or a run comes due that has a slot.
pub(super) async fn next_wake(core: &Core, client: &PgClient) -> Result<Option<Duration>> {
    let text = "select min(until_ms), (select now_ms()) from session";
    let expiry = query(client, text, &[]).await?;
    let Some(row) = expiry.first() else { return Ok(None) };
    let now: i64 = get(row, 1)?;
    let mut next: Option<i64> = get(row, 0)?;
    let limit = i64::from(core.settings.team_running);
    for row in &query(client, QUEUES, &[&i64::MAX]).await? {
        let due: i64 = get(row, 3)?;
        if next.is_some_and(|next| next <= due) {
            continue;
        }
        if due <= now && is_full(client, get(row, 0)?, get(row, 1)?, limit).await? {
            continue;
        }
        next = Some(due);
    }
    Ok(next.map(|at| Duration::from_millis(u64::try_from(at.saturating_sub(now)).unwrap_or(0))))
}

async fn is_full(client: &PgClient, team: &str, kind: i16, limit: i64) -> Result<bool> {
    let text = "select count(*) >= $3::int8 from (select 1 from live where team = $1 and kind = $2 and state = 3 \
                limit $3::int8) as counted";
    let found = query(client, text, &[&team, &kind, &limit]).await?;
    Ok(found.first().map(|row| get(row, 0)).transpose()?.unwrap_or(false))
}
