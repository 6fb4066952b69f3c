//! Members of teams. A team keeps at least one admin.

use sre_identity::{Candidate, Role};
use sre_store::sql::{Connection, OptionalExtension, params};

use super::{TeamRole, insert_principal, resolve, teams};
use crate::error::Error;
use crate::moment::Moment;
use crate::page::{self, Page};
use crate::rows;

/// A member of a team.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub candidate: Candidate,
    /// The role.
    pub role: TeamRole,
    /// Whether this is its home team.
    pub home: bool,
}

/// A page of a team's members.
pub fn list(
    conn: &Connection<'_>,
    team: &str,
    page: &Page<(String, String)>,
) -> Result<(Vec<Member>, String), Error> {
    let (after_role, after_id) = page.after.clone().unwrap_or_default();
    let mut statement = conn.prepare_cached(
        "select m.role, m.id, m.team_role, p.home_team = m.team from membership m
         join principal p on p.role = m.role and p.id = m.id
         where m.team = ?1 and (m.role, m.id) > (?2, ?3) order by m.role, m.id limit ?4",
    )?;
    let members = statement
        .query_map(params![team, after_role, after_id, rows::limit(page.size)], |row| {
            let role = TeamRole::from_text(&row.get::<String>(2)?);
            Ok(Member { candidate: rows::candidate(row, 0)?, role, home: row.get(3)? })
        })?
        .collect::<Result<Vec<_>, _>>()?;
    Ok(page::cut(members, page.size, |member: &Member| {
        (member.candidate.role().as_str().to_owned(), member.candidate.id().to_owned())
    }))
}

/// Adds a member, or changes its role. A user without a home team gets this one; an agent must have been
/// registered, because otherwise a team could take an agent id before its owner does.
pub fn set(
    conn: &Connection<'_>,
    team: &str,
    who: &Candidate,
    role: TeamRole,
    now: Moment,
) -> Result<Member, Error> {
    require_person_or_agent(who)?;
    teams::require(conn, team)?;
    let home_team = match resolve(conn, who)? {
        Some(known) => known.home_team,
        None if who.role() == Role::Agent => {
            return Err(Error::NotFound(format!("{who}")));
        }
        None => {
            insert_principal(conn, who, team, now)?;
            team.to_owned()
        }
    };
    if role == TeamRole::Member && role_in(conn, team, who)? == Some(TeamRole::Admin) {
        keep_an_admin(conn, team, who)?;
    }
    put(conn, who, team, role)?;
    Ok(Member { candidate: who.clone(), role, home: home_team == team })
}

/// Removes a member. A user's home moves to another of its teams; without any other it is unknown again. An
/// agent leaves its home team only by being deleted.
pub fn remove(conn: &Connection<'_>, team: &str, who: &Candidate) -> Result<(), Error> {
    let absent = || Error::NotFound(format!("{who} in team {team}"));
    let role = role_in(conn, team, who)?.ok_or_else(absent)?;
    let known = resolve(conn, who)?.ok_or_else(absent)?;
    if who.role() == Role::Agent && known.home_team == team {
        return Err(Error::Precondition(format!(
            "{team} is the home team of {who}: delete the agent instead"
        )));
    }
    if role == TeamRole::Admin {
        keep_an_admin(conn, team, who)?;
    }
    conn.prepare_cached("delete from membership where team = ?1 and role = ?2 and id = ?3")?
        .execute(params![team, who.role().as_str(), who.id()])?;
    if known.home_team == team {
        match known.memberships.iter().find(|other| other.team != team) {
            Some(next) => {
                conn.prepare_cached("update principal set home_team = ?3 where role = ?1 and id = ?2")?
                    .execute(params![who.role().as_str(), who.id(), next.team])?;
            }
            None => {
                conn.prepare_cached("delete from principal where role = ?1 and id = ?2")?
                    .execute(params![who.role().as_str(), who.id()])?;
            }
        }
    }
    changed(conn, who)
}

/// Writes a membership. Nothing is checked.
pub(super) fn put(conn: &Connection<'_>, who: &Candidate, team: &str, role: TeamRole) -> Result<(), Error> {
    conn.prepare_cached(
        "insert into membership (team, role, id, team_role) values (?1, ?2, ?3, ?4)
         on conflict (team, role, id) do update set team_role = excluded.team_role",
    )?
    .execute(params![team, who.role().as_str(), who.id(), role.as_str()])?;
    changed(conn, who)
}

pub(super) fn require_person_or_agent(who: &Candidate) -> Result<(), Error> {
    if matches!(who.role(), Role::User | Role::Agent) {
        return Ok(());
    }
    Err(Error::invalid("member.candidate", format!("{who} cannot be a member: give a user or an agent")))
}

fn role_in(conn: &Connection<'_>, team: &str, who: &Candidate) -> Result<Option<TeamRole>, Error> {
    let text: Option<String> = conn
        .prepare_cached("select team_role from membership where team = ?1 and role = ?2 and id = ?3")?
        .query_row(params![team, who.role().as_str(), who.id()], |row| row.get(0))
        .optional()?;
    Ok(text.map(|text| TeamRole::from_text(&text)))
}

fn keep_an_admin(conn: &Connection<'_>, team: &str, who: &Candidate) -> Result<(), Error> {
    let another = conn
        .prepare_cached(
            "select 1 from membership where team = ?1 and team_role = 'admin' and (role, id) <> (?2, ?3)",
        )?
        .exists(params![team, who.role().as_str(), who.id()])?;
    if another {
        return Ok(());
    }
    Err(Error::Precondition(format!("{who} is the last admin of team {team}: make someone else admin first")))
}

fn changed(conn: &Connection<'_>, who: &Candidate) -> Result<(), Error> {
    conn.prepare_cached(
        "update principal set membership_version = membership_version + 1 where role = ?1 and id = ?2",
    )?
    .execute(params![who.role().as_str(), who.id()])?;
    Ok(())
}
