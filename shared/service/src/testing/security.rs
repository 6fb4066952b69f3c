//! A stand-in for the security service: accounts in memory, a key of its own, records kept for looking at.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use sre_identity::{Signer, TrustDomain};
use sre_proto::security::v1 as pb;
use sre_proto::security::v1::account_server::AccountServer;
use sre_proto::security::v1::audit_server::AuditServer;
use sre_proto::security::v1::identity_server::IdentityServer;
use tonic::service::Routes;

use super::must;
use crate::accounts::TeamRole;
use crate::bootstrap::RoleStart;
use crate::role::Role;

/// The stand-in. Its `Exchange` grants what is asked for: the fixed table and the right to invoke are the
/// real service's, and are tested there.
pub struct StandIn {
    pub(super) domain: TrustDomain,
    pub(super) signer: Signer,
    pub(super) accounts: Mutex<BTreeMap<String, Vec<(String, TeamRole)>>>,
    /// Limits by team and name.
    pub(super) limits: Mutex<BTreeMap<String, HashMap<String, u64>>>,
    pub(super) revocations: Mutex<Vec<pb::Revocation>>,
    pub(super) records: Mutex<Vec<pb::AuditRecord>>,
    /// While set, `Audit.WriteRecords` fails.
    pub(super) refuses_records: Mutex<bool>,
    /// How many exchanges were made.
    pub(super) exchanges: Mutex<u64>,
}

impl StandIn {
    pub(super) fn new(domain: &TrustDomain) -> anyhow::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            domain: domain.clone(),
            signer: Signer::generate()?,
            accounts: Mutex::default(),
            limits: Mutex::default(),
            revocations: Mutex::default(),
            records: Mutex::default(),
            refuses_records: Mutex::default(),
            exchanges: Mutex::default(),
        }))
    }

    pub(super) fn role(self: &Arc<Self>) -> RoleStart {
        let this = Arc::clone(self);
        RoleStart::new(Role::Security, move |_| {
            let this = Arc::clone(&this);
            async move {
                Ok(Routes::new(IdentityServer::from_arc(Arc::clone(&this)))
                    .add_service(AccountServer::from_arc(Arc::clone(&this)))
                    .add_service(AuditServer::from_arc(this)))
            }
        })
    }

    /// Makes a principal a member of a team; its first team is its home. Panics where the name is none.
    /// Roles keep memberships for ten seconds: set them before the first call, or forget the principal.
    pub fn set_member(&self, principal: &str, team: &str, role: TeamRole) {
        let candidate: sre_identity::Candidate = must(principal.parse());
        let mut accounts = self.accounts.lock();
        let teams = accounts.entry(candidate.to_string()).or_default();
        teams.retain(|(known, _)| known != team);
        teams.push((team.to_owned(), role));
    }

    /// Sets a limit of a team, as an administrator of the deployment would. Roles see it like memberships.
    pub fn set_limit(&self, team: &str, name: &str, limit: u64) {
        self.limits.lock().entry(team.to_owned()).or_default().insert(name.to_owned(), limit);
    }

    /// Revokes; roles see it at their next refresh of the key set.
    pub fn revoke(&self, target: pb::revocation::Target) {
        let time = Some(std::time::SystemTime::now().into());
        self.revocations.lock().push(pb::Revocation { target: Some(target), time });
    }

    /// Lets `Audit.WriteRecords` fail, or work again.
    pub fn refuse_records(&self, refuse: Refuse) {
        *self.refuses_records.lock() = refuse == Refuse::Yes;
    }

    /// How many exchanges were made.
    pub fn exchanges(&self) -> u64 {
        *self.exchanges.lock()
    }

    /// The audit records that arrived.
    pub fn records(&self) -> Vec<pb::AuditRecord> {
        self.records.lock().clone()
    }

    pub(super) fn principal(&self, candidate: &sre_identity::Candidate) -> pb::Principal {
        let accounts = self.accounts.lock();
        let teams = accounts.get(&candidate.to_string()).cloned();
        let memberships = teams.iter().flatten().map(|(team, role)| pb::Membership {
            team: team.clone(),
            role: match role {
                TeamRole::Member => pb::TeamRole::Member.into(),
                TeamRole::Admin => pb::TeamRole::Admin.into(),
            },
        });
        let memberships: Vec<_> = memberships.collect();
        let home = memberships.first().map(|first| first.team.as_str()).unwrap_or_default();
        pb::Principal {
            candidate: Some(candidate.into()),
            known: teams.is_some(),
            limits: self.limits.lock().get(home).cloned().unwrap_or_default(),
            home_team: home.to_owned(),
            memberships,
            membership_version: 1,
            organization: String::new(),
        }
    }
}

/// Whether the stand-in refuses records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refuse {
    /// It fails.
    Yes,
    /// It works.
    No,
}

impl std::fmt::Debug for StandIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StandIn").finish_non_exhaustive()
    }
}
