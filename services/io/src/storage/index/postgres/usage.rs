//! What the files of teams and agents amount to.

use sre_store::StoreError;
use sre_store::pg::{GenericClient, PgClient};

use crate::usage::{self, Change, Kind, Outcome, Quota};

/// Books a change, unless it grows beyond the quota: the transaction is then given up. Shrinking always works.
pub async fn book(
    client: &PgClient,
    holder: &str,
    kind: Kind,
    change: Change,
    quota: Quota,
) -> Result<Outcome, StoreError> {
    let sql = "insert into team_usage (team, kind, items, bytes) values ($1, $2, $3, $4)
               on conflict (team, kind)
               do update set items = team_usage.items + $3, bytes = team_usage.bytes + $4
               returning items, bytes";
    let statement = client.prepare_cached(sql).await?;
    let row = client.query_one(&statement, &[&holder, &kind.name(), &change.items, &change.bytes]).await?;
    let (items, bytes): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    let over = (change.items > 0 && items > quota.items) || (change.bytes > 0 && bytes > quota.bytes);
    Ok(if over { Outcome::OverQuota } else { Outcome::Made })
}

/// What somebody holds: files and bytes.
pub async fn of(client: &PgClient, holder: &str, kind: Kind) -> Result<(i64, i64), StoreError> {
    let sql = "select items, bytes from team_usage where team = $1 and kind = $2";
    let row = client.query_opt(&client.prepare_cached(sql).await?, &[&holder, &kind.name()]).await?;
    match row {
        Some(row) => Ok((row.try_get(0)?, row.try_get(1)?)),
        None => Ok((0, 0)),
    }
}

/// Bytes of what teams hold, after this team and kind in order.
pub async fn held(
    client: &PgClient,
    after: &(String, String),
    limit: u32,
) -> Result<Vec<(String, String, i64)>, StoreError> {
    let sql = "select team, kind, bytes from team_usage where (team, kind) > ($1, $2) and kind <> $3
               order by team, kind limit $4";
    let statement = client.prepare_cached(sql).await?;
    let kind = Kind::AgentFiles.name();
    let rows = client.query(&statement, &[&after.0, &after.1, &kind, &i64::from(limit)]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))).collect()
}

/// Agents of a team with files, and what they hold: files and bytes. Those that hold most come first.
pub async fn of_agents(
    client: &PgClient,
    team: &str,
    limit: u32,
) -> Result<Vec<(String, i64, i64)>, StoreError> {
    let prefix = usage::agent(team, "");
    let sql = "select substr(team, length($1) + 1), items, bytes from team_usage
               where starts_with(team, $1) and kind = $2 and items > 0 order by bytes desc, team limit $3";
    let statement = client.prepare_cached(sql).await?;
    let rows = client.query(&statement, &[&prefix, &Kind::AgentFiles.name(), &i64::from(limit)]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))).collect()
}
