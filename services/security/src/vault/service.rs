//! `sre.security.v1.Vault` over gRPC.
//!
//! The vault is not in the role's store, so a use or change is audited before it happens: a call that then
//! fails leaves a record of what was allowed, never the other way round.

use sre_identity::Caller;
use sre_identity::resource::Pattern;
use sre_proto::security::v1 as pb;
use sre_proto::security::v1::vault_server;
use sre_service::Host;
use tonic::{Request, Response, Status};

use super::Vault;
use super::connectors::SecretInfo;
use super::secret::SecretValue;
use crate::moment::Moment;
use crate::page::Page;

static SECRET: Pattern = Pattern::new("teams/{team}/secrets/{key=**}");
static TEAM: Pattern = Pattern::new("teams/{team}");

/// The adapter.
pub struct VaultService {
    host: Host,
    vault: Vault,
}

impl VaultService {
    /// Over the domain.
    pub fn new(host: Host, vault: Vault) -> Self {
        Self { host, vault }
    }
}

#[tonic::async_trait]
impl vault_server::Vault for VaultService {
    async fn access_secret(
        &self,
        request: Request<pb::AccessSecretRequest>,
    ) -> Result<Response<pb::AccessSecretResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        request.name = self.host.authorizer().resolve_name(&caller, &request.name).await?;
        let granted = self.host.authorizer().check(&caller, &request, None).await?;
        granted.record_now();
        let parts = SECRET.parse(&request.name)?;
        let (info, value) = self.vault.access(parts.get("team"), parts.get("key")).await?;
        Ok(Response::new(accessed(parts.get("team"), &info, value)))
    }

    async fn access_secrets(
        &self,
        request: Request<pb::AccessSecretsRequest>,
    ) -> Result<Response<pb::AccessSecretsResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        request.parent = self.host.authorizer().resolve_name(&caller, &request.parent).await?;
        let granted = self.host.authorizer().check(&caller, &request, None).await?;
        granted.record_now();
        let team = TEAM.parse_field("parent", &request.parent)?.get("team");
        let batch = self.vault.access_batch(team, &request.keys).await?;
        let secrets = batch.found.into_iter().map(|(info, value)| accessed(team, &info, value)).collect();
        Ok(Response::new(pb::AccessSecretsResponse { secrets, missing_keys: batch.missing }))
    }

    async fn list_secrets(
        &self,
        request: Request<pb::ListSecretsRequest>,
    ) -> Result<Response<pb::ListSecretsResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        request.parent = self.host.authorizer().resolve_name(&caller, &request.parent).await?;
        self.host.authorizer().check(&caller, &request, None).await?.record_now();
        let team = TEAM.parse_field("parent", &request.parent)?.get("team");
        let page = Page::read(request.page_size, &request.page_token)?;
        let (rows, next_page_token) = self.vault.list(team, page).await?;
        let secrets = rows.iter().map(|row| secret(team, row)).collect();
        Ok(Response::new(pb::ListSecretsResponse { secrets, next_page_token }))
    }

    async fn put_secret(
        &self,
        request: Request<pb::PutSecretRequest>,
    ) -> Result<Response<pb::Secret>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        let value = SecretValue::new(std::mem::take(&mut request.value).into());
        let given = request.secret.as_ref().map(|secret| secret.name.as_str()).unwrap_or_default();
        let name = self.host.authorizer().resolve_name(&caller, given).await?;
        request.secret = Some(pb::Secret { name: name.clone(), ..pb::Secret::default() });
        let granted = self.host.authorizer().check(&caller, &request, None).await?;
        granted.record_now();
        let parts = SECRET.parse_field("secret.name", &name)?;
        let updater = caller.require_candidate()?.to_string();
        let info =
            self.vault.put(parts.get("team"), parts.get("key"), value, &updater, Moment::now()).await?;
        Ok(Response::new(secret(parts.get("team"), &info)))
    }

    async fn delete_secret(&self, request: Request<pb::DeleteSecretRequest>) -> Result<Response<()>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        request.name = self.host.authorizer().resolve_name(&caller, &request.name).await?;
        let granted = self.host.authorizer().check(&caller, &request, None).await?;
        granted.record_now();
        let parts = SECRET.parse(&request.name)?;
        self.vault.delete(parts.get("team"), parts.get("key")).await?;
        Ok(Response::new(()))
    }
}

fn secret(team: &str, info: &SecretInfo) -> pb::Secret {
    pb::Secret {
        name: SECRET.format(&[team, &info.key]),
        version: i64::try_from(info.version).unwrap_or(i64::MAX),
        update_time: Some(info.updated.into()),
        updater: info.updater.clone(),
    }
}

fn accessed(team: &str, info: &SecretInfo, value: SecretValue) -> pb::AccessSecretResponse {
    pb::AccessSecretResponse {
        name: SECRET.format(&[team, &info.key]),
        value: value.into_bytes(),
        version: i64::try_from(info.version).unwrap_or(i64::MAX),
    }
}
