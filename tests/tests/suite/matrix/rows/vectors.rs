//! `sre.io.v1.VectorDb`.

use anyhow::ensure;
use sre_proto::AccessLevel;
use sre_proto::io::v1::*;
use sre_proto::types::v1::{Acl, Level};

use super::super::case::{Case, MEMBER, TeamRight};
use super::super::world::{World, acl};

const MODEL: &str = "hash-embedding";

pub async fn case(world: &World, method: &str) -> anyhow::Result<Option<Case>> {
    if method == "CreateVectorNamespace" {
        let request = create(&format!("teams/default/vectors/{}", world.fresh("space")));
        return Ok(Some(Case::of(&request).by_team(TeamRight::Member).stores()));
    }
    let name = format!("teams/default/vectors/{}", world.fresh("space"));
    // Another team's place, as any that is not there.
    let absent = "teams/default/vectors/absent";
    let of = |name: &str| format!("{name}/datasources/d");
    world.dev(create(&name)).await?;
    world.dev(upsert(&name, "r")).await?;
    world.send(&[source(&of(&name), "some text")]).await?;
    world.dev(SetVectorNamespaceAclRequest { name: name.clone(), acl: Some(acl(&[])) }).await?;
    let read = AccessLevel::Read;
    let case = match method {
        "GetVectorNamespace" => {
            let request = |name: &str| GetVectorNamespaceRequest { name: name.into() };
            Case::of(&request(&name)).absent(&request(absent)).by_list(read).answers(
                |found: VectorNamespace| {
                    ensure!(found.row_count == 2 && found.dimension == 384, "{found:?}");
                    Ok(())
                },
            )
        }
        "ListVectorNamespaces" => {
            let parent = "teams/default".into();
            let request = ListVectorNamespacesRequest { parent, ..ListVectorNamespacesRequest::default() };
            let listed = Case::of(&request).by_team(TeamRight::Member).answers(
                |list: ListVectorNamespacesResponse| {
                    let foreign = list.namespaces.iter().find(|one| !one.name.starts_with("teams/default/"));
                    ensure!(foreign.is_none() && !list.namespaces.is_empty(), "{list:?}");
                    Ok(())
                },
            );
            return Ok(Some(listed));
        }
        "DeleteVectorNamespace" => {
            let request = |name: &str| DeleteVectorNamespaceRequest { name: name.into() };
            Case::of(&request(&name)).absent(&request(absent)).by_list(AccessLevel::Owner).stores()
        }
        "GetVectorNamespaceAcl" => {
            let request = |name: &str| GetVectorNamespaceAclRequest { name: name.into() };
            Case::of(&request(&name)).absent(&request(absent)).by_list(AccessLevel::Owner).answers(
                |list: Acl| {
                    ensure!(list.entries.len() == 4, "{list:?}");
                    Ok(())
                },
            )
        }
        "SetVectorNamespaceAcl" => {
            let list = Some(acl(&[(MEMBER.to_owned(), Level::Read)]));
            let request = |name: &str| SetVectorNamespaceAclRequest { name: name.into(), acl: list.clone() };
            Case::of(&request(&name)).absent(&request(absent)).by_list(AccessLevel::Owner).stores()
        }
        "CreateDatasource" => {
            // A token of the matrix covers this service alone, so nothing is embedded: a blank text has no rows.
            let request = |name: &str| source(&of(name), " ");
            Case::of(&request(&name)).absent(&request(absent)).by_list(AccessLevel::Write).stores()
        }
        "GetDatasource" => {
            let request = |name: &str| GetDatasourceRequest { name: of(name) };
            Case::of(&request(&name)).absent(&request(absent)).by_list(read).answers(|found: Datasource| {
                ensure!(found.chunk_count == 1, "{found:?}");
                Ok(())
            })
        }
        "ReadDatasource" => {
            let request = |name: &str| ReadDatasourceRequest { name: of(name) };
            Case::of(&request(&name)).absent(&request(absent)).by_list(read).streams(
                |parts: Vec<ReadDatasourceResponse>| {
                    let text: String = parts.into_iter().map(|part| part.text).collect();
                    ensure!(text == "some text", "{text}");
                    Ok(())
                },
            )
        }
        "ListDatasources" => {
            let request = |parent: &str| ListDatasourcesRequest {
                parent: parent.into(),
                ..ListDatasourcesRequest::default()
            };
            Case::of(&request(&name)).absent(&request(absent)).by_list(read).answers(
                |list: ListDatasourcesResponse| {
                    ensure!(list.datasources.len() == 1, "{list:?}");
                    Ok(())
                },
            )
        }
        "DeleteDatasource" => {
            let request = |name: &str| DeleteDatasourceRequest { name: of(name) };
            Case::of(&request(&name)).absent(&request(absent)).by_list(AccessLevel::Write).stores()
        }
        "UpsertRows" => {
            Case::of(&upsert(&name, "s")).absent(&upsert(absent, "s")).by_list(AccessLevel::Write).stores()
        }
        "DeleteRows" => {
            let request = |parent: &str| DeleteRowsRequest { parent: parent.into(), ids: vec!["r".into()] };
            Case::of(&request(&name)).absent(&request(absent)).by_list(AccessLevel::Write).stores()
        }
        "Search" => {
            let request = |parent: &str| SearchRequest {
                parent: parent.into(),
                query: Some(search_request::Query::Vector(vector())),
                ..SearchRequest::default()
            };
            Case::of(&request(&name)).absent(&request(absent)).by_list(read).answers(
                |answer: SearchResponse| {
                    ensure!(answer.hits.iter().any(|hit| hit.text == "some text"), "{answer:?}");
                    Ok(())
                },
            )
        }
        _ => return Ok(None),
    };
    // The list took the team's own rights away.
    Ok(Some(case.weaker(&[MEMBER])))
}

fn create(name: &str) -> CreateVectorNamespaceRequest {
    let embedding = Some(Embedding { model: MODEL.into(), ..Embedding::default() });
    let name = name.to_owned();
    let namespace = VectorNamespace { name, dimension: 384, embedding, ..VectorNamespace::default() };
    CreateVectorNamespaceRequest { namespace: Some(namespace), acl: None }
}

fn upsert(parent: &str, id: &str) -> UpsertRowsRequest {
    let text = "another thing".into();
    let row = Row { id: id.into(), vector: Some(vector()), text, ..Row::default() };
    UpsertRowsRequest { parent: parent.into(), rows: vec![row] }
}

fn vector() -> Vector {
    Vector { values: vec![0.5; 384] }
}

fn source(name: &str, text: &str) -> CreateDatasourceRequest {
    let header = DatasourceHeader { name: name.into(), text: text.into(), ..DatasourceHeader::default() };
    CreateDatasourceRequest { part: Some(create_datasource_request::Part::Header(header)) }
}
