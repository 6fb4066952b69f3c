//! Teams.

use sre_identity::Candidate;
use sre_identity::candidate::is_valid_id;
use sre_store::sql::{Connection, OptionalExtension, Row, params};

use super::{TeamRole, insert_principal, members, resolve};
use crate::error::Error;
use crate::moment::Moment;
use crate::page::{self, Page};
use crate::rows;

const MAX_DISPLAY_NAME_CHARS: usize = 200;

/// A team.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Team {
    /// Its id.
    pub id: String,
    /// What a person sees.
    pub display_name: String,
    /// The organisation it belongs to, if any.
    pub organization: String,
    /// When it was created.
    pub created: Moment,
}

/// Whether there is such a team.
pub fn exists(conn: &Connection<'_>, team: &str) -> Result<bool, Error> {
    Ok(conn.prepare_cached("select 1 from team where id = ?1")?.exists([team])?)
}

/// A team's organisation; empty where it has none.
pub fn organization(conn: &Connection<'_>, team: &str) -> Result<String, Error> {
    let mut statement = conn.prepare_cached("select organization from team where id = ?1")?;
    Ok(statement.query_row([team], |row| row.get(0)).optional()?.unwrap_or_default())
}

/// The teams of an organisation in order, 1000 at most.
pub fn of_organization(conn: &Connection<'_>, organization: &str) -> Result<Vec<String>, Error> {
    let sql = "select id from team where organization = ?1 and organization <> '' order by id limit 1000";
    let mut statement = conn.prepare_cached(sql)?;
    let teams = statement.query_map([organization], |row| row.get(0))?;
    Ok(teams.collect::<Result<_, _>>()?)
}

/// Fails where there is no such team.
pub fn require(conn: &Connection<'_>, team: &str) -> Result<(), Error> {
    if exists(conn, team)? { Ok(()) } else { Err(Error::NotFound(format!("team {team}"))) }
}

/// Creates a team with `admin` as its first admin. Someone who had no home team gets this one.
pub fn create(conn: &Connection<'_>, team: &Team, admin: &Candidate) -> Result<(), Error> {
    if !is_valid_id(&team.id) {
        let message =
            "must have 1 to 64 ASCII letters, digits, hyphens and underscores, and not be a single hyphen";
        return Err(Error::invalid("team_id", message));
    }
    for (field, text) in
        [("team.display_name", &team.display_name), ("team.organization", &team.organization)]
    {
        if text.chars().count() > MAX_DISPLAY_NAME_CHARS {
            return Err(Error::invalid(field, format!("has more than {MAX_DISPLAY_NAME_CHARS} characters")));
        }
    }
    let insert = "insert into team (id, display_name, organization, created_us) values (?1, ?2, ?3, ?4)
                  on conflict do nothing";
    let new = conn.prepare_cached(insert)?.execute(params![
        team.id,
        team.display_name,
        team.organization,
        team.created
    ])?;
    if new == 0 {
        return Err(Error::AlreadyExists(format!("team {} exists already: choose another id", team.id)));
    }
    members::require_person_or_agent(admin)?;
    if resolve(conn, admin)?.is_none() {
        insert_principal(conn, admin, &team.id, team.created)?;
    }
    members::put(conn, admin, &team.id, TeamRole::Admin)
}

/// A team; none where there is none.
pub fn get(conn: &Connection<'_>, team: &str) -> Result<Option<Team>, Error> {
    let sql = "select id, display_name, organization, created_us from team where id = ?1";
    Ok(conn.prepare_cached(sql)?.query_row([team], read).optional()?)
}

/// A page of the teams that someone is a member of, by id.
pub fn list_of(
    conn: &Connection<'_>,
    who: &Candidate,
    page: &Page<String>,
) -> Result<(Vec<Team>, String), Error> {
    let after = page.after.as_deref().unwrap_or_default();
    let mut statement = conn.prepare_cached(
        "select id, display_name, organization, created_us from team where id > ?3 and
         ((?1 = 'team' and id = ?2) or exists (select 1 from membership m where m.role = ?1 and m.id = ?2 and m.team = team.id))
         order by id limit ?4",
    )?;
    let teams = statement
        .query_map(params![who.role().as_str(), who.id(), after, rows::limit(page.size)], read)?
        .collect::<Result<Vec<_>, _>>()?;
    Ok(page::cut(teams, page.size, |team: &Team| team.id.clone()))
}

fn read(row: &Row<'_>) -> sre_store::sql::Result<Team> {
    Ok(Team { id: row.get(0)?, display_name: row.get(1)?, organization: row.get(2)?, created: row.get(3)? })
}
