//! `sre.compute.v1`.

use anyhow::ensure;
use sre_proto::AccessLevel;
use sre_proto::compute::v1::execution_event::Event;
use sre_proto::compute::v1::*;
use sre_proto::types::v1::{Acl, Level};

use super::super::case::{Case, MEMBER, OWNER};
use super::super::world::{WORKER, World, acl, agent_name};

const SOURCE: &str = "async function main() { return 1; }";

pub async fn case(world: &World, method: &str) -> anyhow::Result<Option<Case>> {
    if method == "ExecuteCode" {
        return Ok(Some(once()));
    }
    let code = format!("{}/code/{}", agent_name(WORKER), world.fresh("code"));
    let no_code = "teams/default/agents/nobody/code/none";
    let prepare = |name: &str, source: &str| PrepareCodeRequest {
        name: name.into(),
        source: source.into(),
        ..PrepareCodeRequest::default()
    };
    let revision: CodeRevision = world.ask(OWNER, prepare(&code, SOURCE)).await?;
    let revision = revision.name.rsplit('/').next().unwrap_or_default().to_owned();
    let deploy = |name: &str| DeployCodeRequest {
        name: name.into(),
        revision: revision.clone(),
        ..DeployCodeRequest::default()
    };
    world.dev(SetCodeAclRequest { name: code.clone(), acl: Some(acl(&[])) }).await?;
    let case = match method {
        "PrepareCode" => {
            let other = "async function main() { return 2; }";
            Case::of(&prepare(&code, other))
                .absent(&prepare(no_code, other))
                .by_list(AccessLevel::Write)
                .stores()
        }
        "DeployCode" => {
            Case::of(&deploy(&code)).absent(&deploy(no_code)).by_list(AccessLevel::Write).stores()
        }
        "GetCodeAcl" => {
            let request = |name: &str| GetCodeAclRequest { name: name.into() };
            Case::of(&request(&code)).absent(&request(no_code)).by_list(AccessLevel::Owner).answers(
                |list: Acl| {
                    ensure!(list.entries.len() == 4, "{list:?}");
                    Ok(())
                },
            )
        }
        "SetCodeAcl" => {
            let list = Some(acl(&[(MEMBER.to_owned(), Level::Write)]));
            let request = |name: &str| SetCodeAclRequest { name: name.into(), acl: list.clone() };
            Case::of(&request(&code)).absent(&request(no_code)).by_list(AccessLevel::Owner).stores()
        }
        _ => {
            let deployment: CodeDeployment = world.ask(OWNER, deploy(&code)).await?;
            match deployed(method, &code, no_code, &deployment.name) {
                Some(case) => case,
                None => return Ok(None),
            }
        }
    };
    // The list took the agent's and the team's own rights away.
    Ok(Some(case.weaker(&[MEMBER])))
}

/// What needs a deployment.
fn deployed(method: &str, code: &str, no_code: &str, deployment: &str) -> Option<Case> {
    let absent = format!("{no_code}/deployments/none");
    Some(match method {
        "ExecuteDeployment" => {
            let request = |name: &str| ExecuteDeploymentRequest {
                name: name.into(),
                ..ExecuteDeploymentRequest::default()
            };
            Case::of(&request(deployment)).absent(&request(&absent)).by_list(AccessLevel::Read).answers(
                |event: ExecutionEvent| {
                    let gave = matches!(&event.event, Some(Event::Result(done)) if done.result_json == "1");
                    ensure!(gave, "{event:?}");
                    Ok(())
                },
            )
        }
        "GetDeployment" => {
            let request = |name: &str| GetDeploymentRequest { name: name.into() };
            let wanted = deployment.to_owned();
            Case::of(&request(deployment)).absent(&request(&absent)).by_list(AccessLevel::Read).answers(
                move |found: CodeDeployment| {
                    ensure!(found.name == wanted, "{found:?}");
                    Ok(())
                },
            )
        }
        "ListDeployments" => {
            let request = |parent: &str| ListDeploymentsRequest {
                parent: parent.into(),
                ..ListDeploymentsRequest::default()
            };
            Case::of(&request(code)).absent(&request(no_code)).by_list(AccessLevel::Read).answers(
                |list: ListDeploymentsResponse| {
                    ensure!(list.deployments.len() == 1, "{list:?}");
                    Ok(())
                },
            )
        }
        "DeleteDeployment" => {
            let request = |name: &str| DeleteDeploymentRequest { name: name.into(), ..Default::default() };
            Case::of(&request(deployment)).absent(&request(&absent)).by_list(AccessLevel::Owner).stores()
        }
        _ => return None,
    })
}

fn once() -> Case {
    let request = |parent: &str| ExecuteCodeRequest {
        parent: parent.into(),
        source: SOURCE.into(),
        ..ExecuteCodeRequest::default()
    };
    Case::of(&request(&agent_name(WORKER)))
        .absent(&request("teams/default/agents/nobody"))
        .exact(format!("agent/{WORKER}"))
        .weaker(&[MEMBER])
        .answers(|answer: ExecuteCodeResponse| {
            ensure!(answer.result_json == "1", "{answer:?}");
            Ok(())
        })
}
