//! `sre.security.v1.Vault` over gRPC.
//!
//! The vault is not in the role's store, so a use or change is audited before it happens: a call that then
//! fails leaves a record of what was allowed, never the other way round.

use sre_identity::Caller;
use sre_identity::resource::Pattern;
use sre_proto::AccessLevel;
use sre_proto::security::v1 as pb;
use sre_proto::security::v1::vault_server;
use sre_service::Host;
use tonic::{Request, Response, Status};

use super::grants::{self, Grant};
use super::keks::Keks;
use super::rotation::{NewKeys, OldKeys, Rotation};
use super::secret::SecretValue;
use super::{Found, Vault};
use crate::error::Error;
use crate::page::Page;

static SECRET: Pattern = Pattern::new("teams/{team}/secrets/{key=**}");
static TEAM: Pattern = Pattern::new("teams/{team}");

/// The adapter.
pub struct VaultService {
    host: Host,
    vault: Vault,
    rotation: Rotation,
}

impl VaultService {
    /// Over the domain.
    pub fn new(host: Host, vault: Vault, rotation: Rotation) -> Self {
        Self { host, vault, rotation }
    }

    async fn resolved(&self, caller: &Caller, name: &str) -> Result<String, Status> {
        self.host.authorizer().resolve_name(caller, name).await
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
        request.name = self.resolved(&caller, &request.name).await?;
        self.host.authorizer().check(&caller, &request, None).await?.record_now();
        let parts = SECRET.parse(&request.name)?;
        let (team, key) = (parts.get("team"), parts.get("key"));
        let version = version(request.version)?;
        let (found, value) = self.vault.access(team, key, version, &request.instance).await?;
        Ok(Response::new(accessed(team, &found, value)))
    }

    async fn access_secrets(
        &self,
        request: Request<pb::AccessSecretsRequest>,
    ) -> Result<Response<pb::AccessSecretsResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        request.parent = self.resolved(&caller, &request.parent).await?;
        self.host.authorizer().check(&caller, &request, None).await?.record_now();
        let team = TEAM.parse_field("parent", &request.parent)?.get("team");
        let batch = self.vault.access_batch(team, &request.keys, &request.instance).await?;
        let secrets = batch.found.into_iter().map(|(found, value)| accessed(team, &found, value)).collect();
        Ok(Response::new(pb::AccessSecretsResponse { secrets, missing_keys: batch.missing }))
    }

    async fn list_secrets(
        &self,
        request: Request<pb::ListSecretsRequest>,
    ) -> Result<Response<pb::ListSecretsResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        request.parent = self.resolved(&caller, &request.parent).await?;
        self.host.authorizer().check(&caller, &request, None).await?.record_now();
        let team = TEAM.parse_field("parent", &request.parent)?.get("team");
        let page = Page::read(request.page_size, &request.page_token)?;
        let (rows, next_page_token) = self.vault.list(team, page, &request.instance).await?;
        let secrets = rows.iter().map(|row| secret(team, row)).collect();
        Ok(Response::new(pb::ListSecretsResponse { secrets, next_page_token }))
    }

    async fn get_secret(
        &self,
        request: Request<pb::GetSecretRequest>,
    ) -> Result<Response<pb::Secret>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        request.name = self.resolved(&caller, &request.name).await?;
        self.host.authorizer().check(&caller, &request, None).await?.record_now();
        let parts = SECRET.parse(&request.name)?;
        let found = self.vault.stat(parts.get("team"), parts.get("key"), &request.instance).await?;
        Ok(Response::new(secret(parts.get("team"), &found)))
    }

    async fn list_secret_versions(
        &self,
        request: Request<pb::ListSecretVersionsRequest>,
    ) -> Result<Response<pb::ListSecretVersionsResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        request.name = self.resolved(&caller, &request.name).await?;
        self.host.authorizer().check(&caller, &request, None).await?.record_now();
        let parts = SECRET.parse(&request.name)?;
        let page = Page::read(request.page_size, &request.page_token)?;
        let (team, key) = (parts.get("team"), parts.get("key"));
        let (rows, next_page_token) = self.vault.versions(team, key, page, &request.instance).await?;
        let versions = rows
            .into_iter()
            .map(|row| pb::SecretVersion {
                version: signed(row.version),
                create_time: Some(row.updated.into()),
                creator: row.updater,
            })
            .collect();
        Ok(Response::new(pb::ListSecretVersionsResponse { versions, next_page_token }))
    }

    async fn put_secret(
        &self,
        request: Request<pb::PutSecretRequest>,
    ) -> Result<Response<pb::Secret>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        let value = SecretValue::new(std::mem::take(&mut request.value).into());
        let given = request.secret.as_ref().map(|secret| secret.name.as_str()).unwrap_or_default();
        let name = self.resolved(&caller, given).await?;
        request.secret = Some(pb::Secret { name: name.clone(), ..pb::Secret::default() });
        self.host.authorizer().check(&caller, &request, None).await?.record_now();
        let parts = SECRET.parse_field("secret.name", &name)?;
        let (team, key) = (parts.get("team"), parts.get("key"));
        let updater = caller.require_candidate()?.to_string();
        let info = self.vault.put(team, key, value, &updater, &request.instance).await?;
        Ok(Response::new(secret(team, &Found { info, source: team.to_owned() })))
    }

    async fn delete_secret(&self, request: Request<pb::DeleteSecretRequest>) -> Result<Response<()>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        request.name = self.resolved(&caller, &request.name).await?;
        self.host.authorizer().check(&caller, &request, None).await?.record_now();
        let parts = SECRET.parse(&request.name)?;
        self.vault.delete(parts.get("team"), parts.get("key"), &request.instance).await?;
        Ok(Response::new(()))
    }

    async fn grant_secret(
        &self,
        request: Request<pb::GrantSecretRequest>,
    ) -> Result<Response<pb::SecretGrant>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        request.name = self.resolved(&caller, &request.name).await?;
        request.grantee = self.resolved(&caller, &request.grantee).await?;
        let authorizer = self.host.authorizer();
        let granted = authorizer.check(&caller, &request, None).await?;
        let parts = SECRET.parse(&request.name)?;
        let grantee = grantee(&request.grantee)?;
        // Under whose agents it goes is as much a right as whose it is.
        let secrets = format!("teams/{grantee}/secrets");
        let is_theirs =
            grantee != grants::ALL && authorizer.may(&caller, &secrets, AccessLevel::Owner, None).await?;
        if !is_theirs {
            authorizer.check_level(&caller, "deployment", AccessLevel::Owner, None).await?.record_now();
        }
        granted.record_now();
        let creator = caller.require_candidate()?.to_string();
        let grant = self.vault.grant(parts.get("team"), parts.get("key"), grantee, &creator).await?;
        Ok(Response::new(grant_message(&grant)))
    }

    async fn revoke_secret_grant(
        &self,
        request: Request<pb::RevokeSecretGrantRequest>,
    ) -> Result<Response<()>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        request.name = self.resolved(&caller, &request.name).await?;
        request.grantee = self.resolved(&caller, &request.grantee).await?;
        self.host.authorizer().check(&caller, &request, None).await?.record_now();
        let parts = SECRET.parse(&request.name)?;
        self.vault.revoke(parts.get("team"), parts.get("key"), grantee(&request.grantee)?).await?;
        Ok(Response::new(()))
    }

    async fn list_secret_grants(
        &self,
        request: Request<pb::ListSecretGrantsRequest>,
    ) -> Result<Response<pb::ListSecretGrantsResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        request.parent = self.resolved(&caller, &request.parent).await?;
        self.host.authorizer().check(&caller, &request, None).await?.record_now();
        let team = TEAM.parse_field("parent", &request.parent)?.get("team");
        let page = Page::read(request.page_size, &request.page_token)?;
        let (rows, next_page_token) = self.vault.grants(team, page).await?;
        let grants = rows.iter().map(grant_message).collect();
        Ok(Response::new(pb::ListSecretGrantsResponse { grants, next_page_token }))
    }

    async fn rotate_vault_keys(
        &self,
        request: Request<pb::RotateVaultKeysRequest>,
    ) -> Result<Response<pb::RotateVaultKeysResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let request = request.into_inner();
        self.host.authorizer().check(&caller, &request, None).await?.record_now();
        let new = if request.keep_keys { NewKeys::OfFiles } else { NewKeys::Make };
        let old = if request.forget_old_keys { OldKeys::Forget } else { OldKeys::Keep };
        let rotated = self.rotation.rotate(new, old).await?;
        Ok(Response::new(pb::RotateVaultKeysResponse {
            keys: rotated.keks.iter().map(key_message).collect(),
            resealed: signed(rotated.resealed),
        }))
    }
}

fn version(asked: i64) -> Result<Option<u64>, Error> {
    match u64::try_from(asked) {
        Ok(0) => Ok(None),
        Ok(number) => Ok(Some(number)),
        Err(_) => Err(Error::invalid("version", "is negative: give a version of the secret, or 0")),
    }
}

/// `teams/{team}` or `teams/*`; gives what follows.
fn grantee(name: &str) -> Result<&str, Status> {
    match name.strip_prefix("teams/") {
        Some(grants::ALL) => Ok(grants::ALL),
        _ => Ok(TEAM.parse_field("grantee", name)?.get("team")),
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn secret(team: &str, found: &Found) -> pb::Secret {
    pb::Secret {
        name: SECRET.format(&[team, &found.info.key]),
        version: signed(found.info.version),
        update_time: Some(found.info.updated.into()),
        updater: found.info.updater.clone(),
        source: TEAM.format(&[&found.source]),
    }
}

fn accessed(team: &str, found: &Found, value: SecretValue) -> pb::AccessSecretResponse {
    pb::AccessSecretResponse {
        name: SECRET.format(&[team, &found.info.key]),
        value: value.into_bytes(),
        version: signed(found.info.version),
        source: TEAM.format(&[&found.source]),
    }
}

fn grant_message(grant: &Grant) -> pb::SecretGrant {
    pb::SecretGrant {
        name: SECRET.format(&[&grant.owner, &grant.key]),
        grantee: TEAM.format(&[&grant.grantee]),
        create_time: Some(grant.created.into()),
        creator: grant.creator.clone(),
    }
}

fn key_message(keks: &Keks) -> pb::VaultKey {
    pb::VaultKey { name: keks.name(), key_id: keks.primary().id().to_owned(), old_key_ids: keks.old_ids() }
}
