//! `sre.agent.v1.Components`.

use anyhow::ensure;
use prost::Message as _;
use sre_proto::AccessLevel;
use sre_proto::agent::v1::*;
use sre_proto::component::v1::Description;
use sre_proto::types::v1::{Acl, Level};

use super::super::case::{Case, MEMBER, TeamRight};
use super::super::world::{World, acl};
use super::agent::internal;

const NOWHERE: &str = "teams/default/components/Matrix.Nobody";

pub async fn components(world: &World, method: &str) -> anyhow::Result<Option<Case>> {
    Ok(Some(match method {
        "ListComponents" => {
            Case::of(&ListComponentsRequest::default()).open().answers(|list: ListComponentsResponse| {
                ensure!(list.components.len() >= 20, "{} types", list.components.len());
                Ok(())
            })
        }
        "GetComponent" => {
            let request = GetComponentRequest { name: "components/APICall".into() };
            Case::of(&request).open().answers(|component: Component| {
                ensure!(component.effect() == Effect::Effect && component.encoded_len() > 0, "{component:?}");
                Ok(())
            })
        }
        "RegisterComponent" => {
            let version = version(&type_name(world), "1");
            let request = |parent: &str| RegisterComponentRequest {
                parent: parent.into(),
                version: Some(version.clone()),
            };
            Case::of(&request("teams/default"))
                .absent(&request("teams/nowhere"))
                .by_team(TeamRight::Admin)
                .stores()
        }
        "PutComponentVersion" => {
            let kind = registered(world).await?;
            let request = |name: &str| PutComponentVersionRequest {
                name: name.into(),
                version: Some(version(&kind, "2")),
                make_default: true,
            };
            Case::of(&request(&full(&kind))).absent(&request(NOWHERE)).by_list(AccessLevel::Write).stores()
        }
        "DeleteComponent" => {
            let kind = registered(world).await?;
            let request = |name: &str| DeleteComponentRequest { name: name.into(), version: String::new() };
            Case::of(&request(&full(&kind))).absent(&request(NOWHERE)).by_list(AccessLevel::Owner).stores()
        }
        "GetComponentAcl" => {
            let kind = registered(world).await?;
            let request = |name: &str| GetComponentAclRequest { name: name.into() };
            Case::of(&request(&full(&kind))).absent(&request(NOWHERE)).by_list(AccessLevel::Owner).answers(
                |list: Acl| {
                    ensure!(list.entries.len() == 4, "{list:?}");
                    Ok(())
                },
            )
        }
        "SetComponentAcl" => {
            let kind = registered(world).await?;
            let list = Some(acl(&[(MEMBER.to_owned(), Level::Read)]));
            let request = |name: &str| SetComponentAclRequest { name: name.into(), acl: list.clone() };
            Case::of(&request(&full(&kind))).absent(&request(NOWHERE)).by_list(AccessLevel::Owner).stores()
        }
        "ResolveComponents" => {
            let kind = registered(world).await?;
            let request = ResolveComponentsRequest { types: vec![kind.clone()] };
            // Whom it is shared with gets it, and nobody anything that was not asked for.
            let row = Case::of(&request).answers(move |resolved: ResolveComponentsResponse| {
                let fits = |it: &ResolvedComponent| it.r#type == kind && it.version.is_some();
                ensure!(resolved.components.iter().all(fits), "{resolved:?}");
                Ok(())
            });
            let mut case = internal(world, row, ResolveComponentsRequest::default());
            // Whoever is nobody to the type learns nothing of it, without a refusal.
            case.open = true;
            case
        }
        _ => return Ok(None),
    }))
}

fn type_name(world: &World) -> String {
    world.fresh("Matrix.Type")
}

fn full(kind: &str) -> String {
    format!("teams/default/components/{kind}")
}

fn version(kind: &str, version: &str) -> ComponentVersion {
    ComponentVersion {
        description: Some(Description {
            r#type: kind.into(),
            version: version.into(),
            description: "of the matrix".into(),
            ..Description::default()
        }),
        endpoints: vec!["https://components.invalid:7600".into()],
        identity: "service/matrix-component".into(),
        ..ComponentVersion::default()
    }
}

/// A type whose list gives one user each exactly one level.
async fn registered(world: &World) -> anyhow::Result<String> {
    let kind = type_name(world);
    let version = Some(version(&kind, "1"));
    world.dev(RegisterComponentRequest { parent: "teams/default".into(), version }).await?;
    world.dev(SetComponentAclRequest { name: full(&kind), acl: Some(acl(&[])) }).await?;
    Ok(kind)
}
