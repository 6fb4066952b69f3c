//! Sessions: one lease for all runs of an engine.
//!
//! Whoever makes a run the session's holds a key-share lock on its row until the commit. Renewing passes that
//! lock, ending the session does not: no run can come to a session that has just been found over.

use std::time::Duration;

use futures::try_join;
use sre_store::pg::PgClient;
use uuid::Uuid;

use super::Result;
use super::rows::{begin, commit, get, prepare, query, rows};
use crate::runtime_context::ids::SessionId;
use crate::runtime_context::model::Session;
use crate::runtime_context::settings::JournalSettings;
use crate::runtime_context::time::UnixMs;

/// Runs that one transaction releases: the rest follow in the next, so that others write in between.
pub(super) const RELEASE_BATCH: i64 = 1000;

pub(super) async fn open(client: &PgClient, time_to_live: Duration, host: &str) -> Result<Session> {
    let id = SessionId(sre_proto::ids::new_uuid());
    let text = "insert into session (id, host, ttl_ms, until_ms) \
                values ($1, $2, $3::int8, now_ms() + $3::int8) returning until_ms";
    let inserted = query(client, text, &[&id.0, &host, &millis(time_to_live)]).await?;
    let until = inserted.first().map(|row| get(row, 0)).transpose()?.unwrap_or_default();
    Ok(Session { id, time_to_live, until: UnixMs(until) })
}

pub(super) async fn renew(client: &PgClient, id: SessionId) -> Result<Option<Session>> {
    let text = "update session set until_ms = now_ms() + ttl_ms where id = $1 and not reaped \
                returning ttl_ms, until_ms";
    let renewed = query(client, text, &[&id.0]).await?;
    let Some(row) = renewed.first() else { return Ok(None) };
    let time_to_live = Duration::from_millis(u64::try_from(get::<i64>(row, 0)?).unwrap_or(0));
    Ok(Some(Session { id, time_to_live, until: UnixMs(get(row, 1)?) }))
}

/// Ends a session: how many runs it gave back, and whether there was one.
pub(super) async fn close(client: &PgClient, id: SessionId) -> Result<(u64, bool)> {
    let [lock, mark] = prepare(
        client,
        [
            "select 1 from session where id = $1 for update",
            "update session set reaped = true, until_ms = least(until_ms, now_ms()) where id = $1",
        ],
    )
    .await?;
    // Once it is marked, nobody can give it runs; what is released after that stays so.
    let params: [&(dyn sre_store::pg::tokio_postgres::types::ToSql + Sync); 1] = [&id.0];
    let (_, found, _, _) =
        try_join!(begin(client), rows(client, &lock, &params), rows(client, &mark, &params), commit(client))?;
    if found.is_empty() {
        return Ok((0, false));
    }
    let mut released = 0;
    loop {
        let batch = query(client, CLOSE_BATCH, &[&id.0, &RELEASE_BATCH]).await?;
        released += batch.len() as u64;
        if (batch.len() as i64) < RELEASE_BATCH {
            break;
        }
    }
    forget(client, id.0).await?;
    Ok((released, true))
}

/// An owner that leaves in order did not fail: its last claim does not count against the run.
const CLOSE_BATCH: &str = "
    with picked as materialized (
        select id, partition from live where session = $1 order by id, partition limit $2 for update skip locked)
    update live l set state = 2, session = null, due_ms = (select now_ms()), barren = greatest(l.barren - 1, 0)
    from picked p where l.id = p.id and l.partition = p.partition returning 1";

/// Gives back runs of a dead session. Those that made no progress wait longer each time. A run whose owner is
/// just writing is left for the next round.
pub(super) async fn release(
    client: &PgClient,
    settings: &JournalSettings,
    session: Uuid,
    limit: i64,
) -> Result<u64> {
    let text = "
        with picked as materialized (
            select id, partition from live where session = $1 order by id, partition limit $2
            for update skip locked)
        update live l set state = 2, session = null, due_ms = (select now_ms()) + case when l.barren > 0
            then least($4::int8, ($3::int8 * power(2, least(l.barren - 1, 20)))::int8) else 0 end
        from picked p where l.id = p.id and l.partition = p.partition returning 1";
    let (wait, most) = (millis(settings.barren_backoff), millis(settings.barren_backoff_max));
    let released = query(client, text, &[&session, &limit, &wait, &most]).await?;
    Ok(released.len() as u64)
}

/// Forgets a session that is over, once nothing names it.
pub(super) async fn forget(client: &PgClient, session: Uuid) -> Result<()> {
    let text =
        "delete from session where id = $1 and reaped and not exists (select 1 from live where session = $1)";
    query(client, text, &[&session]).await?;
    Ok(())
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
