//! `sre.memory.v1.Cache`. The cache has no file: its entry is looked at before and after.

use anyhow::ensure;
use sre_proto::AccessLevel;
use sre_proto::memory::v1::*;
use sre_proto::types::v1::{Acl, Level};

use super::super::case::{Case, MEMBER};
use super::super::world::{WORKER, World, acl, agent_name};

pub async fn case(world: &World, method: &str) -> anyhow::Result<Option<Case>> {
    let name = format!("{}/cache/{}", agent_name(WORKER), world.fresh("entry"));
    let absent = format!("{}/cache/absent", agent_name(WORKER));
    world
        .dev(SetEntryRequest {
            name: name.clone(),
            value: "41".into(),
            time_to_live: seconds(1200),
            ..SetEntryRequest::default()
        })
        .await?;
    world.dev(SetEntryAclRequest { name: name.clone(), acl: Some(acl(&[])) }).await?;
    Ok(Some(match method {
        "GetEntry" => {
            let request = |name: &str| GetEntryRequest { name: name.into() };
            Case::of(&request(&name)).absent(&request(&absent)).by_list(AccessLevel::Read).answers(
                |answer: GetEntryResponse| {
                    ensure!(answer.found && answer.value == "41", "{answer:?}");
                    Ok(())
                },
            )
        }
        "SetEntry" => {
            let request = |name: &str| SetEntryRequest {
                name: name.into(),
                value: "new".into(),
                ..SetEntryRequest::default()
            };
            Case::of(&request(&name))
                .absent(&request(&absent))
                .by_list(AccessLevel::Write)
                .entry(&name)
                .stores()
        }
        "DeleteEntry" => {
            let request = |name: &str| DeleteEntryRequest { name: name.into() };
            Case::of(&request(&name))
                .absent(&request(&absent))
                .by_list(AccessLevel::Write)
                .entry(&name)
                .stores()
        }
        "TouchEntry" => {
            let request = |name: &str| TouchEntryRequest { name: name.into(), time_to_live: seconds(3000) };
            Case::of(&request(&name))
                .absent(&request(&absent))
                .by_list(AccessLevel::Write)
                .entry(&name)
                .stores()
        }
        "IncrementEntry" => {
            let name = format!("{name}-number");
            let one = |name: &str| IncrementEntryRequest { name: name.into(), delta: 1, time_to_live: None };
            world.dev(one(&name)).await?;
            world.dev(SetEntryAclRequest { name: name.clone(), acl: Some(acl(&[])) }).await?;
            Case::of(&one(&name))
                .absent(&one(&absent))
                .by_list(AccessLevel::Write)
                .entry(&name)
                .stores()
                .answers(|answer: IncrementEntryResponse| {
                    ensure!(answer.value == 2, "{answer:?}");
                    Ok(())
                })
        }
        "GetEntryAcl" => {
            let request = |name: &str| GetEntryAclRequest { name: name.into() };
            Case::of(&request(&name)).absent(&request(&absent)).by_list(AccessLevel::Owner).answers(
                |list: Acl| {
                    ensure!(list.entries.len() == 4, "{list:?}");
                    Ok(())
                },
            )
        }
        "SetEntryAcl" => {
            let list = Some(acl(&[(MEMBER.to_owned(), Level::Read)]));
            let request = |name: &str| SetEntryAclRequest { name: name.into(), acl: list.clone() };
            Case::of(&request(&name))
                .absent(&request(&absent))
                .by_list(AccessLevel::Owner)
                .entry(&name)
                .stores()
        }
        _ => return Ok(None),
    }))
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}
