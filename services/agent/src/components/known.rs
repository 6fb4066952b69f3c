//! All component types: those of the suite, and those that are served out of process.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use sre_components::external;
use sre_engine::Types;
use sre_engine::spec::TypeEntry;
use sre_identity::{Candidate, Level, TeamId};

use super::fixed::Fixed;
use super::registered::{Registered, Registrations};
use crate::error::AgentError;

/// All component types. Clones share them.
#[derive(Clone)]
pub struct KnownTypes {
    built: &'static dyn Types,
    /// What teams registered.
    pub registrations: Registrations,
    fixed: Fixed,
}

impl KnownTypes {
    /// The suite's own, what the store has, and what the configuration declares.
    pub fn new(built: &'static dyn Types, registrations: Registrations, fixed: Fixed) -> Self {
        Self { built, registrations, fixed }
    }

    /// The suite's own.
    pub fn built(&self) -> &'static dyn Types {
        self.built
    }

    /// The others that a Candidate of these teams may use, by name. A registration stands before the configuration.
    pub async fn usable(
        &self,
        candidate: &Candidate,
        teams: &[TeamId],
    ) -> Result<BTreeMap<String, Arc<Registered>>, AgentError> {
        let registered = self.registrations.all().await?;
        let all = self.fixed.all().into_iter().chain(registered.iter().cloned());
        let usable = all.filter(|known| known.allows(candidate, teams, Level::Read));
        Ok(usable.map(|known| (known.row.name.clone(), Arc::new(known))).collect())
    }

    /// What documents of a team are checked against. One that cannot be used counts as unknown.
    pub async fn of_team(&self, team: &str) -> Result<TypesOfTeam, AgentError> {
        let mut external = HashMap::new();
        if let (Ok(candidate), Ok(id)) = (Candidate::team(team), TeamId::new(team)) {
            for (name, known) in self.usable(&candidate, &[id]).await? {
                for version in &known.versions {
                    let Ok(declared) = external::declare(&version.description) else { continue };
                    if version.row.version == known.row.default_version {
                        external.insert(name.clone(), declared.entry);
                    }
                    external.insert(format!("{name}@{}", version.row.version), declared.entry);
                }
            }
        }
        Ok(TypesOfTeam { built: self.built, external })
    }
}

/// The types that documents of a team may name.
pub struct TypesOfTeam {
    built: &'static dyn Types,
    external: HashMap<String, TypeEntry>,
}

impl Types for TypesOfTeam {
    fn lookup(&self, type_name: &str) -> Option<&TypeEntry> {
        self.built.lookup(type_name).or_else(|| self.external.get(type_name))
    }

    fn names(&self) -> Vec<&str> {
        let mut names = self.built.names();
        names.extend(self.external.keys().map(String::as_str));
        names.sort_unstable();
        names
    }
}
