//! The role through its links: real layer, real tokens, real stores.

mod account;
mod agents;
mod certificates;
mod exchange;
mod grants;
mod keys;
mod managed_vault;
mod oidc;
mod vault;

use std::future::Future;
use std::time::Duration;

use agents::Agents;
use sre_proto::error::{Reason, reason};
use sre_proto::security::v1 as pb;
use sre_proto::security::v1::account_client::AccountClient;
use sre_proto::security::v1::api_keys_client::ApiKeysClient;
use sre_proto::security::v1::audit_client::AuditClient;
use sre_proto::security::v1::exchange_request::Proof;
use sre_proto::security::v1::identity_client::IdentityClient;
use sre_proto::security::v1::managed_vault_client::ManagedVaultClient;
use sre_proto::security::v1::vault_client::VaultClient;
use sre_proto::types::v1::{Candidate, Role as CandidateRole};
use sre_service::testing::TestSuite;
use sre_service::{Link, Role};
use tonic::{Code, Status};

pub const RUN: &str = "sre.gateway.v1.Runs:read";
pub const USE_KEY: &str = "sre.security.v1.Vault:read";
pub const INFER: &str = "sre.llm.v1.Inference:read";
pub const GREETER: &str = "teams/default/agents/greeter";

/// The role with a stand-in for the agent service. `user/dev` administers `default`; `agent/greeter` is of it,
/// and `user/dev` may invoke it.
pub struct Fixture {
    pub suite: TestSuite,
    pub agents: Agents,
}

impl Fixture {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// With another configuration.
    pub async fn with(change: impl FnOnce(&mut sre_service::Config)) -> Self {
        let agents = Agents::default();
        let routes = agents.clone();
        let suite = TestSuite::builder()
            .role(Role::Security, crate::start)
            .role(Role::Agent, move |_| {
                let routes = routes.routes();
                async move { Ok(routes) }
            })
            .config(change)
            .build()
            .await
            .unwrap();
        let fixture = Self { suite, agents };
        fixture.register("greeter", "default").await.unwrap();
        fixture.agents.allow("user/dev", GREETER);
        fixture
    }

    pub fn link(&self, principal: &str) -> Link {
        self.suite.link_as(principal, Role::Security)
    }

    pub fn identity(&self, principal: &str) -> IdentityClient<Link> {
        IdentityClient::new(self.link(principal))
    }

    pub fn account(&self, principal: &str) -> AccountClient<Link> {
        AccountClient::new(self.link(principal))
    }

    /// Teams and settings, for a service that acts by a token.
    pub fn account_with(&self, principal: &str, token: &str) -> AccountClient<Link> {
        AccountClient::new(self.link(principal).with_jwt(token))
    }

    pub fn api_keys(&self, principal: &str) -> ApiKeysClient<Link> {
        ApiKeysClient::new(self.link(principal))
    }

    pub fn audit(&self, principal: &str) -> AuditClient<Link> {
        AuditClient::new(self.link(principal))
    }

    pub fn vault(&self, principal: &str) -> VaultClient<Link> {
        VaultClient::new(self.link(principal))
    }

    pub fn managed(&self, principal: &str) -> ManagedVaultClient<Link> {
        ManagedVaultClient::new(self.link(principal))
    }

    /// The vault, for a service that acts by a token.
    pub fn vault_with(&self, principal: &str, token: &str) -> VaultClient<Link> {
        VaultClient::new(self.link(principal).with_jwt(token))
    }

    pub async fn register(&self, agent: &str, team: &str) -> Result<pb::Principal, Status> {
        let request = pb::RegisterAgentRequest { agent: agent.into(), team: team.into() };
        Ok(self.account("service/agent").register_agent(request).await?.into_inner())
    }

    /// A second team with an admin of its own.
    pub async fn team(&self, id: &str, admin: &str) {
        let request = pb::CreateTeamRequest { team_id: id.into(), team: None };
        self.account("user/dev").create_team(request).await.unwrap();
        self.member(id, admin, pb::TeamRole::Admin).await.unwrap();
    }

    pub async fn member(&self, team: &str, user: &str, role: pb::TeamRole) -> Result<pb::Member, Status> {
        let member = pb::Member { candidate: Some(user_message(user)), role: role.into(), home: false };
        let request = pb::SetMemberRequest { parent: format!("teams/{team}"), member: Some(member) };
        Ok(self.account("user/dev").set_member(request).await?.into_inner())
    }

    pub async fn exchange(
        &self,
        service: &str,
        request: pb::ExchangeRequest,
    ) -> Result<pb::ExchangeResponse, Status> {
        Ok(self.identity(&format!("service/{service}")).exchange(request).await?.into_inner())
    }

    /// What the edge gets for a run that `user/<user>` starts.
    pub async fn run(&self, user: &str, agent: &str) -> Result<pb::ExchangeResponse, Status> {
        let asked = ask(peer(&format!("user/{user}")), pb::Purpose::Run, agent, &["engine"], &[RUN]);
        self.exchange("edge", asked).await
    }

    /// What a service gets for the next hop.
    pub async fn hop(
        &self,
        service: &str,
        token: &str,
        to: &str,
        scope: &str,
    ) -> Result<pb::ExchangeResponse, Status> {
        let asked = ask(Proof::Token(token.into()), pb::Purpose::NextHop, "", &[to], &[scope]);
        self.exchange(service, asked).await
    }
}

pub fn peer(principal: &str) -> Proof {
    Proof::Peer(pb::AttestedPeer { spiffe_id: format!("spiffe://sre.local/{principal}") })
}

pub fn ask(
    proof: Proof,
    purpose: pb::Purpose,
    agent: &str,
    audience: &[&str],
    scopes: &[&str],
) -> pb::ExchangeRequest {
    pb::ExchangeRequest {
        proof: Some(proof),
        purpose: purpose.into(),
        agent: agent.into(),
        audience: audience.iter().map(|&role| role.to_owned()).collect(),
        scopes: scopes.iter().map(|&scope| scope.to_owned()).collect(),
        want_resume_grant: false,
        resume_grant_time_to_live: None,
        presenter: String::new(),
        runs: Vec::new(),
    }
}

pub fn user_message(id: &str) -> Candidate {
    Candidate { role: CandidateRole::User.into(), id: id.into() }
}

/// The code and reason of a refusal.
pub fn refusal<T: std::fmt::Debug>(result: Result<T, Status>) -> (Code, Reason) {
    let status = result.unwrap_err();
    (status.code(), reason(&status).unwrap_or_default())
}

/// Asks until the answer is there: shipping of records is asynchronous.
pub async fn eventually<T, F, Fut>(mut look: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let found = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), found).await.expect("it never came")
}
