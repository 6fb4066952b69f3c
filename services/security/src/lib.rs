//! The security role: who is who, who may act for whom, and what was done.
//!
//! - [`identity`]: the token service
//! - [`oidc`]: OpenID Connect tokens, verified for it
//! - [`account`]: teams, members, settings
//! - [`vault`]: secrets of teams
//! - [`managed_vault`]: secrets that agents obtain while they run
//! - [`api_keys`]: bearers for the HTTP doors
//! - [`audit`]: the audit log of all services
//!
//! Each has its gRPC adapter in `service.rs`; the domain beside it knows no transport.

pub mod account;
pub mod api_keys;
pub mod audit;
#[cfg(feature = "aws")]
pub mod aws;
mod connectors;
pub mod error;
#[cfg(feature = "hashicorp")]
pub mod hashicorp;
mod housekeeping;
pub mod identity;
pub mod managed_vault;
pub mod moment;
pub mod oidc;
mod page;
pub mod provision;
mod rows;
pub mod schema;
pub mod state;
#[cfg(test)]
mod tests;
pub mod vault;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use sre_identity::TrustDomain;
use sre_proto::security::v1::account_server::AccountServer;
use sre_proto::security::v1::api_keys_server::ApiKeysServer;
use sre_proto::security::v1::audit_server::AuditServer;
use sre_proto::security::v1::connectors_server::ConnectorsServer;
use sre_proto::security::v1::identity_server::IdentityServer;
use sre_proto::security::v1::managed_vault_server::ManagedVaultServer;
use sre_proto::security::v1::vault_server::VaultServer;
use sre_service::first_start::Identities;
use sre_service::{Host, Role, Routes};

pub use connectors::backends;

use account::service::AccountService;
use api_keys::service::ApiKeysService;
use audit::service::AuditService;
use connectors::ConnectorsService;
use identity::agent_access::AgentService;
use identity::certificates::Certificates;
use identity::service::IdentityService;
use identity::{Lifetimes, Sts};
use managed_vault::ManagedVault;
use managed_vault::connectors::MANAGED_VAULT;
use managed_vault::service::ManagedVaultService;
use oidc::Providers;
use state::State;
use vault::Vault;
use vault::connectors::{VAULT, encrypted_file};
use vault::rotation::Rotation;
use vault::service::VaultService;

/// Starts the role: opens its store and vault, makes keys and the first principal where there are none.
pub async fn start(host: Host) -> anyhow::Result<Routes> {
    let config = Arc::clone(host.config());
    anyhow::ensure!(
        config.vault.shared.is_none(),
        "vault.shared is set, and no team's secrets are shared as a whole: remove it and grant those that others \
         may use with `sre vault grant`"
    );
    let trust_domain = TrustDomain::new(&config.trust_domain)?;
    let vault_file = host.data_dir().join(encrypted_file::FILE);
    let keks = vault::keys::open(&config, &config.vault.key, Some(&vault_file)).await?;
    let store = host.database(schema::MIGRATIONS).await?;
    let state = State::open(store, keks, trust_domain.clone()).await.context("security store")?;
    let vaults = VAULT.open(&host).await?;
    let managed_vaults = MANAGED_VAULT.open(&host).await?;
    let rotation = Rotation::new(state.clone(), vaults.clone(), managed_vaults.clone());
    let vault = Vault::new(vaults, config.vault.teams.clone(), state.clone())?;
    let managed = ManagedVault::new(managed_vaults);
    state.attach_managed(managed.clone());
    provision::first_start(&host, &state).await.context("first start")?;
    housekeeping::spawn(&host, &state, &managed, &rotation);

    let day = Duration::from_secs(24 * 3600);
    let lifetimes =
        Lifetimes { token: config.security.token_ttl(), grant: day * config.security.resume_grant_days };
    let agents = Arc::new(AgentService(host.link(Role::Agent)));
    let providers = Providers::new(&config.security.issuers)?;
    if !providers.is_empty() {
        host.spawn("oidc-keys", providers.clone().keep_fresh());
    }
    let sts = Sts::new(state.clone(), agents, providers, lifetimes);
    let certificates = Certificates::new(
        Identities::new(&config),
        trust_domain,
        config.certs.dns_names.clone(),
        Duration::from_secs(config.certs.lifetime_seconds),
    );
    let identity = IdentityService::new(host.clone(), state.clone(), sts, certificates);
    Ok(Routes::new(IdentityServer::new(identity))
        .add_service(AccountServer::new(AccountService::new(host.clone(), state.clone())))
        .add_service(VaultServer::new(VaultService::new(host.clone(), vault, rotation)))
        .add_service(ManagedVaultServer::new(ManagedVaultService::new(host.clone(), managed)))
        .add_service(ApiKeysServer::new(ApiKeysService::new(host.clone(), state.clone())))
        .add_service(AuditServer::new(AuditService::new(host.clone(), state)))
        .add_service(ConnectorsServer::new(ConnectorsService(host))))
}
