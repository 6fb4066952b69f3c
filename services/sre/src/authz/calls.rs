//! The calls, and what each needs.

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use sre_service::Role;

use super::code;
use super::questions::of_agent;
use super::rights::{List, OWNER, READ, WRITE};
use super::things::{Kind, Place};

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    /// Reads the content.
    Read,
    /// Reads what is said about it.
    Look,
    /// Lists what is below, or beside.
    List,
    /// Writes the content, making the thing where there is none.
    Write,
    /// Adds to a number in the cache, or gives an entry another end.
    Count,
    /// Deletes a value of a namespace, a row of a store of vectors, or what was made ready of a piece of code.
    Clear,
    /// Deletes the thing.
    Delete,
    GetList,
    SetList,
    /// Runs a skill.
    Run,
    /// Runs a source once, which is kept nowhere.
    Try,
    /// A method on a place of the team that has no list: its service and level.
    Fixed(Fixed),
}

/// Methods on what belongs to a team by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fixed {
    GetTeam,
    ListMembers,
    ListSettings,
    GetSetting,
    SetSetting,
    SetLimits,
    ListSecrets,
    PutSecret,
    UseSecret,
    DeleteSecret,
    GrantSecret,
    RevokeGrant,
    ListGrants,
    ListApiKeys,
    ListAudit,
    ListAgents,
    ListSpaces,
    ListApprovals,
    ListFileQuotas,
    ListCacheQuotas,
}

const FIXED: &[Fixed] = &[
    Fixed::GetTeam,
    Fixed::ListMembers,
    Fixed::ListSettings,
    Fixed::GetSetting,
    Fixed::SetSetting,
    Fixed::SetLimits,
    Fixed::ListSecrets,
    Fixed::PutSecret,
    Fixed::UseSecret,
    Fixed::DeleteSecret,
    Fixed::GrantSecret,
    Fixed::RevokeGrant,
    Fixed::ListGrants,
    Fixed::ListApiKeys,
    Fixed::ListAudit,
    Fixed::ListAgents,
    Fixed::ListSpaces,
    Fixed::ListApprovals,
    Fixed::ListFileQuotas,
    Fixed::ListCacheQuotas,
];

/// A call.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) op: Op,
    pub(super) place: Option<Place>,
    pub(super) team: String,
    /// For grants: the team that a secret is given to.
    pub(super) other: String,
    /// For [`Op::SetList`].
    pub(super) list: List,
    /// Whether the caller's own team is written `-`.
    pub(super) own: bool,
}

impl Op {
    /// Something that can be done with a thing.
    pub(super) fn of(kind: Kind, rng: &mut StdRng) -> Self {
        let all: &[Self] = match kind {
            Kind::File | Kind::Namespace => {
                &[Self::Read, Self::Look, Self::List, Self::Write, Self::Delete, Self::GetList, Self::SetList]
            }
            Kind::Space => &[
                Self::Read,
                Self::Look,
                Self::List,
                Self::Write,
                Self::Clear,
                Self::Delete,
                Self::GetList,
                Self::SetList,
            ],
            Kind::Entry => {
                &[Self::Read, Self::Write, Self::Count, Self::Delete, Self::GetList, Self::SetList]
            }
            Kind::Agent => &[Self::Read, Self::List, Self::GetList, Self::SetList],
            Kind::Skills => &[Self::Look, Self::GetList, Self::Run],
            Kind::Run => &[Self::Look, Self::List],
            Kind::Code => &[
                Self::Read,
                Self::Look,
                Self::List,
                Self::Write,
                Self::Try,
                Self::Clear,
                Self::GetList,
                Self::SetList,
            ],
            Kind::Approval => &[Self::Look, Self::List, Self::Write],
        };
        let op = all.choose(rng).copied().unwrap_or(Self::Read);
        // A namespace has no description of its own: a value of it is deleted instead.
        if kind == Kind::Namespace && op == Self::Look { Self::Clear } else { op }
    }

    pub(super) fn fixed(rng: &mut StdRng) -> Self {
        Self::Fixed(*FIXED.choose(rng).unwrap_or(&Fixed::GetTeam))
    }

    fn level(self) -> u8 {
        match self {
            Self::Read | Self::Look | Self::List | Self::Run => READ,
            Self::Write | Self::Count | Self::Try | Self::Clear => WRITE,
            Self::Delete | Self::GetList | Self::SetList => OWNER,
            Self::Fixed(fixed) => fixed.level(),
        }
    }
}

impl Fixed {
    fn level(self) -> u8 {
        match self {
            Self::PutSecret | Self::DeleteSecret => WRITE,
            Self::SetSetting | Self::SetLimits | Self::ListAudit | Self::GrantSecret | Self::RevokeGrant => {
                OWNER
            }
            _ => READ,
        }
    }
}

impl Call {
    /// A random call on a thing, or on what a team has by its name.
    pub(super) fn on(place: &Place, list: List, rng: &mut StdRng) -> Self {
        Self {
            op: Op::of(place.kind, rng),
            place: Some(place.clone()),
            team: place.team.clone(),
            other: String::new(),
            list,
            own: rng.random_bool(0.1),
        }
    }

    pub(super) fn at(team: &str, teams: &[String], rng: &mut StdRng) -> Self {
        let own = rng.random_bool(0.1);
        let others: Vec<&String> = teams.iter().filter(|other| *other != team).collect();
        let other = others.choose(rng).map(|other| (*other).clone()).unwrap_or_default();
        Self { op: Op::fixed(rng), place: None, team: team.to_owned(), other, list: List::new(), own }
    }

    /// The level as it needs it: what a file and an entry need to go differs from the rest.
    pub(super) fn level(&self) -> u8 {
        match (self.op, self.place.as_ref().map(|place| place.kind)) {
            // Deleting a file or an entry is writing; a namespace belongs to its owner.
            (Op::Delete, Some(Kind::File | Kind::Entry)) => WRITE,
            (Op::Clear, Some(Kind::Code)) => OWNER,
            (op, _) => op.level(),
        }
    }

    /// The resource that the right is asked on.
    pub(super) fn resource(&self) -> String {
        let team = format!("teams/{}", self.team);
        let below = |what: &str| format!("{team}/{what}");
        match self.op {
            Op::Fixed(fixed) => match fixed {
                Fixed::GetTeam => team,
                Fixed::ListMembers => below("members"),
                Fixed::ListSettings => below("settings"),
                Fixed::GetSetting | Fixed::SetSetting => below("settings/color"),
                Fixed::SetLimits => "deployment".to_owned(),
                Fixed::ListSecrets | Fixed::ListGrants => below("secrets"),
                Fixed::PutSecret
                | Fixed::UseSecret
                | Fixed::DeleteSecret
                | Fixed::GrantSecret
                | Fixed::RevokeGrant => below("secrets/key"),
                Fixed::ListApiKeys => below("apiKeys"),
                Fixed::ListAudit => below("audit"),
                Fixed::ListAgents => below("agents"),
                Fixed::ListSpaces => below("vectors"),
                Fixed::ListApprovals => below("approvals"),
                Fixed::ListFileQuotas | Fixed::ListCacheQuotas => below("quotas"),
            },
            // A folder has no list; what is in it has.
            Op::List if self.kind() == Some(Kind::File) => self.folder(),
            Op::List if self.kind() == Some(Kind::Approval) => {
                format!("{}/approvals", of_agent(&self.name()))
            }
            Op::Try => format!("{}/code", code::agent_of(&self.name())),
            _ => self.name(),
        }
    }

    /// Whether the right is by name although there is a thing with a list.
    pub(super) fn is_by_name(&self) -> bool {
        self.place.is_none() || self.op == Op::Try || (self.op == Op::List && self.kind() == Some(Kind::File))
    }

    pub(super) fn kind(&self) -> Option<Kind> {
        self.place.as_ref().map(|place| place.kind)
    }

    fn name(&self) -> String {
        self.place.as_ref().map(|place| place.name.clone()).unwrap_or_default()
    }

    pub(super) fn folder(&self) -> String {
        let name = self.name();
        name.rsplit_once('/').map(|(folder, _)| folder.to_owned()).unwrap_or_default()
    }

    /// The proto service, for scopes, and the role that serves it.
    pub(super) fn service(&self) -> (&'static str, Role) {
        match (self.op, self.kind()) {
            (Op::Fixed(fixed), _) => match fixed {
                Fixed::ListSecrets
                | Fixed::PutSecret
                | Fixed::UseSecret
                | Fixed::DeleteSecret
                | Fixed::GrantSecret
                | Fixed::RevokeGrant
                | Fixed::ListGrants => ("sre.security.v1.Vault", Role::Security),
                Fixed::ListApiKeys => ("sre.security.v1.ApiKeys", Role::Security),
                Fixed::ListAudit => ("sre.security.v1.Audit", Role::Security),
                Fixed::ListAgents => ("sre.agent.v1.AgentData", Role::Agent),
                Fixed::ListSpaces => ("sre.io.v1.VectorDb", Role::Io),
                Fixed::ListApprovals => ("sre.gateway.v1.Approvals", Role::Engine),
                Fixed::ListFileQuotas => ("sre.io.v1.Quotas", Role::Io),
                Fixed::ListCacheQuotas => ("sre.memory.v1.Quotas", Role::Memory),
                _ => ("sre.security.v1.Account", Role::Security),
            },
            (Op::Run, _) | (_, Some(Kind::Run)) => ("sre.gateway.v1.Runs", Role::Engine),
            (_, Some(Kind::Code)) => ("sre.compute.v1.Code", Role::Compute),
            (_, Some(Kind::Approval)) => ("sre.gateway.v1.Approvals", Role::Engine),
            (_, Some(Kind::Space)) => ("sre.io.v1.VectorDb", Role::Io),
            (_, Some(Kind::File)) => ("sre.io.v1.Storage", Role::Io),
            (_, Some(Kind::Namespace)) => ("sre.io.v1.Nkv", Role::Io),
            (_, Some(Kind::Entry)) => ("sre.memory.v1.Cache", Role::Memory),
            (_, Some(Kind::Agent | Kind::Skills) | None) => ("sre.agent.v1.AgentData", Role::Agent),
        }
    }
}
