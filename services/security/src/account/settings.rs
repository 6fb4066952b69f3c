//! Settings of teams, users and agents: texts, where structured values are JSON.

use std::collections::BTreeMap;

use sre_identity::{Candidate, Role};
use sre_service::config::TeamLimit;
use sre_store::sql::{Connection, OptionalExtension, Row, params};

use crate::error::Error;
use crate::moment::Moment;

const MAX_VALUE_BYTES: usize = 64 << 10;
const MAX_KEY_CHARS: usize = 256;
const MAX_SETTINGS: i64 = 1000;

/// The setting of a team that holds its limits: for administrators of the deployment alone, since nobody is to
/// lift their own.
pub const LIMITS: &str = "sre-limits";

/// A setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Whose it is.
    pub owner: Candidate,
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
    /// When it was last set.
    pub updated: Moment,
    /// Of a user's setting: whether agents that run for the user may read it.
    pub inherit: bool,
}

/// Whether a setting holds a team's limits.
pub fn is_limits(owner: &Candidate, key: &str) -> bool {
    owner.role() == Role::Team && key == LIMITS
}

/// The collection that a principal's settings are in: the first segment of their names.
pub fn collection(owner: &Candidate) -> Result<&'static str, Error> {
    match owner.role() {
        Role::Team => Ok("teams"),
        Role::User => Ok("users"),
        Role::Agent => Ok("agents"),
        Role::Public => Err(Error::invalid("name", "the public has no settings")),
    }
}

/// A setting; none where it is not set.
pub fn get(conn: &Connection<'_>, owner: &Candidate, key: &str) -> Result<Option<Setting>, Error> {
    let sql =
        "select key, value, updated_us, inherit from setting where scope = ?1 and scope_id = ?2 and key = ?3";
    Ok(conn
        .prepare_cached(sql)?
        .query_row(params![collection(owner)?, owner.id(), key], |row| read(row, owner))
        .optional()?)
}

/// All settings, by key.
pub fn list(conn: &Connection<'_>, owner: &Candidate) -> Result<Vec<Setting>, Error> {
    let sql =
        "select key, value, updated_us, inherit from setting where scope = ?1 and scope_id = ?2 order by key";
    let mut statement = conn.prepare_cached(sql)?;
    let rows = statement.query_map(params![collection(owner)?, owner.id()], |row| read(row, owner))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The limits that a team's setting [`LIMITS`] holds. Names that this version does not know are passed on: who
/// reads a limit asks by name. What is no set of limits at all sets none, so that nobody is locked out by it.
pub(super) fn limits(conn: &Connection<'_>, team: &str) -> Result<BTreeMap<String, u64>, Error> {
    let sql = "select value from setting where scope = 'teams' and scope_id = ?1 and key = ?2";
    let text: Option<String> =
        conn.prepare_cached(sql)?.query_row([team, LIMITS], |row| row.get(0)).optional()?;
    let Some(text) = text else { return Ok(BTreeMap::new()) };
    Ok(serde_json::from_str(&text).unwrap_or_else(|error| {
        tracing::warn!(team, %error, "the team's setting sre-limits is no JSON object of numbers, so it sets nothing");
        BTreeMap::new()
    }))
}

/// Sets a setting; an empty value deletes it.
pub fn set(conn: &Connection<'_>, setting: &Setting) -> Result<(), Error> {
    let (scope, owner, key) = (collection(&setting.owner)?, &setting.owner, &setting.key);
    if key.is_empty() || key.chars().count() > MAX_KEY_CHARS {
        return Err(Error::invalid(
            "setting.name",
            format!("its key must have 1 to {MAX_KEY_CHARS} characters"),
        ));
    }
    if is_limits(&setting.owner, key) && !setting.value.is_empty() {
        TeamLimit::parse_setting(&setting.value).map_err(|error| Error::invalid("setting.value", error))?;
    }
    if setting.inherit && owner.role() != Role::User {
        let message = format!("is of a user's settings alone: leave it out for {owner}");
        return Err(Error::invalid("setting.inherit", message));
    }
    if setting.value.len() > MAX_VALUE_BYTES {
        let size = setting.value.len();
        return Err(Error::invalid("setting.value", format!("has {size} bytes: {MAX_VALUE_BYTES} at most")));
    }
    if setting.value.is_empty() {
        conn.prepare_cached("delete from setting where scope = ?1 and scope_id = ?2 and key = ?3")?
            .execute(params![scope, owner.id(), key])?;
        return Ok(());
    }
    let others: i64 = conn
        .prepare_cached("select count(*) from setting where scope = ?1 and scope_id = ?2 and key <> ?3")?
        .query_row(params![scope, owner.id(), key], |row| row.get(0))?;
    if others >= MAX_SETTINGS {
        return Err(Error::Exhausted(format!("{owner} has {others} settings: delete one first")));
    }
    conn.prepare_cached(
        "insert into setting (scope, scope_id, key, value, updated_us, inherit) values (?1, ?2, ?3, ?4, ?5, ?6)
         on conflict (scope, scope_id, key) do update set value = excluded.value, updated_us = excluded.updated_us,
             inherit = excluded.inherit",
    )?
    .execute(params![scope, owner.id(), key, setting.value, setting.updated, setting.inherit])?;
    Ok(())
}

/// Deletes all settings of a principal.
pub(super) fn delete_all(conn: &Connection<'_>, owner: &Candidate) -> Result<(), Error> {
    conn.prepare_cached("delete from setting where scope = ?1 and scope_id = ?2")?
        .execute(params![collection(owner)?, owner.id()])?;
    Ok(())
}

fn read(row: &Row<'_>, owner: &Candidate) -> sre_store::sql::Result<Setting> {
    Ok(Setting {
        owner: owner.clone(),
        key: row.get(0)?,
        value: row.get(1)?,
        updated: row.get(2)?,
        inherit: row.get(3)?,
    })
}
