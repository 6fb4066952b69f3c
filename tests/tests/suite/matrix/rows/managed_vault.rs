//! `sre.security.v1.ManagedVault`.

use anyhow::ensure;
use sre_proto::security::v1::*;

use super::super::case::{Case, TeamRight};
use super::super::world::{World, agent_name};

pub async fn case(world: &World, method: &str) -> anyhow::Result<Option<Case>> {
    let agent = agent_name(&world.agent().await?);
    let name = format!("{agent}/managedSecrets/token");
    let absent = format!("{agent}/managedSecrets/absent");
    world.dev(set(&name, "first value")).await?;
    Ok(Some(match method {
        "GetManagedSecret" => {
            let request = |name: &str| GetManagedSecretRequest { name: name.into(), ..Default::default() };
            Case::of(&request(&name)).absent(&request(&absent)).by_team(TeamRight::Admin).answers(
                |secret: ManagedSecret| {
                    ensure!(secret.value == "first value", "another value");
                    Ok(())
                },
            )
        }
        "CheckManagedSecret" => {
            let request = |name: &str| CheckManagedSecretRequest { name: name.into(), ..Default::default() };
            // One that is not there is an answer, not an error.
            Case::of(&request(&name)).by_team(TeamRight::Admin).answers(
                |answer: CheckManagedSecretResponse| {
                    ensure!(answer.exists && answer.version > 0, "{answer:?}");
                    Ok(())
                },
            )
        }
        "SetManagedSecret" => Case::of(&set(&name, "second value"))
            .absent(&set("teams/nowhere/agents/nobody/managedSecrets/k", "second value"))
            .by_team(TeamRight::Admin)
            .stores(),
        "CompareAndSetManagedSecret" => {
            // Of a secret that is not there: the same request may be made again on another key only.
            let request = |name: &str| CompareAndSetManagedSecretRequest {
                name: name.into(),
                value: "value".into(),
                ..Default::default()
            };
            Case::of(&request(&format!("{agent}/managedSecrets/fresh")))
                .absent(&request("teams/nowhere/agents/nobody/managedSecrets/k"))
                .by_team(TeamRight::Admin)
                .stores()
        }
        "DeleteManagedSecret" => {
            let request = |name: &str| DeleteManagedSecretRequest { name: name.into(), ..Default::default() };
            Case::of(&request(&name)).absent(&request(&absent)).by_team(TeamRight::Admin).stores()
        }
        "PurgeManagedSecrets" => {
            let request = PurgeManagedSecretsRequest { parent: agent.clone(), ..Default::default() };
            Case::of(&request).by_team(TeamRight::Admin).stores()
        }
        _ => return Ok(None),
    }))
}

fn set(name: &str, value: &'static str) -> SetManagedSecretRequest {
    SetManagedSecretRequest { name: name.into(), value: value.into(), ..Default::default() }
}
