//! The rows of lines. Every statement about these tables is here.

use std::collections::BTreeMap;

use sre_store::StoreError;
use sre_store::sql::{Connection, OptionalExtension, Row, named_params, params};

use super::{Found, Selection};
use crate::clock::Millis;

/// A line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The team.
    pub team: String,
    /// The agent's id.
    pub agent: String,
    /// The run's id.
    pub run: String,
    /// The component's id; empty for the run itself.
    pub component: String,
    /// `sre.observability.v1.LogLevel`.
    pub level: i32,
    /// The text.
    pub message: String,
    /// When, as the writer says.
    pub time: (i64, i32),
}

const COLUMNS: &str = "team, agent, run, component, level, message, time_seconds, time_nanos";

/// What passes a filter, of the columns above.
const PASSES: &str = "(:component = '' or component = :component)
    and level >= :level
    and (cast(:start_s as bigint) is null
         or (time_seconds, time_nanos) >= (cast(:start_s as bigint), cast(:start_n as bigint)))
    and (cast(:end_s as bigint) is null
         or (time_seconds, time_nanos) < (cast(:end_s as bigint), cast(:end_n as bigint)))
    and (:text = '' or {position}(lower(message), :text) > 0)";

impl Entry {
    fn read(row: &Row<'_>) -> sre_store::sql::Result<(i64, Self)> {
        let entry = Self {
            team: row.get(1)?,
            agent: row.get(2)?,
            run: row.get(3)?,
            component: row.get(4)?,
            level: row.get(5)?,
            message: row.get(6)?,
            time: (row.get(7)?, row.get(8)?),
        };
        Ok((row.get(0)?, entry))
    }
}

/// Inserts lines; gives how many each team got.
pub fn insert(
    tx: &Connection<'_>,
    entries: &[Entry],
    now: Millis,
) -> Result<BTreeMap<String, i64>, StoreError> {
    let mut added = BTreeMap::new();
    let mut statement = tx.prepare_cached(&format!(
        "insert into entry ({COLUMNS}, stored_ms) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
    ))?;
    for entry in entries {
        statement.execute(params![
            entry.team,
            entry.agent,
            entry.run,
            entry.component,
            entry.level,
            entry.message,
            entry.time.0,
            entry.time.1,
            now
        ])?;
        *added.entry(entry.team.clone()).or_default() += 1;
    }
    Ok(added)
}

/// Some lines before a place, newest first, out of the `window` nearest ones.
pub fn before(
    conn: &Connection<'_>,
    selection: &Selection,
    before: i64,
    limit: u32,
    window: u32,
) -> Result<Found, StoreError> {
    read(conn, selection, Side { compare: "<", order: "desc", furthest: "min" }, before, limit, window)
}

/// Some lines after a place, oldest first, out of the `window` nearest ones.
pub fn after(
    conn: &Connection<'_>,
    selection: &Selection,
    after: i64,
    limit: u32,
    window: u32,
) -> Result<Found, StoreError> {
    read(conn, selection, Side { compare: ">", order: "asc", furthest: "max" }, after, limit, window)
}

struct Side {
    compare: &'static str,
    order: &'static str,
    furthest: &'static str,
}

fn read(
    conn: &Connection<'_>,
    selection: &Selection,
    side: Side,
    place: i64,
    limit: u32,
    window: u32,
) -> Result<Found, StoreError> {
    let Side { compare, order, furthest } = side;
    let filter = &selection.filter;
    let of_run = if filter.run.is_empty() { ":run = ''" } else { "run = :run" };
    let near = format!(
        "select * from entry where team = :team and agent = :agent and id {compare} :place and {of_run}
         order by id {order} limit :window"
    );
    let passes = PASSES.replace("{position}", if conn.is_postgres() { "strpos" } else { "instr" });
    let sql =
        format!("select id, {COLUMNS} from ({near}) as near where {passes} order by id {order} limit :limit");
    let mut statement = conn.prepare_cached(&sql)?;
    let rows = statement.query_map(
        named_params! {
            ":team": selection.team,
            ":agent": selection.agent,
            ":place": place,
            ":run": filter.run,
            ":window": window,
            ":component": filter.component,
            ":level": filter.min_level,
            ":start_s": filter.start.map(|start| start.0),
            ":start_n": filter.start.map(|start| start.1),
            ":end_s": filter.end.map(|end| end.0),
            ":end_n": filter.end.map(|end| end.1),
            ":text": filter.text,
            ":limit": limit,
        },
        Entry::read,
    )?;
    let entries = rows.collect::<Result<Vec<_>, _>>()?;
    if entries.len() == limit as usize {
        let looked_to = entries.last().map(|(id, _)| *id);
        return Ok(Found { entries, looked_to });
    }
    let sql = format!("select {furthest}(id), count(*) from ({near}) as near");
    let (furthest, seen): (Option<i64>, u32) = conn.prepare_cached(&sql)?.query_row(
        named_params! {
            ":team": selection.team,
            ":agent": selection.agent,
            ":place": place,
            ":run": filter.run,
            ":window": window,
        },
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    Ok(Found { entries, looked_to: furthest.filter(|_| seen == window) })
}

/// The place of the newest line of all; 0 where there is none.
pub fn end(conn: &Connection<'_>) -> Result<i64, StoreError> {
    conn.query_row("select coalesce(max(id), 0) from entry", params![], |row| row.get(0))
}

/// Teams that have lines.
pub fn teams(conn: &Connection<'_>) -> Result<Vec<String>, StoreError> {
    let mut statement = conn.prepare_cached("select team from team_lines where lines > 0")?;
    let teams = statement.query_map(params![], |row| row.get(0))?;
    teams.collect::<Result<_, _>>()
}

/// How many lines a team has.
pub fn lines(conn: &Connection<'_>, team: &str) -> Result<i64, StoreError> {
    let lines = conn
        .prepare_cached("select lines from team_lines where team = ?1")?
        .query_row([team], |row| row.get(0))
        .optional()?;
    Ok(lines.unwrap_or(0))
}

/// Books lines that came or went.
pub fn count(tx: &Connection<'_>, team: &str, change: i64) -> Result<(), StoreError> {
    tx.prepare_cached(
        "insert into team_lines (team, lines) values (?1, ?2)
         on conflict (team) do update set lines = team_lines.lines + ?2",
    )?
    .execute(params![team, change])?;
    Ok(())
}

/// Removes the oldest lines of a team; gives how many there were.
pub fn remove_oldest(tx: &Connection<'_>, team: &str, limit: i64) -> Result<i64, StoreError> {
    let gone = tx
        .prepare_cached(
            "delete from entry where id in (select id from entry where team = ?1 order by id limit ?2)",
        )?
        .execute(params![team, limit])?;
    Ok(i64::try_from(gone).unwrap_or(i64::MAX))
}

/// Removes some lines of a team that were stored before `oldest`; gives how many. Places grow with the time of
/// storing, so that only the oldest are looked at.
pub fn remove_older(tx: &Connection<'_>, team: &str, oldest: Millis, limit: u32) -> Result<i64, StoreError> {
    let gone = tx
        .prepare_cached(
            "delete from entry where id in
               (select id from (select id, stored_ms from entry where team = ?1 order by id limit ?3) as oldest
                where stored_ms < ?2)",
        )?
        .execute(params![team, oldest, limit])?;
    Ok(i64::try_from(gone).unwrap_or(i64::MAX))
}
