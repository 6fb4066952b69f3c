//! What a team may hold of something, for the services that count it.

use std::collections::BTreeMap;
use std::sync::Arc;

use sre_identity::Candidate;
use tonic::Status;

use super::Limiter;
use crate::config::TeamLimit;

/// How much may be held: things and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// So many things.
    pub items: u64,
    /// So many bytes.
    pub bytes: u64,
}

/// A quota with its name, for listings and refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HolderQuota {
    /// The limit on things.
    pub items: TeamLimit,
    /// The limit on bytes.
    pub bytes: TeamLimit,
}

impl HolderQuota {
    /// A team's files.
    pub const FILES: Self = Self { items: TeamLimit::Files, bytes: TeamLimit::FileBytes };
    /// The files below one agent.
    pub const AGENT_FILES: Self = Self { items: TeamLimit::AgentFiles, bytes: TeamLimit::AgentFileBytes };
    /// A team's values.
    pub const VALUES: Self = Self { items: TeamLimit::Values, bytes: TeamLimit::ValueBytes };
    /// A team's vectors.
    pub const VECTORS: Self = Self { items: TeamLimit::Vectors, bytes: TeamLimit::VectorBytes };
    /// A team's entries of the cache.
    pub const CACHE: Self = Self { items: TeamLimit::CacheEntries, bytes: TeamLimit::CacheBytes };
}

impl Limiter {
    /// How much a team may hold: its setting, else the configuration. At most ten seconds old; asks Account
    /// where it is not known. It says nothing about whether there is such a team.
    pub async fn quota(&self, team: &str, of: HolderQuota) -> Result<Quota, Status> {
        let set = self.set(team).await?;
        let limit = |limit| self.0.config.limits.of_team(team, &set, limit);
        Ok(Quota { items: limit(of.items), bytes: limit(of.bytes) })
    }

    /// Some limits of a team, in order, as old as [`Self::quota`] is.
    pub async fn of_team<const N: usize>(
        &self,
        team: &str,
        limits: [TeamLimit; N],
    ) -> Result<[u64; N], Status> {
        let set = self.set(team).await?;
        Ok(limits.map(|limit| self.0.config.limits.of_team(team, &set, limit)))
    }

    async fn set(&self, team: &str) -> Result<Arc<BTreeMap<String, u64>>, Status> {
        match self.0.set.get(team) {
            Some(set) => Ok(set),
            None => self.look_up_set(team).await,
        }
    }

    async fn look_up_set(&self, team: &str) -> Result<Arc<BTreeMap<String, u64>>, Status> {
        let set = match Candidate::team(team) {
            Ok(candidate) => self.0.accounts.resolve(&candidate).await?.limits.clone(),
            // No team's name: nothing can be stored under it, which others say.
            Err(_) => return Ok(Arc::default()),
        };
        let set = Arc::new(set);
        self.0.set.insert(Arc::from(team), Arc::clone(&set));
        Ok(set)
    }
}
