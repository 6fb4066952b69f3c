//! The partitions of `record`: one for each week of run ids, made ahead and dropped once empty by whichever
//! process has the duty.

use std::time::Duration;

use sre_store::StoreError;
use sre_store::pg::PgClient;
use uuid::Uuid;

use super::Result;
use super::rows::{begin, commit, get, query};

const WEEK_MS: i64 = 7 * 24 * 3600 * 1000;
/// Weeks that are made ahead.
const AHEAD: i64 = 4;
/// The name of the duty.
const DUTY: &str = "partitions";
/// How long the duty is had before somebody else may take it.
const DUTY_TIME: Duration = Duration::from_secs(600);

/// Looks after the partitions if nobody else does.
pub(super) async fn look_after(client: &PgClient, process: Uuid) -> Result<()> {
    if !has_duty(client, process).await? {
        return Ok(());
    }
    make_ahead(client).await?;
    drop_empty(client).await
}

/// Takes the duty, or keeps it.
async fn has_duty(client: &PgClient, process: Uuid) -> Result<bool> {
    let text = "
        insert into duty (name, owner, epoch, until_ms) values ($1, $2, 1, now_ms() + $3::int8)
        on conflict (name) do update set owner = excluded.owner, until_ms = excluded.until_ms,
            epoch = duty.epoch + case when duty.owner = excluded.owner then 0 else 1 end
        where duty.owner = excluded.owner or duty.until_ms <= now_ms()
        returning 1";
    Ok(!query(client, text, &[&DUTY, &process, &super::sessions::millis(DUTY_TIME)]).await?.is_empty())
}

/// Makes this week's partition and those of the next weeks. Rows that came before their partition are in the
/// default one and stay there: their week is left as it is.
pub(super) async fn make_ahead(client: &PgClient) -> Result<()> {
    let now = query(client, "select now_ms()", &[]).await?;
    let this_week = now.first().map(|row| get::<i64>(row, 0)).transpose()?.unwrap_or(0) / WEEK_MS;
    for week in this_week..=this_week + AHEAD {
        let name = format!("record_w{week}");
        let there = query(client, "select to_regclass($1::text) is not null", &[&name]).await?;
        if there.first().map(|row| get::<bool>(row, 0)).transpose()?.unwrap_or(true) {
            continue;
        }
        let (from, to) = (first_id(week), first_id(week + 1));
        let outside =
            query(client, "select 1 from record_default where id >= $1 and id < $2 limit 1", &[&from, &to])
                .await?;
        if !outside.is_empty() {
            continue;
        }
        // Made apart and then attached, which locks out no writer for longer than the look into the default
        // partition, and gives up rather than making them queue.
        let made = format!(
            "begin; set local lock_timeout = '2s';
             create table if not exists {name} (like record including all);
             alter table record attach partition {name} for values from ('{from}') to ('{to}');
             commit"
        );
        gently(client, &made).await?;
    }
    Ok(())
}

/// Drops partitions of weeks gone by that hold nothing any more. A run that goes on keeps its week: it has a
/// first record.
async fn drop_empty(client: &PgClient) -> Result<()> {
    let text = "select c.relname::text, now_ms() from pg_inherits i join pg_class c on c.oid = i.inhrelid \
                where i.inhparent = 'record'::regclass and c.relname like 'record\\_w%'";
    for row in &query(client, text, &[]).await? {
        let (name, now): (String, i64) = (get(row, 0)?, get(row, 1)?);
        let week = name.strip_prefix("record_w").and_then(|week| week.parse::<i64>().ok());
        // Ids come from the clocks of engines: the last weeks are left alone.
        if week.is_none_or(|week| week + 2 > now / WEEK_MS) || !is_empty(client, &name).await? {
            continue;
        }
        begin(client).await?;
        let locked = client
            .batch_execute(&format!(
                "set local lock_timeout = '1s'; lock table record, {name} in access exclusive mode"
            ))
            .await;
        if locked.is_err() {
            client.batch_execute("rollback").await.map_err(StoreError::from)?;
            continue;
        }
        if is_empty(client, &name).await? {
            client.batch_execute(&format!("drop table {name}")).await.map_err(StoreError::from)?;
            tracing::info!(partition = name, "dropped a week of the journal that held nothing any more");
        }
        commit(client).await?;
    }
    Ok(())
}

async fn is_empty(client: &PgClient, name: &str) -> Result<bool> {
    // Made from a number, so it needs no quoting.
    let found =
        client.query(&format!("select 1 from {name} limit 1"), &[]).await.map_err(StoreError::from)?;
    Ok(found.is_empty())
}

/// Runs a change of the schema that may find somebody in its way: the next round tries again.
async fn gently(client: &PgClient, text: &str) -> Result<()> {
    if let Err(error) = client.batch_execute(text).await.map_err(StoreError::from) {
        client.batch_execute("rollback").await.map_err(StoreError::from)?;
        if !error.is_retryable() {
            return Err(error.into());
        }
        tracing::info!(%error, "a partition of the journal waits for its turn");
    }
    Ok(())
}

/// The smallest UUIDv7 of a week since 1970.
fn first_id(week: i64) -> Uuid {
    let ms = u128::try_from(week.saturating_mul(WEEK_MS)).unwrap_or(0);
    Uuid::from_u128(ms << 80)
}
