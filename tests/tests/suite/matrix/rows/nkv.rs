//! `sre.io.v1.Nkv`.

use anyhow::ensure;
use sre_proto::AccessLevel;
use sre_proto::io::v1::*;
use sre_proto::types::v1::{Acl, Level};

use super::super::case::{Case, MEMBER, TeamRight};
use super::super::world::{World, acl};

pub async fn case(world: &World, method: &str) -> anyhow::Result<Option<Case>> {
    let namespace = format!("teams/default/nkv/{}", world.fresh("space"));
    let name = format!("{namespace}/keys/k");
    // Another team's place, as any that is not there.
    let (no_namespace, absent) = ("teams/default/nkv/absent", "teams/default/nkv/absent/keys/k");
    world.dev(set(&name, "1")).await?;
    world
        .dev(SetNamespaceAclRequest { name: namespace.clone(), acl: Some(acl(&[])), ..Default::default() })
        .await?;
    let case = match method {
        "GetValue" => {
            let request = |name: &str| GetValueRequest { name: name.into(), ..Default::default() };
            Case::of(&request(&name)).absent(&request(absent)).by_list(AccessLevel::Read).answers(
                |value: KeyValue| {
                    ensure!(value.value == "1", "{value:?}");
                    Ok(())
                },
            )
        }
        "ValueExists" => {
            let request = |name: &str| ValueExistsRequest { name: name.into(), ..Default::default() };
            Case::of(&request(&name)).absent(&request(absent)).by_list(AccessLevel::Read).answers(
                |answer: ValueExistsResponse| {
                    ensure!(answer.exists, "{answer:?}");
                    Ok(())
                },
            )
        }
        // The right to list is the team's; what is listed is what one may read.
        "ListNamespaces" => {
            let request = ListNamespacesRequest {
                parent: "teams/default".into(),
                page_size: 1000,
                ..ListNamespacesRequest::default()
            };
            let listed =
                Case::of(&request).by_team(TeamRight::Member).answers(|list: ListNamespacesResponse| {
                    let foreign =
                        list.namespaces.iter().find(|one| !one.name.starts_with("teams/default/nkv/"));
                    ensure!(foreign.is_none(), "{list:?}");
                    Ok(())
                });
            return Ok(Some(listed));
        }
        "SetValue" => {
            Case::of(&set(&name, "2")).absent(&set(absent, "2")).by_list(AccessLevel::Write).stores()
        }
        "DeleteValue" => {
            let request = |name: &str| DeleteValueRequest {
                name: name.into(),
                if_match: String::new(),
                ..Default::default()
            };
            Case::of(&request(&name)).absent(&request(absent)).by_list(AccessLevel::Write).stores()
        }
        "ListValues" => {
            let request =
                |parent: &str| ListValuesRequest { parent: parent.into(), ..ListValuesRequest::default() };
            Case::of(&request(&namespace)).absent(&request(no_namespace)).by_list(AccessLevel::Read).answers(
                |list: ListValuesResponse| {
                    ensure!(list.values.len() == 1, "{list:?}");
                    Ok(())
                },
            )
        }
        "DeleteNamespace" => {
            let request = |name: &str| DeleteNamespaceRequest { name: name.into(), ..Default::default() };
            Case::of(&request(&namespace)).absent(&request(no_namespace)).by_list(AccessLevel::Owner).stores()
        }
        "GetNamespaceAcl" => {
            let request = |name: &str| GetNamespaceAclRequest { name: name.into(), ..Default::default() };
            Case::of(&request(&namespace)).absent(&request(no_namespace)).by_list(AccessLevel::Owner).answers(
                |list: Acl| {
                    ensure!(list.entries.len() == 4, "{list:?}");
                    Ok(())
                },
            )
        }
        "SetNamespaceAcl" => {
            let list = Some(acl(&[(MEMBER.to_owned(), Level::Read)]));
            let request = |name: &str| SetNamespaceAclRequest {
                name: name.into(),
                acl: list.clone(),
                ..Default::default()
            };
            Case::of(&request(&namespace)).absent(&request(no_namespace)).by_list(AccessLevel::Owner).stores()
        }
        _ => return Ok(None),
    };
    // The list took the team's own rights away.
    Ok(Some(case.weaker(&[MEMBER])))
}

fn set(name: &str, value: &'static str) -> SetValueRequest {
    let value = KeyValue { name: name.into(), value: value.into(), ..KeyValue::default() };
    SetValueRequest { value: Some(value), ..SetValueRequest::default() }
}
