//! `sre.memory.v1.Cache`. The cache has no file: its entry is looked at before and after.

use anyhow::ensure;
use bytes::Bytes;
use prost::Message as _;
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
            ttl_ms: Some(1_200_000),
            ..SetEntryRequest::default()
        })
        .await?;
    world.dev(SetEntryAclRequest { name: name.clone(), acl: Some(acl(&[])), ..Default::default() }).await?;
    Ok(Some(match method {
        "GetEntry" => {
            let request = |name: &str| GetEntryRequest { name: name.into(), ..Default::default() };
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
        "GetEntryInfo" => {
            let request = |name: &str| GetEntryInfoRequest { name: name.into(), ..Default::default() };
            Case::of(&request(&name)).absent(&request(&absent)).by_list(AccessLevel::Read).answers(
                |answer: GetEntryInfoResponse| {
                    ensure!(answer.found && answer.size_bytes == 2, "{answer:?}");
                    Ok(())
                },
            )
        }
        "ReadEntry" => {
            let request = |name: &str| ReadEntryRequest { name: name.into(), ..Default::default() };
            Case::of(&request(&name)).absent(&request(&absent)).by_list(AccessLevel::Read).streams(
                |parts: Vec<ReadEntryResponse>| {
                    let data = read_entry_response::Part::Data("41".into());
                    ensure!(parts.last().is_some_and(|part| part.part == Some(data)), "{parts:?}");
                    Ok(())
                },
            )
        }
        // It reads and writes: who may only one of them may not.
        "TakeEntry" => {
            let request = |name: &str| TakeEntryRequest { name: name.into(), ..Default::default() };
            Case::of(&request(&name))
                .absent(&request(&absent))
                .by_list(AccessLevel::Owner)
                .entry(&name)
                .stores()
                .answers(|answer: TakeEntryResponse| {
                    ensure!(answer.found && answer.value == "41", "{answer:?}");
                    Ok(())
                })
        }
        "WriteEntry" => {
            let parts = |name: &str| {
                let header = SetEntryRequest { name: name.into(), ..SetEntryRequest::default() };
                let header = write_entry_request::Part::Header(header);
                [header, write_entry_request::Part::Data("new".into())]
                    .map(|part| Bytes::from(WriteEntryRequest { part: Some(part) }.encode_to_vec()))
                    .to_vec()
            };
            let mut case = Case::stream(parts(&name)).by_list(AccessLevel::Write).entry(&name).stores();
            case.absent = parts(&absent);
            case
        }
        "UpdateEntryMetadata" => {
            let request = |name: &str| UpdateEntryMetadataRequest {
                name: name.into(),
                set: [("color".to_owned(), "red".to_owned())].into(),
                ..Default::default()
            };
            Case::of(&request(&name))
                .absent(&request(&absent))
                .by_list(AccessLevel::Write)
                .entry(&name)
                .stores()
        }
        "DeleteEntry" => {
            let request = |name: &str| DeleteEntryRequest { name: name.into(), ..Default::default() };
            Case::of(&request(&name))
                .absent(&request(&absent))
                .by_list(AccessLevel::Write)
                .entry(&name)
                .stores()
        }
        "TouchEntry" => {
            let request = |name: &str| TouchEntryRequest {
                name: name.into(),
                ttl_ms: Some(3_000_000),
                ..Default::default()
            };
            Case::of(&request(&name))
                .absent(&request(&absent))
                .by_list(AccessLevel::Write)
                .entry(&name)
                .stores()
        }
        "IncrementEntry" => {
            let name = format!("{name}-number");
            let one =
                |name: &str| IncrementEntryRequest { name: name.into(), delta: 1, ..Default::default() };
            world.dev(one(&name)).await?;
            world
                .dev(SetEntryAclRequest { name: name.clone(), acl: Some(acl(&[])), ..Default::default() })
                .await?;
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
            let request = |name: &str| GetEntryAclRequest { name: name.into(), ..Default::default() };
            Case::of(&request(&name)).absent(&request(&absent)).by_list(AccessLevel::Owner).answers(
                |list: Acl| {
                    ensure!(list.entries.len() == 4, "{list:?}");
                    Ok(())
                },
            )
        }
        "SetEntryAcl" => {
            let list = Some(acl(&[(MEMBER.to_owned(), Level::Read)]));
            let request = |name: &str| SetEntryAclRequest {
                name: name.into(),
                acl: list.clone(),
                ..Default::default()
            };
            Case::of(&request(&name))
                .absent(&request(&absent))
                .by_list(AccessLevel::Owner)
                .entry(&name)
                .stores()
        }
        _ => return Ok(None),
    }))
}
