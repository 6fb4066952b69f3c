//! The rows of lines. Every statement about these tables is here.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, params};
use sre_store::StoreError;

use super::Selection;
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

impl Entry {
    fn read(row: &Row<'_>) -> rusqlite::Result<(i64, Self)> {
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
pub fn insert(tx: &Connection, entries: &[Entry], now: Millis) -> Result<BTreeMap<String, i64>, StoreError> {
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

/// Some lines, newest first.
pub fn select(
    conn: &Connection,
    selection: &Selection,
    before: i64,
    limit: u32,
) -> Result<Vec<(i64, Entry)>, StoreError> {
    let of_run = if selection.run.is_empty() { "?5 = ''" } else { "run = ?5" };
    let mut statement = conn.prepare_cached(&format!(
        "select id, {COLUMNS} from entry where team = ?1 and agent = ?2 and id < ?3 and {of_run}
         order by id desc limit ?4"
    ))?;
    let rows = statement
        .query_map(params![selection.team, selection.agent, before, limit, selection.run], Entry::read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// How many lines a team has.
pub fn lines(conn: &Connection, team: &str) -> Result<i64, StoreError> {
    let lines = conn
        .prepare_cached("select lines from team_lines where team = ?1")?
        .query_row([team], |row| row.get(0))
        .optional()?;
    Ok(lines.unwrap_or(0))
}

/// Books lines that came or went.
pub fn count(tx: &Connection, team: &str, change: i64) -> Result<(), StoreError> {
    tx.prepare_cached(
        "insert into team_lines (team, lines) values (?1, ?2)
         on conflict (team) do update set lines = lines + ?2",
    )?
    .execute(params![team, change])?;
    Ok(())
}

/// Removes the oldest lines of a team; gives how many there were.
pub fn remove_oldest(tx: &Connection, team: &str, limit: i64) -> Result<i64, StoreError> {
    let gone = tx
        .prepare_cached(
            "delete from entry where id in (select id from entry where team = ?1 order by id limit ?2)",
        )?
        .execute(params![team, limit])?;
    Ok(i64::try_from(gone).unwrap_or(i64::MAX))
}

/// Removes some lines that were stored before `oldest`; gives how many of each team.
pub fn remove_older(
    tx: &Connection,
    oldest: Millis,
    limit: u32,
) -> Result<BTreeMap<String, i64>, StoreError> {
    let mut statement = tx.prepare_cached(
        "delete from entry where id in
           (select id from entry where stored_ms < ?1 order by stored_ms limit ?2)
         returning team",
    )?;
    let teams = statement.query_map(params![oldest, limit], |row| row.get::<_, String>(0))?;
    let mut gone = BTreeMap::new();
    for team in teams {
        *gone.entry(team?).or_default() += 1;
    }
    Ok(gone)
}
