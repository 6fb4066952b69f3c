//! `sre.agent.v1`.

use anyhow::ensure;
use sre_proto::agent::v1::*;
use sre_proto::types::v1::{Acl, Level};
use sre_proto::{AccessLevel, method_of};

use super::super::case::{Case, MEMBER, READER, TeamRight};
use super::super::target::Who;
use super::super::world::{WORKER, World, acl, agent_name, candidate};
use crate::harness::agents::{hasher, sleeper};

const NOWHERE: &str = "teams/default/agents/nobody";

pub async fn data(world: &World, method: &str) -> anyhow::Result<Option<Case>> {
    let id = world.agent().await?;
    let name = agent_name(&id);
    Ok(Some(match method {
        "CreateAgent" => create(world, "teams/default"),
        "UpdateAgent" => {
            // Another document, so that there is a new version.
            let document = sleeper(&id, 1).to_string();
            let request = |name: &str| UpdateAgentRequest {
                agent: Some(Agent {
                    name: name.into(),
                    document_json: document.clone().into(),
                    ..Agent::default()
                }),
                ..UpdateAgentRequest::default()
            };
            Case::of(&request(&name)).absent(&request(NOWHERE)).by_list(AccessLevel::Write).stores()
        }
        "GetAgent" => {
            let request = |name: &str| GetAgentRequest { name: name.into(), version: String::new() };
            Case::of(&request(&name)).absent(&request(NOWHERE)).by_list(AccessLevel::Read).answers(
                |agent: Agent| {
                    ensure!(!agent.document_json.is_empty() && agent.skills.len() == 1, "{agent:?}");
                    Ok(())
                },
            )
        }
        "ListAgents" => {
            let aspect = AclAspect::Definition.into();
            let list = Some(acl(&[(MEMBER.to_owned(), Level::Read)]));
            world.dev(SetAgentAclRequest { name, aspect, acl: list }).await?;
            let request = |parent: &str| ListAgentsRequest {
                parent: parent.into(),
                page_size: 1000,
                page_token: String::new(),
            };
            let seen = agent_name(&id);
            Case::of(&request("teams/default"))
                .absent(&request("teams/nowhere"))
                .by_team(TeamRight::Member)
                .answers(move |list: ListAgentsResponse| {
                    ensure!(list.agents.iter().any(|agent| agent.name == seen), "{seen} is not listed");
                    Ok(())
                })
        }
        "DeleteAgent" => {
            let request = |name: &str| DeleteAgentRequest { name: name.into() };
            Case::of(&request(&name)).absent(&request(NOWHERE)).by_list(AccessLevel::Owner).stores()
        }
        "ValidateAgent" => {
            let request = |parent: &str| ValidateAgentRequest {
                parent: parent.into(),
                document_json: hasher("any").to_string().into(),
            };
            Case::of(&request("teams/default"))
                .absent(&request("teams/nowhere"))
                .by_team(TeamRight::Member)
                .answers(|answer: ValidateAgentResponse| {
                    ensure!(answer.skills.len() == 1, "{answer:?}");
                    Ok(())
                })
        }
        "ListVersions" => {
            let request = |parent: &str| ListVersionsRequest {
                parent: parent.into(),
                ..ListVersionsRequest::default()
            };
            Case::of(&request(&name)).absent(&request(NOWHERE)).by_list(AccessLevel::Read).answers(
                |list: ListVersionsResponse| {
                    ensure!(list.versions.len() == 1, "{list:?}");
                    Ok(())
                },
            )
        }
        "DeployVersion" => {
            let request = |name: &str| DeployVersionRequest { name: name.into(), version: String::new() };
            Case::of(&request(&name)).absent(&request(NOWHERE)).by_list(AccessLevel::Write).stores()
        }
        "GetOpenApi" => {
            let request =
                |name: &str| GetOpenApiRequest { name: name.into(), ..GetOpenApiRequest::default() };
            Case::of(&request(&name)).absent(&request(NOWHERE)).by_list(AccessLevel::Read).answers(
                |answer: GetOpenApiResponse| {
                    let document: serde_json::Value = serde_json::from_slice(&answer.document_json)?;
                    ensure!(document.to_string().contains("hash"), "{document}");
                    Ok(())
                },
            )
        }
        "GetProto" => {
            let request = |name: &str| GetProtoRequest { name: name.into(), package: String::new() };
            Case::of(&request(&name)).absent(&request(NOWHERE)).by_list(AccessLevel::Read).answers(
                |answer: GetProtoResponse| {
                    ensure!(answer.proto.contains("proto3") && answer.proto.contains("ash"), "{answer:?}");
                    ensure!(answer.path.ends_with(".proto"), "{answer:?}");
                    Ok(())
                },
            )
        }
        "GetAgentAcl" => {
            let aspect = AclAspect::Definition.into();
            let request = |name: &str| GetAgentAclRequest { name: name.into(), aspect };
            Case::of(&request(&name)).absent(&request(NOWHERE)).by_list(AccessLevel::Owner).answers(
                |list: Acl| {
                    ensure!(list.entries.len() == 5, "{list:?}");
                    Ok(())
                },
            )
        }
        "SetAgentAcl" => {
            let aspect = AclAspect::Skills.into();
            let list = Some(acl(&[(MEMBER.to_owned(), Level::Read)]));
            let request = |name: &str| SetAgentAclRequest { name: name.into(), aspect, acl: list.clone() };
            Case::of(&request(&name)).absent(&request(NOWHERE)).by_list(AccessLevel::Owner).stores()
        }
        "ResolveVersion" => {
            let request = |name: &str| ResolveVersionRequest { name: name.into(), version: String::new() };
            let case = Case::of(&request(&agent_name(WORKER))).absent(&request(NOWHERE));
            internal(world, case, ResolveVersionRequest::default()).answers(
                |answer: ResolveVersionResponse| {
                    ensure!(answer.digest.starts_with("b3:"), "{answer:?}");
                    Ok(())
                },
            )
        }
        "GetVersion" => {
            let get = GetAgentRequest { name: agent_name(WORKER), version: String::new() };
            let worker: Agent = world.ask("user/dev", get).await?;
            let request =
                |name: &str| GetVersionRequest { name: name.into(), version: worker.version.clone() };
            let case = Case::of(&request(&agent_name(WORKER))).absent(&request(NOWHERE));
            internal(world, case, GetVersionRequest::default()).answers(|version: AgentVersion| {
                ensure!(!version.document_json.is_empty(), "{version:?}");
                Ok(())
            })
        }
        "CheckAccess" => {
            let request = CheckAccessRequest {
                name,
                candidate: Some(candidate(READER)),
                level: Level::Read.into(),
                aspect: AclAspect::Skills.into(),
                principal: None,
            };
            Case::of(&request).services("security", "engine").answers(|answer: CheckAccessResponse| {
                ensure!(answer.allowed, "{answer:?}");
                Ok(())
            })
        }
        _ => return Ok(None),
    }))
}

fn create(world: &World, parent: &str) -> Case {
    let id = world.fresh("created");
    let request = |parent: &str| CreateAgentRequest {
        parent: parent.into(),
        agent_id: id.clone(),
        agent: Some(Agent { document_json: hasher(&id).to_string().into(), ..Agent::default() }),
        request_id: String::new(),
    };
    Case::of(&request(parent)).absent(&request("teams/nowhere")).by_team(TeamRight::Member).stores()
}

/// For the agent itself, by the engine that runs it.
pub fn internal<R: sre_proto::Guarded>(world: &World, mut case: Case, _: R) -> Case {
    let row = method_of::<R>();
    let acting =
        |subject: &str| Who::presents("service/engine", world.token(subject, "service/engine", row, |_| {}));
    case.owner = acting("agent/worker");
    case.exact = acting(READER);
    case
}
