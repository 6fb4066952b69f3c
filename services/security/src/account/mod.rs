//! Teams, principals, memberships: the only source of who belongs where.
//!
//! A principal (an agent or a user) has one home team and may be a member of others. An unknown principal has
//! no team at all. A team, when it calls by itself, is a member of itself and of nothing else.

pub mod members;
pub mod names;
pub mod service;
pub mod settings;
pub mod teams;
pub mod teams_file;

use std::collections::BTreeMap;

use sre_identity::{Candidate, Role};
use sre_store::sql::{Connection, OptionalExtension, params};

use crate::error::Error;
use crate::moment::Moment;

/// What a member may do in its team.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TeamRole {
    /// Uses what the team shares.
    Member,
    /// Also steers the team.
    Admin,
}

impl TeamRole {
    fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Admin => "admin",
        }
    }

    fn from_text(text: &str) -> Self {
        if text == "admin" { Self::Admin } else { Self::Member }
    }
}

/// A membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The team's id.
    pub team: String,
    /// The role in it.
    pub role: TeamRole,
}

/// A principal that Account knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Its home team.
    pub home_team: String,
    /// All memberships, the home team's first.
    pub memberships: Vec<Membership>,
    /// Changes with every change of the memberships.
    pub version: i64,
    /// Limits of the home team that differ from the configuration's, by name.
    pub limits: BTreeMap<String, u64>,
    /// The home team's organisation; empty where it has none.
    pub organization: String,
}

/// A team is a member of itself alone, always.
const TEAM_VERSION: i64 = 1;

/// A principal's home team and memberships; none where it is unknown.
pub fn resolve(conn: &Connection<'_>, candidate: &Candidate) -> Result<Option<Principal>, Error> {
    match candidate.role() {
        Role::Agent | Role::User => resolve_row(conn, candidate),
        Role::Team if teams::exists(conn, candidate.id())? => Ok(Some(Principal {
            home_team: candidate.id().to_owned(),
            memberships: vec![Membership { team: candidate.id().to_owned(), role: TeamRole::Member }],
            version: TEAM_VERSION,
            limits: settings::limits(conn, candidate.id())?,
            organization: teams::organization(conn, candidate.id())?,
        })),
        Role::Team => Ok(None),
        Role::Public => Ok(None),
    }
}

/// The version of a principal's memberships; none where it is not known.
pub fn version(conn: &Connection<'_>, candidate: &Candidate) -> Result<Option<i64>, Error> {
    match candidate.role() {
        Role::Agent | Role::User => {}
        Role::Team => return Ok(teams::exists(conn, candidate.id())?.then_some(TEAM_VERSION)),
        Role::Public => return Ok(None),
    }
    let sql = "select membership_version from principal where role = ?1 and id = ?2";
    let mut statement = conn.prepare_cached(sql)?;
    let key = [candidate.role().as_str(), candidate.id()];
    Ok(statement.query_row(key, |row| row.get(0)).optional()?)
}

fn resolve_row(conn: &Connection<'_>, candidate: &Candidate) -> Result<Option<Principal>, Error> {
    let (role, id) = (candidate.role().as_str(), candidate.id());
    let row = conn
        .prepare_cached("select home_team, membership_version from principal where role = ?1 and id = ?2")?
        .query_row(params![role, id], |row| Ok((row.get::<String>(0)?, row.get(1)?)))
        .optional()?;
    let Some((home_team, version)) = row else { return Ok(None) };
    let mut statement = conn.prepare_cached(
        "select team, team_role from membership where role = ?1 and id = ?2 order by team <> ?3, team",
    )?;
    let memberships = statement
        .query_map(params![role, id, home_team], |row| {
            Ok(Membership { team: row.get(0)?, role: TeamRole::from_text(&row.get::<String>(1)?) })
        })?
        .collect::<Result<_, _>>()?;
    let limits = settings::limits(conn, &home_team)?;
    let organization = teams::organization(conn, &home_team)?;
    Ok(Some(Principal { home_team, memberships, version, limits, organization }))
}

/// Registers an agent as a member of its home team. Repeating it changes nothing; an agent of another team is
/// refused, because ids are unique in the deployment.
pub fn register_agent(
    conn: &Connection<'_>,
    agent: &Candidate,
    team: &str,
    now: Moment,
) -> Result<Principal, Error> {
    if let Some(known) = resolve(conn, agent)? {
        if known.home_team == team {
            return Ok(known);
        }
        return Err(Error::AlreadyExists(format!("agent id {} is taken: choose another one", agent.id())));
    }
    teams::require(conn, team)?;
    insert_principal(conn, agent, team, now)?;
    members::put(conn, agent, team, TeamRole::Member)?;
    resolve(conn, agent)?
        .ok_or_else(|| Error::Internal(format!("{agent} is not there after it was registered")))
}

/// Removes an agent with its memberships and settings; false where there was none.
pub fn unregister_agent(conn: &Connection<'_>, agent: &Candidate) -> Result<bool, Error> {
    settings::delete_all(conn, agent)?;
    let gone = conn
        .prepare_cached("delete from principal where role = ?1 and id = ?2")?
        .execute(params![agent.role().as_str(), agent.id()])?;
    Ok(gone > 0)
}

fn insert_principal(
    conn: &Connection<'_>,
    who: &Candidate,
    home_team: &str,
    now: Moment,
) -> Result<(), Error> {
    conn.prepare_cached(
        "insert into principal (role, id, home_team, membership_version, created_us) values (?1, ?2, ?3, 0, ?4)",
    )?
    .execute(params![who.role().as_str(), who.id(), home_team, now])?;
    Ok(())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
