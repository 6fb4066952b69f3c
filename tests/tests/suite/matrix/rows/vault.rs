//! `sre.security.v1`: secrets, API keys, the audit log.

use anyhow::ensure;
use sre_proto::security::v1::*;
use sre_service::audit;

use super::super::case::{ADMIN, Case, MEMBER, OWNER, ROOT, TeamRight};
use super::super::world::World;
use crate::harness::{CANARY, CANARY_KEY};

pub async fn secrets(world: &World, method: &str) -> anyhow::Result<Option<Case>> {
    let canary = format!("teams/default/secrets/{CANARY_KEY}");
    let key = world.fresh("secret");
    let name = format!("teams/default/secrets/{key}");
    world.dev(put(&canary, CANARY)).await?;
    world.dev(put(&name, "first value")).await?;
    let absent = "teams/default/secrets/absent";
    Ok(Some(match method {
        "AccessSecret" => {
            let request = |name: &str| AccessSecretRequest { name: name.into(), ..Default::default() };
            Case::of(&request(&canary)).absent(&request(absent)).by_team(TeamRight::Member).answers(
                |secret: AccessSecretResponse| {
                    ensure!(secret.value == CANARY.as_bytes(), "another value");
                    Ok(())
                },
            )
        }
        "AccessSecrets" => {
            let request = |parent: &str| AccessSecretsRequest {
                parent: parent.into(),
                keys: vec![CANARY_KEY.into(), "absent".into()],
                instance: String::new(),
            };
            Case::of(&request("teams/default"))
                .absent(&request("teams/nowhere"))
                .by_team(TeamRight::Member)
                .answers(|answer: AccessSecretsResponse| {
                    ensure!(answer.secrets.len() == 1 && answer.missing_keys == ["absent"], "another answer");
                    Ok(())
                })
        }
        "ListSecrets" => {
            let request = |parent: &str| ListSecretsRequest {
                parent: parent.into(),
                page_size: 1000,
                ..ListSecretsRequest::default()
            };
            Case::of(&request("teams/default"))
                .absent(&request("teams/nowhere"))
                .by_team(TeamRight::Member)
                .answers(move |list: ListSecretsResponse| {
                    ensure!(list.secrets.iter().any(|secret| secret.name == name), "{list:?}");
                    Ok(())
                })
        }
        "PutSecret" => Case::of(&put(&name, "second value"))
            .absent(&put("teams/nowhere/secrets/k", "second value"))
            .by_team(TeamRight::Admin)
            .stores(),
        "DeleteSecret" => {
            let request = |name: &str| DeleteSecretRequest { name: name.into(), ..Default::default() };
            Case::of(&request(&name)).absent(&request(absent)).by_team(TeamRight::Admin).stores()
        }
        "GetSecret" => {
            let request = |name: &str| GetSecretRequest { name: name.into(), ..Default::default() };
            Case::of(&request(&canary)).absent(&request(absent)).by_team(TeamRight::Member).answers(
                |secret: Secret| {
                    ensure!(secret.version > 0 && secret.source == "teams/default", "{secret:?}");
                    Ok(())
                },
            )
        }
        "ListSecretVersions" => {
            let request = |name: &str| ListSecretVersionsRequest { name: name.into(), ..Default::default() };
            Case::of(&request(&canary)).absent(&request(absent)).by_team(TeamRight::Admin).answers(
                |list: ListSecretVersionsResponse| {
                    ensure!(!list.versions.is_empty(), "no version");
                    Ok(())
                },
            )
        }
        "GrantSecret" => {
            // A team of the same admin: whose agents use it is as much a right as whose it is.
            let team = world.fresh("grantee");
            world.dev(CreateTeamRequest { team_id: team.clone(), team: None }).await?;
            world.member(&team, ADMIN, TeamRole::Admin).await?;
            let grantee = format!("teams/{team}");
            let request = |name: &str| GrantSecretRequest { name: name.into(), grantee: grantee.clone() };
            Case::of(&request(&name)).absent(&request(absent)).by_team(TeamRight::Admin).stores()
        }
        "RevokeSecretGrant" => {
            let grantee = "teams/guests".to_owned();
            world.dev(GrantSecretRequest { name: name.clone(), grantee: grantee.clone() }).await?;
            let request =
                |name: &str| RevokeSecretGrantRequest { name: name.into(), grantee: grantee.clone() };
            Case::of(&request(&name)).absent(&request(absent)).by_team(TeamRight::Admin).stores()
        }
        "ListSecretGrants" => {
            world.dev(GrantSecretRequest { name: name.clone(), grantee: "teams/guests".into() }).await?;
            let request = |parent: &str| ListSecretGrantsRequest {
                parent: parent.into(),
                page_size: 1000,
                page_token: String::new(),
            };
            Case::of(&request("teams/default"))
                .absent(&request("teams/nowhere"))
                .by_team(TeamRight::Member)
                .answers(move |list: ListSecretGrantsResponse| {
                    ensure!(list.grants.iter().any(|grant| grant.name == name), "{list:?}");
                    Ok(())
                })
        }
        "RotateVaultKeys" => {
            Case::of(&RotateVaultKeysRequest { forget_old_keys: true, ..Default::default() })
                .exact(ROOT)
                .weaker(&[ADMIN, MEMBER])
                .stores()
                .answers(|answer: RotateVaultKeysResponse| {
                    ensure!(answer.keys.iter().any(|key| key.name == "vault"), "{answer:?}");
                    Ok(())
                })
        }
        _ => return Ok(None),
    }))
}

fn put(name: &str, value: &'static str) -> PutSecretRequest {
    let secret = Secret { name: name.into(), ..Secret::default() };
    PutSecretRequest { secret: Some(secret), value: value.into(), ..Default::default() }
}

pub async fn api_keys(world: &World, method: &str) -> anyhow::Result<Option<Case>> {
    let create =
        |parent: &str| CreateApiKeyRequest { parent: parent.into(), api_key: Some(ApiKey::default()) };
    let made: CreateApiKeyResponse = world.ask(OWNER, create("teams/default")).await?;
    let name = made.api_key.unwrap_or_default().name;
    Ok(Some(match method {
        "CreateApiKey" => Case::of(&create("teams/default"))
            .absent(&create("teams/nowhere"))
            .by_team(TeamRight::Admin)
            .stores()
            .answers(|answer: CreateApiKeyResponse| {
                ensure!(answer.key.starts_with("sre_"), "another form of key");
                Ok(())
            }),
        "ListApiKeys" => {
            let request = |parent: &str| ListApiKeysRequest {
                parent: parent.into(),
                page_size: 1000,
                page_token: String::new(),
            };
            Case::of(&request("teams/default"))
                .absent(&request("teams/nowhere"))
                .by_team(TeamRight::Member)
                .answers(move |list: ListApiKeysResponse| {
                    ensure!(list.api_keys.iter().any(|key| key.name == name), "{list:?}");
                    Ok(())
                })
        }
        "RevokeApiKey" => {
            let request = |name: &str| RevokeApiKeyRequest { name: name.into() };
            Case::of(&request(&name))
                .absent(&request("teams/default/apiKeys/absent"))
                .by_team(TeamRight::Admin)
                .stores()
                .answers(|key: ApiKey| {
                    ensure!(key.revoke_time.is_some(), "{key:?}");
                    Ok(())
                })
        }
        _ => return Ok(None),
    }))
}

pub async fn audit(world: &World, method: &str) -> anyhow::Result<Option<Case>> {
    Ok(Some(match method {
        "WriteRecords" => {
            // A writer of its own begins a chain of its own.
            let mut record = AuditRecord {
                writer: format!("edge/{}", world.fresh("writer")),
                sequence: 1,
                previous_digest: vec![0; 32].into(),
                time: Some(std::time::SystemTime::now().into()),
                method: "/matrix".into(),
                team: "default".into(),
                decision: Decision::Allowed.into(),
                ..AuditRecord::default()
            };
            record.digest = audit::digest(&record).to_vec().into();
            let request = WriteRecordsRequest { records: vec![record] };
            Case::of(&request).services("edge", "edge").answers(|answer: WriteRecordsResponse| {
                ensure!(answer.last_sequence == 1, "{answer:?}");
                Ok(())
            })
        }
        "ListRecords" => {
            let request =
                |parent: &str| ListRecordsRequest { parent: parent.into(), ..ListRecordsRequest::default() };
            Case::of(&request("teams/default"))
                .absent(&request("teams/nowhere"))
                .by_team(TeamRight::Admin)
                .answers(|list: ListRecordsResponse| {
                    ensure!(!list.records.is_empty(), "no records");
                    Ok(())
                })
        }
        // The whole log: no team's admin may, whatever the team.
        "VerifyRecords" => Case::of(&VerifyRecordsRequest::default())
            .exact(ROOT)
            .weaker(&[ADMIN, MEMBER])
            .streams(|parts: Vec<VerifyRecordsResponse>| {
                let findings = parts.iter().flat_map(|part| &part.findings).count();
                let last = parts.last().is_some_and(|part| part.complete && part.records > 0);
                ensure!(last && findings == 0, "{parts:?}");
                Ok(())
            }),
        "ListCheckpoints" => Case::of(&ListCheckpointsRequest::default())
            .exact(ROOT)
            .weaker(&[ADMIN, MEMBER])
            .answers(|list: ListCheckpointsResponse| {
                ensure!(list.checkpoints.iter().all(|one| !one.signature.is_empty()), "{list:?}");
                Ok(())
            }),
        _ => return Ok(None),
    }))
}
