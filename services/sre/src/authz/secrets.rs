//! One secret of each team, and which teams let which use it.

use std::collections::{BTreeMap, BTreeSet};

use sre_proto::security::v1 as pb;
use sre_proto::security::v1::vault_client::VaultClient;
use sre_service::Link;
use tonic::Status;

use super::calls::Fixed;
use super::make::shown;
use super::rights::{OWNER, Person, READ, by_name};

/// Who lets whom: owner and grantee.
pub(super) type Grants = BTreeSet<(String, String)>;

/// What a team's secret holds.
pub(super) fn mark(team: &str) -> String {
    format!("<<Secret teams/{team}>>")
}

/// The name of a team's secret.
pub(super) fn name(team: &str) -> String {
    format!("teams/{team}/secrets/key")
}

/// Whether somebody may see what a team's secret holds: as a member, or by way of another team.
pub(super) fn may_use(
    person: &Person,
    team: &str,
    grants: &Grants,
    homes: &BTreeMap<String, String>,
) -> bool {
    let of = |team: &str| by_name(person, READ, &name(team), homes);
    of(team) || grants.iter().any(|(owner, grantee)| owner == team && of(grantee))
}

/// Whether somebody may put a secret under a team's agents: who steers it, and who administers the deployment.
pub(super) fn may_give_to(person: &Person, team: &str, homes: &BTreeMap<String, String>) -> bool {
    person.root || by_name(person, OWNER, &format!("teams/{team}/secrets"), homes)
}

/// Makes a call on a team's secret; `team` is as the caller writes it, `owner` and `other` as they are.
pub(super) async fn make(
    fixed: Fixed,
    link: Link,
    team: String,
    owner: &str,
    other: &str,
) -> Result<String, Status> {
    let mut vault = VaultClient::new(link);
    let name = format!("{team}/secrets/key");
    let grantee = format!("teams/{other}");
    Ok(match fixed {
        Fixed::PutSecret => {
            let secret = pb::Secret { name, ..pb::Secret::default() };
            let value = mark(owner).into_bytes().into();
            let request =
                pb::PutSecretRequest { secret: Some(secret), value, ..pb::PutSecretRequest::default() };
            shown(vault.put_secret(request).await?)
        }
        Fixed::UseSecret => {
            let request = pb::AccessSecretRequest { name, ..pb::AccessSecretRequest::default() };
            let value = vault.access_secret(request).await?.into_inner().value;
            String::from_utf8_lossy(&value).into_owned()
        }
        Fixed::DeleteSecret => {
            let request = pb::DeleteSecretRequest { name, ..pb::DeleteSecretRequest::default() };
            shown(vault.delete_secret(request).await?)
        }
        Fixed::GrantSecret => shown(vault.grant_secret(pb::GrantSecretRequest { name, grantee }).await?),
        Fixed::RevokeGrant => {
            shown(vault.revoke_secret_grant(pb::RevokeSecretGrantRequest { name, grantee }).await?)
        }
        Fixed::ListGrants => {
            let request =
                pb::ListSecretGrantsRequest { parent: team, ..pb::ListSecretGrantsRequest::default() };
            shown(vault.list_secret_grants(request).await?)
        }
        _ => {
            let request = pb::ListSecretsRequest { parent: team, ..pb::ListSecretsRequest::default() };
            shown(vault.list_secrets(request).await?)
        }
    })
}
