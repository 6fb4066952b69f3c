//! What a team uses, and how much it may.

use rusqlite::{Connection, OptionalExtension, params};
use sre_store::StoreError;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Files.
    Files,
    /// Values of namespaces.
    Values,
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

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Values => "values",
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

/// What a team holds: things and bytes.
pub fn of(tx: &Connection, team: &str, kind: Kind) -> Result<(i64, i64), StoreError> {
    let row = tx
        .prepare_cached("select items, bytes from team_usage where team = ?1 and kind = ?2")?
        .query_row(params![team, kind.name()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(row.unwrap_or((0, 0)))
}
