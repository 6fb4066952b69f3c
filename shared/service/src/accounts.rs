//! Memberships of principals, as the Account service has them; kept for seconds.

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use sre_identity::Candidate;
use sre_identity::scope::DeploymentRole;
use sre_proto::security::v1::ResolvePrincipalRequest;
use sre_proto::security::v1::account_client::AccountClient;
use tonic::Status;

use crate::link::Link;
use crate::server::errors;

pub use sre_identity::scope::{Memberships, TeamRole};

const MAX_CACHED: u64 = 50_000;

/// Looks up memberships. Clones share the cache.
#[derive(Clone)]
pub struct Accounts {
    security: Link,
    deployment_admins: Arc<[Candidate]>,
    cache: Cache<Candidate, Arc<Memberships>>,
}

enum Miss {
    /// Not kept: a principal that is made now must be known at once.
    Unknown(Arc<Memberships>),
    Failed(Status),
}

impl Accounts {
    /// Answers are kept for `keep`. With the exchange's own checks this keeps revocation well under 30 s.
    pub(crate) fn new(security: Link, deployment_admins: &[String], keep: Duration) -> Self {
        Self {
            security,
            // Checked with the configuration.
            deployment_admins: deployment_admins.iter().filter_map(|admin| admin.parse().ok()).collect(),
            cache: Cache::builder().max_capacity(MAX_CACHED).time_to_live(keep).build(),
        }
    }

    /// The memberships of a principal, at most `deadlines.membership_ms` old. An unknown one has none. Fails closed where
    /// the Account service cannot be reached.
    pub async fn resolve(&self, candidate: &Candidate) -> Result<Arc<Memberships>, Status> {
        if let Some(known) = self.cache.get(candidate).await {
            return Ok(known);
        }
        let looked_up = self.cache.try_get_with(candidate.clone(), self.look_up(candidate.clone())).await;
        match looked_up {
            Ok(known) => Ok(known),
            Err(miss) => match &*miss {
                Miss::Unknown(none) => Ok(Arc::clone(none)),
                Miss::Failed(status) => Err(status.clone()),
            },
        }
    }

    /// Forgets a principal, after its memberships were changed by this role.
    pub async fn forget(&self, candidate: &Candidate) {
        self.cache.invalidate(candidate).await;
    }

    async fn look_up(&self, candidate: Candidate) -> Result<Arc<Memberships>, Miss> {
        let request = ResolvePrincipalRequest { candidate: Some((&candidate).into()) };
        let answer = AccountClient::new(self.security.clone()).resolve_principal(request).await;
        let principal = answer.map_err(Miss::Failed)?.into_inner();
        let mut memberships = Memberships::try_from(&principal).map_err(|error| {
            Miss::Failed(errors::internal(&format!("account answered a malformed team: {error}")))
        })?;
        if self.administers_deployment(&candidate, &memberships) {
            memberships.deployment = DeploymentRole::Admin;
        }
        let memberships = Arc::new(memberships);
        if principal.known { Ok(memberships) } else { Err(Miss::Unknown(memberships)) }
    }

    /// Named itself, or an administrator of a named team.
    fn administers_deployment(&self, candidate: &Candidate, memberships: &Memberships) -> bool {
        self.deployment_admins.iter().any(|admin| {
            admin == candidate
                || (admin.role() == sre_identity::Role::Team
                    && memberships.role_in(admin.id()) == Some(TeamRole::Admin))
        })
    }
}

impl std::fmt::Debug for Accounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Accounts").field("cached", &self.cache.entry_count()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use crate::accounts::TeamRole;
    use crate::testing::TestSuite;
    use crate::{Host, Role};
    use sre_identity::Candidate;
    use sre_identity::scope::DeploymentRole;

    async fn suite() -> TestSuite {
        let routes = |_: Host| async { Ok(tonic::service::Routes::default()) };
        let builder = TestSuite::builder().role(Role::Io, routes).member("user/ann", "red", TeamRole::Member);
        builder.build().await.unwrap()
    }

    #[tokio::test]
    async fn the_unknown_have_nothing_and_are_asked_for_again() {
        let suite = suite().await;
        let accounts = suite.host(Role::Io).accounts();
        let eve = Candidate::user("eve").unwrap();
        assert!(accounts.resolve(&eve).await.unwrap().home.is_none());
        suite.stand_in().set_member("user/eve", "blue", TeamRole::Member);
        assert_eq!(accounts.resolve(&eve).await.unwrap().home.as_ref().unwrap().as_str(), "blue");
        // The known are kept for a while.
        suite.stand_in().set_member("user/eve", "red", TeamRole::Member);
        assert_eq!(accounts.resolve(&eve).await.unwrap().teams.len(), 1);
        accounts.forget(&eve).await;
        assert_eq!(accounts.resolve(&eve).await.unwrap().teams.len(), 2);
    }

    #[tokio::test]
    async fn the_configuration_names_who_administers_the_deployment() {
        let suite = suite().await;
        let accounts = suite.host(Role::Io).accounts();
        let of =
            async |name: &str| accounts.resolve(&Candidate::user(name).unwrap()).await.unwrap().deployment;
        assert_eq!(of("dev").await, DeploymentRole::Admin);
        assert_eq!(of("ann").await, DeploymentRole::None);
    }
}
