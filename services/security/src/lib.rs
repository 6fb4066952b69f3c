//! The security role: who is who, who may act for whom, and what was done.
//!
//! - [`identity`]: the token service
//! - [`oidc`]: OpenID Connect tokens, verified for it
//! - [`account`]: teams, members, settings
//! - [`vault`]: secrets of teams
//! - [`api_keys`]: bearers for the HTTP doors
//! - [`audit`]: the audit log of all services
//!
//! Each has its gRPC adapter in `service.rs`; the domain beside it knows no transport.

pub mod account;
pub mod api_keys;
pub mod audit;
mod connectors;
pub mod error;
mod housekeeping;
pub mod identity;
pub mod moment;
pub mod oidc;
mod page;
pub mod provision;
mod rows;
mod schema;
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
use sre_proto::security::v1::vault_server::VaultServer;
use sre_service::first_start::Identities;
use sre_service::{Host, Role};
use tonic::service::Routes;

pub use connectors::backends;

use account::service::AccountService;
use api_keys::service::ApiKeysService;
use audit::service::AuditService;
use connectors::ConnectorsService;
use identity::agent_access::AgentService;
use identity::certificates::Certificates;
use identity::service::IdentityService;
use identity::{Lifetimes, Sts};
use oidc::Providers;
use state::State;
use vault::Vault;
use vault::connectors::encrypted_file::EncryptedFile;
use vault::service::VaultService;

const VAULT_FILE: &str = "vault.enc";

/// Starts the role: opens its store and vault, makes keys and the first principal where there are none.
pub async fn start(host: Host) -> anyhow::Result<Routes> {
    let config = Arc::clone(host.config());
    anyhow::ensure!(
        config.vault.shared.is_none(),
        "vault.shared is set, and secrets are not shared between teams: remove it and give each team its own"
    );
    let trust_domain = TrustDomain::new(&config.trust_domain)?;
    let (key_file, vault_file) = (config.in_data_dir(&config.vault.key), host.data_dir().join(VAULT_FILE));
    let (kek, secrets) = tokio::task::spawn_blocking(move || -> anyhow::Result<_> {
        let kek = vault::key_file::load_or_create(&key_file, &vault_file)?;
        let secrets = EncryptedFile::open(&vault_file, kek.clone())?;
        Ok((kek, secrets))
    })
    .await??;
    let store = host.store(schema::MIGRATIONS).await?;
    let state = State::open(store, kek, trust_domain.clone()).await.context("security store")?;
    provision::first_start(&host, &state).await.context("first start")?;
    housekeeping::spawn(&host, &state);

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
    let vault = Vault::new(Arc::new(secrets));
    let identity = IdentityService::new(host.clone(), state.clone(), sts, certificates);
    Ok(Routes::new(IdentityServer::new(identity))
        .add_service(AccountServer::new(AccountService::new(host.clone(), state.clone())))
        .add_service(VaultServer::new(VaultService::new(host.clone(), vault)))
        .add_service(ApiKeysServer::new(ApiKeysService::new(host.clone(), state.clone())))
        .add_service(AuditServer::new(AuditService::new(host.clone(), state)))
        .add_service(ConnectorsServer::new(ConnectorsService(host)))
        .prepare())
}
