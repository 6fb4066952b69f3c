//! Rights that follow from what a resource is called, where no access list is stored for it.
//!
//! They are the ground that everything else stands on: creating a file needs `write` on the agent's files, which
//! belong to the agent by name, so nobody creates things in another's place (hole H8). Lists have names and
//! rights like everything else, and an unnamed resource gives nothing (hole H5).

use std::borrow::Cow;
use std::collections::BTreeMap;

use sre_proto::security::v1 as proto;

use crate::acl::{Level, Levels};
use crate::candidate::{Candidate, Role, TeamId};
use crate::resource::{OWN, check_name};

/// What a member may do in a team.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TeamRole {
    /// Use what is the team's.
    Member,
    /// Change the team.
    Admin,
}

/// Whether a Candidate administers the deployment; the configuration says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeploymentRole {
    /// No.
    #[default]
    None,
    /// Yes.
    Admin,
}

/// Where a Candidate belongs, as Account says. The default is an unknown Candidate, which belongs nowhere: there
/// is no team that strangers fall into (hole H14), and nothing but Account puts anybody in one (hole H12).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memberships {
    /// The home team.
    pub home: Option<TeamId>,
    /// All teams, the home team among them.
    pub teams: Vec<(TeamId, TeamRole)>,
    /// Whether it administers the deployment.
    pub deployment: DeploymentRole,
    /// Limits of the home team that differ from the configuration's, by name.
    pub limits: BTreeMap<String, u64>,
    /// The home team's organisation; empty where it has none.
    pub organization: String,
}

impl Memberships {
    /// The teams alone, for [`crate::decide`].
    pub fn team_ids(&self) -> Vec<TeamId> {
        self.teams.iter().map(|(team, _)| team.clone()).collect()
    }

    /// The role in a team.
    pub fn role_in(&self, team: &str) -> Option<TeamRole> {
        self.teams.iter().filter(|(id, _)| id.as_str() == team).map(|(_, role)| *role).max()
    }

    fn is_admin_of(&self, team: Option<&TeamId>) -> bool {
        team.is_some_and(|team| self.role_in(team.as_str()) == Some(TeamRole::Admin))
    }
}

impl TryFrom<&proto::Principal> for Memberships {
    type Error = crate::candidate::CandidateError;

    /// From Account's answer. Administrators of the deployment are set by the caller, from the configuration.
    fn try_from(message: &proto::Principal) -> Result<Self, Self::Error> {
        if !message.known {
            return Ok(Self::default());
        }
        let home = match message.home_team.as_str() {
            "" => None,
            team => Some(TeamId::new(team)?),
        };
        let teams = message
            .memberships
            .iter()
            .map(|membership| {
                let role = match membership.role() {
                    proto::TeamRole::Admin => TeamRole::Admin,
                    _ => TeamRole::Member,
                };
                Ok((TeamId::new(&membership.team)?, role))
            })
            .collect::<Result<_, _>>()?;
        let limits = message.limits.iter().map(|(name, limit)| (name.clone(), *limit)).collect();
        let organization = message.organization.clone();
        Ok(Self { home, teams, deployment: DeploymentRole::None, limits, organization })
    }
}

/// Replaces `-` in the first place of a name: `teams/-` by the home team, `users/-` and `agents/-` by the
/// Candidate itself. None where there is nothing to put there.
pub fn resolve_own<'r>(
    candidate: &Candidate,
    memberships: &Memberships,
    resource: &'r str,
) -> Option<Cow<'r, str>> {
    let mut parts = resource.splitn(3, '/');
    let (Some(collection), Some(OWN)) = (parts.next(), parts.next()) else {
        return Some(Cow::Borrowed(resource));
    };
    let id = match (collection, candidate.role()) {
        ("teams", _) => memberships.home.as_ref()?.as_str(),
        ("users", Role::User) | ("agents", Role::Agent) => candidate.id(),
        _ => return None,
    };
    Some(Cow::Owned(match parts.next() {
        Some(rest) => format!("{collection}/{id}/{rest}"),
        None => format!("{collection}/{id}"),
    }))
}

/// The principal whose home team [`implied`] must be told of, for `users/**` and `agents/**`; none for other
/// resources.
pub fn subject_of(resource: &str) -> Option<Candidate> {
    let mut parts = resource.splitn(3, '/');
    match (parts.next()?, parts.next()?) {
        ("users", id) => Candidate::user(id).ok(),
        ("agents", id) => Candidate::agent(id).ok(),
        _ => None,
    }
}

/// What a Candidate may do with a resource by its name alone. `subject_home` is the home team of
/// [`subject_of`] the resource, where it has one and Account knows it.
pub fn implied(
    candidate: &Candidate,
    memberships: &Memberships,
    resource: &str,
    subject_home: Option<&TeamId>,
) -> Levels {
    if candidate.role() == Role::Public || check_name(resource).is_err() {
        return Levels::EMPTY;
    }
    let Some(resource) = resolve_own(candidate, memberships, resource) else {
        return Levels::EMPTY;
    };
    let segments: Vec<&str> = resource.split('/').collect();
    match segments.as_slice() {
        ["teams", team, rest @ ..] => in_team(candidate, role_in(candidate, memberships, team), rest),
        ["users", user, ..] if candidate.role() == Role::User && candidate.id() == *user => owner(),
        ["users", ..] if memberships.is_admin_of(subject_home) => read(),
        ["agents", _, ..] if memberships.is_admin_of(subject_home) => owner(),
        ["agents", agent, ..] if candidate.role() == Role::Agent && candidate.id() == *agent => read(),
        ["deployment"] | ["deployment", "audit"] if memberships.deployment == DeploymentRole::Admin => {
            owner()
        }
        // What the teams of an organisation may use together.
        ["organizations", _, "budgets", ..] if memberships.deployment == DeploymentRole::Admin => owner(),
        ["teams" | "self"] | ["components" | "models", ..] => read(),
        _ => Levels::EMPTY,
    }
}

/// The Candidate's role in a team: what Account says; a team is a member of itself.
fn role_in(candidate: &Candidate, memberships: &Memberships, team: &str) -> Option<TeamRole> {
    let itself = candidate.role() == Role::Team && candidate.id() == team;
    memberships.role_in(team).max(itself.then_some(TeamRole::Member))
}

fn in_team(candidate: &Candidate, role: Option<TeamRole>, rest: &[&str]) -> Levels {
    let Some(role) = role else {
        return Levels::EMPTY;
    };
    let is_admin = role == TeamRole::Admin;
    let is = |role: Role, id: &str| candidate.role() == role && candidate.id() == id;
    match rest {
        // Running an agent is a right of its own, given by its access list alone.
        ["agents", _, "skills", ..] => Levels::EMPTY,
        ["agents", _, ..] if is_admin => owner(),
        // Of itself an agent may read the definition; what it made is its own (ruling 32).
        ["agents", agent] | ["agents", agent, "versions", ..] if is(Role::Agent, agent) => read(),
        ["agents", agent, ..] if is(Role::Agent, agent) => owner(),
        ["users", user, ..] if is(Role::User, user) => owner(),
        ["agents"] | ["nkv" | "files" | "vectors" | "cache", ..] if !is_admin => {
            Levels::of(&[Level::Read, Level::Write])
        }
        ["audit", ..] if !is_admin => Levels::EMPTY,
        // Whoever is asked sees what they may decide; admins see all of it, and decide no more than others.
        ["approvals"] if is_admin => read(),
        // What is counted is changed by nobody.
        ["quotas" | "usage"] => read(),
        []
        | [
            "secrets" | "members" | "settings" | "revocations" | "apiKeys" | "models" | "budgets"
            | "components",
            ..,
        ] if !is_admin => read(),
        ["agents"]
        | [
            "nkv" | "files" | "vectors" | "cache" | "secrets" | "members" | "settings" | "audit"
            | "revocations" | "apiKeys" | "models" | "budgets" | "components",
            ..,
        ]
        | [] => owner(),
        _ => Levels::EMPTY,
    }
}

fn owner() -> Levels {
    Levels::of(&[Level::Owner])
}

fn read() -> Levels {
    Levels::of(&[Level::Read])
}

#[cfg(test)]
#[path = "scope_tests.rs"]
mod tests;
