//! Calls on code. A piece of code is an agent's; what it returns is its mark, so that whoever runs it has read it.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};
use sre_proto::compute::v1 as compute;
use sre_proto::compute::v1::code_client::CodeClient;
use sre_proto::compute::v1::execution_event::Event;
use sre_service::Link;
use tonic::Status;

use super::calls::Op;
use super::make::shown;
use super::things::{Place, mark};

/// Makes a call on a piece of code; gives what it answers as text. Replacing its list is not among these.
pub(super) async fn make(op: Op, link: Link, place: &Place, name: String) -> Result<String, Status> {
    let mut code = CodeClient::new(link);
    let deployment = format!("{name}/deployments/{}", &revision(place)[..16]);
    Ok(match op {
        Op::Read => {
            let request = compute::ExecuteDeploymentRequest {
                name: deployment,
                ..compute::ExecuteDeploymentRequest::default()
            };
            let mut events = code.execute_deployment(request).await?.into_inner();
            let mut said = String::new();
            while let Some(event) = events.message().await? {
                if let Some(Event::Result(result)) = event.event {
                    said.push_str(&String::from_utf8_lossy(&result.result_json));
                }
            }
            said
        }
        Op::Look => shown(code.get_deployment(compute::GetDeploymentRequest { name: deployment }).await?),
        Op::List => {
            let request = compute::ListDeploymentsRequest {
                parent: name,
                ..compute::ListDeploymentsRequest::default()
            };
            shown(code.list_deployments(request).await?)
        }
        Op::Write => {
            write(&mut code, place, name).await?;
            String::new()
        }
        Op::Try => {
            let request = compute::ExecuteCodeRequest {
                parent: agent_of(&name).to_owned(),
                source: source(place),
                ..compute::ExecuteCodeRequest::default()
            };
            code.execute_code(request).await?;
            // What it was given, it knew.
            String::new()
        }
        Op::Clear => {
            let request = compute::DeleteDeploymentRequest { name: deployment, ..Default::default() };
            shown(code.delete_deployment(request).await?)
        }
        _ => shown(code.get_code_acl(compute::GetCodeAclRequest { name }).await?),
    })
}

/// Keeps the source and makes it ready to run.
pub(super) async fn write(code: &mut CodeClient<Link>, place: &Place, name: String) -> Result<(), Status> {
    let source = source(place);
    let prepare =
        compute::PrepareCodeRequest { name: name.clone(), source, ..compute::PrepareCodeRequest::default() };
    code.prepare_code(prepare).await?;
    let revision = revision(place);
    let deploy = compute::DeployCodeRequest { name, revision, ..compute::DeployCodeRequest::default() };
    code.deploy_code(deploy).await.map(drop)
}

/// The agent of a piece of code.
pub(super) fn agent_of(name: &str) -> &str {
    name.split_once("/code/").map_or(name, |(agent, _)| agent)
}

fn source(place: &Place) -> String {
    format!("export async function main() {{ return {:?}; }}", mark(place))
}

fn revision(place: &Place) -> String {
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(source(place).as_bytes()) {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
