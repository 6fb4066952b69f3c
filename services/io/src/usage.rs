//! What a team uses, and how much it may.

use rusqlite::{Connection, OptionalExtension, params};
use sre_service::limits::HolderQuota;
use sre_store::StoreError;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Files.
    Files,
    /// Values of namespaces.
    Values,
    /// Vectors.
    Vectors,
    /// Files below one agent. The holder is `{team}/agents/{agent}`, see [`agent`].
    AgentFiles,
}

/// How much a team may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// So many things.
    pub items: i64,
    /// So many bytes.
    pub bytes: i64,
}

/// A change of what a team holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Change {
    /// More (or fewer) things.
    pub items: i64,
    /// More (or fewer) bytes.
    pub bytes: i64,
}

/// Whether a change was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was.
    Made,
    /// It would go beyond the quota, so nothing was changed.
    OverQuota,
}

impl From<sre_service::limits::Quota> for Quota {
    fn from(quota: sre_service::limits::Quota) -> Self {
        let number = |limit: u64| i64::try_from(limit).unwrap_or(i64::MAX);
        Self { items: number(quota.items), bytes: number(quota.bytes) }
    }
}

/// The holder of what is counted for an agent. No team's id has a slash.
pub fn agent(team: &str, agent: &str) -> String {
    format!("{team}/agents/{agent}")
}

impl Kind {
    /// What is counted for teams.
    pub const OF_TEAMS: [Self; 3] = [Self::Files, Self::Values, Self::Vectors];

    /// The limits on it.
    pub fn limits(self) -> HolderQuota {
        match self {
            Self::Files => HolderQuota::FILES,
            Self::Values => HolderQuota::VALUES,
            Self::Vectors => HolderQuota::VECTORS,
            Self::AgentFiles => HolderQuota::AGENT_FILES,
        }
    }

    /// Its name in the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Values => "values",
            Self::Vectors => "vectors",
            Self::AgentFiles => "agent_files",
        }
    }
}

/// Books a change, unless it grows beyond the quota. Shrinking always works.
pub fn book(
    tx: &Connection,
    team: &str,
    kind: Kind,
    change: Change,
    quota: Quota,
) -> Result<Outcome, StoreError> {
    if change == Change::default() {
        return Ok(Outcome::Made);
    }
    let (items, bytes) = of(tx, team, kind)?;
    let over = (change.items > 0 && items + change.items > quota.items)
        || (change.bytes > 0 && bytes + change.bytes > quota.bytes);
    if over {
        return Ok(Outcome::OverQuota);
    }
    tx.prepare_cached(
        "insert into team_usage (team, kind, items, bytes) values (?1, ?2, ?3, ?4)
         on conflict (team, kind) do update set items = items + ?3, bytes = bytes + ?4",
    )?
    .execute(params![team, kind.name(), change.items, change.bytes])?;
    Ok(Outcome::Made)
}

/// Books what was removed.
pub fn release(tx: &Connection, team: &str, kind: Kind, items: i64, bytes: i64) -> Result<(), StoreError> {
    let none = Quota { items: 0, bytes: 0 };
    book(tx, team, kind, Change { items: -items, bytes: -bytes }, none).map(|_| ())
}

/// Bytes of what teams hold, after this team and kind in order.
pub fn held(
    tx: &Connection,
    after: &(String, String),
    limit: u32,
) -> Result<Vec<(String, String, i64)>, StoreError> {
    let mut statement = tx.prepare_cached(
        "select team, kind, bytes from team_usage where (team, kind) > (?1, ?2) and kind <> 'agent_files'
         order by team, kind limit ?3",
    )?;
    let rows = statement
        .query_map(params![after.0, after.1, limit], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// What a team holds: things and bytes.
pub fn of(tx: &Connection, team: &str, kind: Kind) -> Result<(i64, i64), StoreError> {
    let row = tx
        .prepare_cached("select items, bytes from team_usage where team = ?1 and kind = ?2")?
        .query_row(params![team, kind.name()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(row.unwrap_or((0, 0)))
}

/// Agents of a team with files, and what they hold: things and bytes. Those that hold most come first.
pub fn of_agents(tx: &Connection, team: &str, limit: u32) -> Result<Vec<(String, i64, i64)>, StoreError> {
    let prefix = agent(team, "");
    // The character behind `/`: all holders that begin with the prefix, and no others.
    let end = format!("{}0", prefix.trim_end_matches('/'));
    let mut statement = tx.prepare_cached(
        "select team, items, bytes from team_usage where team > ?1 and team < ?2 and kind = 'agent_files'
         and items > 0 order by bytes desc, team limit ?3",
    )?;
    let rows = statement.query_map(params![prefix, end, limit], |row| {
        let holder: String = row.get(0)?;
        Ok((holder[prefix.len()..].to_owned(), row.get(1)?, row.get(2)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
