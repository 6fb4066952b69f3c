//! The reference's accounts file: `{team: {users: {u: {settings}}, agents: {a: {settings}}, settings}}`.

use indexmap::IndexMap;
use serde::Deserialize;
use sre_identity::Candidate;
use sre_identity::candidate::CandidateError;
use sre_store::sql::Connection;

use super::settings::{self, Setting};
use super::teams::Team;
use super::{TeamRole, members, register_agent, resolve, teams};
use crate::error::Error;
use crate::moment::Moment;

/// The file, read and checked. Order matters: the first team that lists a principal is its home.
#[derive(Debug, Clone)]
pub struct TeamsFile {
    teams: Vec<ImportedTeam>,
}

/// One team of the file.
#[derive(Debug, Clone)]
pub struct ImportedTeam {
    /// Its id.
    pub id: String,
    /// Its users and agents, each with its settings.
    pub members: Vec<(Candidate, Vec<(String, String)>)>,
    /// Its own settings.
    pub settings: Vec<(String, String)>,
}

/// What is wrong with the file.
#[derive(Debug, thiserror::Error)]
pub enum TeamsFileError {
    /// It is not JSON of this shape.
    #[error(
        "accounts file: {0}: expected {{\"<team>\": {{\"users\": {{..}}, \"agents\": {{..}}, \"settings\": {{..}}}}}}"
    )]
    Shape(#[from] serde_json::Error),
    /// An id has other characters.
    #[error("accounts file: team {team:?}: {source}")]
    Id {
        /// The team at which it was found.
        team: String,
        /// What is wrong.
        source: CandidateError,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTeam {
    #[serde(default)]
    users: IndexMap<String, RawMember>,
    #[serde(default)]
    agents: IndexMap<String, RawMember>,
    #[serde(default)]
    settings: IndexMap<String, serde_json::Value>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawMember {
    #[serde(default)]
    settings: IndexMap<String, serde_json::Value>,
}

impl TeamsFile {
    /// Reads the file's text.
    pub fn parse(json: &str) -> Result<Self, TeamsFileError> {
        let raw: IndexMap<String, RawTeam> = serde_json::from_str(json)?;
        let teams = raw.into_iter().map(|(id, team)| import(id, team)).collect::<Result<_, _>>()?;
        Ok(Self { teams })
    }

    /// The teams in the file's order.
    pub fn teams(&self) -> &[ImportedTeam] {
        &self.teams
    }

    /// Writes everything that is not there yet; `admin` becomes admin of each new team. Idempotent.
    pub fn apply(&self, conn: &Connection<'_>, admin: &Candidate, now: Moment) -> Result<(), Error> {
        for team in &self.teams {
            if !teams::exists(conn, &team.id)? {
                let new = Team {
                    id: team.id.clone(),
                    display_name: team.id.clone(),
                    organization: String::new(),
                    created: now,
                };
                teams::create(conn, &new, admin)?;
            }
            let own = Candidate::team(&team.id).map_err(|error| Error::invalid("team", error.to_string()))?;
            put_settings(conn, &own, &team.settings, now)?;
            for (member, settings) in &team.members {
                add_member(conn, &team.id, member, now)?;
                put_settings(conn, member, settings, now)?;
            }
        }
        Ok(())
    }
}

fn add_member(conn: &Connection<'_>, team: &str, member: &Candidate, now: Moment) -> Result<(), Error> {
    let known = resolve(conn, member)?;
    if known.as_ref().is_some_and(|known| known.memberships.iter().any(|membership| membership.team == team))
    {
        return Ok(());
    }
    if known.is_none() && member.role() == sre_identity::Role::Agent {
        return register_agent(conn, member, team, now).map(drop);
    }
    members::set(conn, team, member, TeamRole::Member, now).map(drop)
}

fn put_settings(
    conn: &Connection<'_>,
    owner: &Candidate,
    values: &[(String, String)],
    now: Moment,
) -> Result<(), Error> {
    for (key, value) in values {
        let setting = Setting {
            owner: owner.clone(),
            key: key.clone(),
            value: value.clone(),
            updated: now,
            inherit: false,
        };
        settings::set(conn, &setting)?;
    }
    Ok(())
}

fn import(id: String, raw: RawTeam) -> Result<ImportedTeam, TeamsFileError> {
    let wrong = |source| TeamsFileError::Id { team: id.clone(), source };
    Candidate::team(&id).map_err(wrong)?;
    let mut members = Vec::with_capacity(raw.users.len() + raw.agents.len());
    for (user, member) in raw.users {
        members.push((Candidate::user(&user).map_err(wrong)?, texts(member.settings)));
    }
    for (agent, member) in raw.agents {
        members.push((Candidate::agent(&agent).map_err(wrong)?, texts(member.settings)));
    }
    Ok(ImportedTeam { settings: texts(raw.settings), members, id })
}

/// Values are texts; structured ones become their JSON.
fn texts(settings: IndexMap<String, serde_json::Value>) -> Vec<(String, String)> {
    let text = |value| match value {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    };
    settings.into_iter().map(|(key, value)| (key, text(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::testing::database;

    const FILE: &str = r#"{
        "b": {"users": {"u1": {"settings": {"theme": "dark"}}}, "agents": {"a1": {}}, "settings": {"custom-llm": {"m": 1}}},
        "a": {"users": {"u1": {}}, "agents": {"a1": {}}}
    }"#;

    #[test]
    fn the_first_team_in_file_order_is_home() {
        let conn = database();
        let admin = Candidate::user("dev").unwrap();
        let file = TeamsFile::parse(FILE).unwrap();
        file.apply(&conn, &admin, Moment(1)).unwrap();
        file.apply(&conn, &admin, Moment(2)).unwrap();
        for who in [Candidate::user("u1").unwrap(), Candidate::agent("a1").unwrap()] {
            let found = resolve(&conn, &who).unwrap().unwrap();
            assert_eq!(found.home_team, "b", "{who}");
            assert_eq!(found.memberships.len(), 2, "{who}");
        }
        let team = Candidate::team("b").unwrap();
        assert_eq!(settings::get(&conn, &team, "custom-llm").unwrap().unwrap().value, r#"{"m":1}"#);
    }

    #[test]
    fn wrong_ids_and_shapes_are_named() {
        assert!(TeamsFile::parse(r#"{"a b": {}}"#).unwrap_err().to_string().contains("\"a b\""));
        assert!(TeamsFile::parse(r#"{"a": {"user": {}}}"#).unwrap_err().to_string().contains("user"));
    }
}
