//! `sre.security.v1.ManagedVault` over gRPC. Uses and changes are audited before they happen, as the vault's.

use std::time::Duration;

use sre_identity::Caller;
use sre_identity::resource::Pattern;
use sre_proto::security::v1 as pb;
use sre_proto::security::v1::managed_vault_server;
use sre_service::Host;
use tonic::{Request, Response, Status};

use super::ManagedVault;
use super::connectors::{Expected, ManagedInfo, Place};
use crate::error::Error;
use crate::vault::secret::SecretValue;

static SECRET: Pattern = Pattern::new("teams/{team}/agents/{agent}/managedSecrets/{key=**}");
static AGENT: Pattern = Pattern::new("teams/{team}/agents/{agent}");

/// The adapter.
pub struct ManagedVaultService {
    host: Host,
    vault: ManagedVault,
}

impl ManagedVaultService {
    /// Over the domain.
    pub fn new(host: Host, vault: ManagedVault) -> Self {
        Self { host, vault }
    }

    async fn resolved(&self, caller: &Caller, name: &str) -> Result<String, Status> {
        self.host.authorizer().resolve_name(caller, name).await
    }
}

#[tonic::async_trait]
impl managed_vault_server::ManagedVault for ManagedVaultService {
    async fn get_managed_secret(
        &self,
        request: Request<pb::GetManagedSecretRequest>,
    ) -> Result<Response<pb::ManagedSecret>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        request.name = self.resolved(&caller, &request.name).await?;
        self.host.authorizer().check(&caller, &request, None).await?.record_now();
        let (info, value) = self.vault.get(&place(&request.name)?, &request.instance).await?;
        Ok(Response::new(pb::ManagedSecret {
            name: request.name,
            value: value.into_bytes(),
            version: version(&info),
            update_time: Some(info.updated.into()),
            expire_time: info.expires.map(Into::into),
        }))
    }

    async fn check_managed_secret(
        &self,
        request: Request<pb::CheckManagedSecretRequest>,
    ) -> Result<Response<pb::CheckManagedSecretResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        request.name = self.resolved(&caller, &request.name).await?;
        self.host.authorizer().check(&caller, &request, None).await?.record_now();
        let found = self.vault.check(&place(&request.name)?, &request.instance).await?;
        Ok(Response::new(pb::CheckManagedSecretResponse {
            exists: found.is_some(),
            version: found.as_ref().map_or(0, version),
            expire_time: found.and_then(|info| info.expires).map(Into::into),
        }))
    }

    async fn set_managed_secret(
        &self,
        request: Request<pb::SetManagedSecretRequest>,
    ) -> Result<Response<pb::SetManagedSecretResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        let value = SecretValue::new(std::mem::take(&mut request.value).into());
        request.name = self.resolved(&caller, &request.name).await?;
        self.host.authorizer().check(&caller, &request, None).await?.record_now();
        let (place, time) = (place(&request.name)?, time_to_live(request.time_to_live)?);
        let set = self.vault.set(&place, value, time, Expected::Anything, &request.instance);
        Ok(Response::new(written(&set.await?)))
    }

    async fn compare_and_set_managed_secret(
        &self,
        request: Request<pb::CompareAndSetManagedSecretRequest>,
    ) -> Result<Response<pb::SetManagedSecretResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        let value = SecretValue::new(std::mem::take(&mut request.value).into());
        request.name = self.resolved(&caller, &request.name).await?;
        self.host.authorizer().check(&caller, &request, None).await?.record_now();
        let expected = match u64::try_from(request.expected_version) {
            Ok(0) => Expected::Nothing,
            Ok(version) => Expected::Version(version),
            Err(_) => {
                return Err(Error::invalid("expected_version", "is negative: give 0 or a version").into());
            }
        };
        let (place, time) = (place(&request.name)?, time_to_live(request.time_to_live)?);
        let set = self.vault.set(&place, value, time, expected, &request.instance);
        Ok(Response::new(written(&set.await?)))
    }

    async fn delete_managed_secret(
        &self,
        request: Request<pb::DeleteManagedSecretRequest>,
    ) -> Result<Response<()>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        request.name = self.resolved(&caller, &request.name).await?;
        self.host.authorizer().check(&caller, &request, None).await?.record_now();
        self.vault.delete(&place(&request.name)?, &request.instance).await?;
        Ok(Response::new(()))
    }

    async fn purge_managed_secrets(
        &self,
        request: Request<pb::PurgeManagedSecretsRequest>,
    ) -> Result<Response<pb::PurgeManagedSecretsResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        request.parent = self.resolved(&caller, &request.parent).await?;
        self.host.authorizer().check(&caller, &request, None).await?.record_now();
        let parts = AGENT.parse_field("parent", &request.parent)?;
        let gone = self.vault.purge(parts.get("team"), parts.get("agent"), &request.instance).await?;
        let deleted = i64::try_from(gone).unwrap_or(i64::MAX);
        Ok(Response::new(pb::PurgeManagedSecretsResponse { deleted }))
    }
}

fn place(name: &str) -> Result<Place, Status> {
    let parts = SECRET.parse(name)?;
    let part = |variable| parts.get(variable).to_owned();
    Ok(Place { team: part("team"), agent: part("agent"), key: part("key") })
}

fn time_to_live(given: Option<prost_types::Duration>) -> Result<Option<Duration>, Error> {
    let wrong = |_| Error::invalid("time_to_live", "is negative: give how long it lives, or leave it out");
    given.map(Duration::try_from).transpose().map_err(wrong)
}

fn version(info: &ManagedInfo) -> i64 {
    i64::try_from(info.version).unwrap_or(i64::MAX)
}

fn written(info: &ManagedInfo) -> pb::SetManagedSecretResponse {
    pb::SetManagedSecretResponse { version: version(info), expire_time: info.expires.map(Into::into) }
}
