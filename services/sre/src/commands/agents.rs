//! `sre agents`: documents, versions, deployment.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sre_proto::agent::v1::{
    Agent, AgentVersion, DeleteAgentRequest, DeployVersionRequest, GetAgentRequest, GetProtoRequest,
    ListAgentsRequest, ListVersionsRequest, UpdateAgentRequest,
};

use crate::cli::args::{Agents, Global};
use crate::cli::exit::Failure;
use crate::cli::output::{Output, complain, line};
use crate::client::Client;
use crate::dates;

use super::check;

/// Largest page a service gives.
const PAGE: i32 = 1000;

/// Runs the command.
pub async fn run(global: &Global, command: Agents) -> Result<()> {
    let output = Output::new(global.format());
    if let Agents::Check { files } = &command {
        return check::run(global, output, files).await;
    }
    let client = Client::connect(global).await?;
    let name = |id: &str| client.agent_name(id);
    match command {
        Agents::Check { .. } => Ok(()),
        Agents::Put { file, id, deploy } => put(output, &client, &file, id, deploy).await,
        Agents::Get { id, version, document } => {
            let request = GetAgentRequest { name: name(&id), version };
            let agent = client.agents().get_agent(request).await?.into_inner();
            if document {
                line(&String::from_utf8_lossy(&agent.document_json));
            } else {
                show(output, &agent);
            }
            Ok(())
        }
        Agents::Proto { id, package } => {
            let request = GetProtoRequest { name: name(&id), package };
            let answer = client.agents().get_proto(request).await?.into_inner();
            if output.is_json() {
                output.json(&json!({ "path": answer.path, "proto": answer.proto }));
            } else {
                line(answer.proto.trim_end());
            }
            Ok(())
        }
        Agents::List => list(output, &client).await,
        Agents::Delete { id } => {
            client.agents().delete_agent(DeleteAgentRequest { name: name(&id) }).await?;
            output.done(&format!("agent {id} is deleted"));
            Ok(())
        }
        Agents::Versions { id } => versions(output, &client, name(&id)).await,
        Agents::Deploy { id, version } => {
            let request = DeployVersionRequest { name: name(&id), version };
            let agent = client.agents().deploy_version(request).await?.into_inner();
            output.done(&format!("agent {id} runs version {}", agent.deployed_version));
            Ok(())
        }
    }
}

/// Reads an agent file as JSON, naming the file and the place of an error.
pub fn read_document(file: &Path) -> Result<Value> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_str(&text).map_err(|e| Failure::failed(format!("{} is not JSON: {e}", file.display())))
}

async fn put(output: Output, client: &Client, file: &Path, id: Option<String>, deploy: bool) -> Result<()> {
    let agent = store(client, file, id).await?;
    for issue in &agent.warnings {
        complain(&format!(
            "warning: {}: {} {}: {}",
            file.display(),
            issue.component,
            issue.field,
            issue.message
        ));
    }
    let agent = if deploy {
        let request =
            DeployVersionRequest { name: agent.name.clone(), version: agent.latest_version.clone() };
        client.agents().deploy_version(request).await?.into_inner()
    } else {
        agent
    };
    show(output, &agent);
    Ok(())
}

/// Stores a file: creates the agent or makes a new version.
pub async fn store(client: &Client, file: &Path, id: Option<String>) -> Result<Agent> {
    let document = read_document(file)?;
    let body = document.get("data").filter(|_| document.get("components").is_none()).unwrap_or(&document);
    let id = match id.or_else(|| body.get("id").and_then(Value::as_str).map(str::to_owned)) {
        Some(id) => id,
        None => file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default(),
    };
    let request = UpdateAgentRequest {
        agent: Some(Agent {
            name: client.agent_name(&id),
            document_json: serde_json::to_vec(&document)?.into(),
            ..Agent::default()
        }),
        update_mask: None,
        allow_missing: true,
    };
    let answer = client.agents().update_agent(request).await;
    Ok(answer.with_context(|| format!("{} is refused", file.display()))?.into_inner())
}

async fn list(output: Output, client: &Client) -> Result<()> {
    let mut rows = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListAgentsRequest { parent: client.team_name(), page_size: PAGE, page_token };
        let page = client.agents().list_agents(request).await?.into_inner();
        rows.extend(page.agents.iter().map(|agent| {
            vec![
                json!(last(&agent.name)),
                json!(agent.display_name),
                json!(short(&agent.latest_version)),
                json!(short(&agent.deployed_version)),
                json!(dates::text(agent.update_time.as_ref())),
            ]
        }));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    output.rows(&["agent", "name", "latest", "deployed", "updated"], rows);
    Ok(())
}

async fn versions(output: Output, client: &Client, parent: String) -> Result<()> {
    let mut rows = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListVersionsRequest { parent: parent.clone(), page_size: PAGE, page_token };
        let page = client.agents().list_versions(request).await?.into_inner();
        rows.extend(page.versions.iter().map(version_row));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    output.rows(&["version", "created", "by", "deployed"], rows);
    Ok(())
}

fn version_row(version: &AgentVersion) -> Vec<Value> {
    vec![
        json!(version.version),
        json!(dates::text(version.create_time.as_ref())),
        json!(version.creator),
        json!(if version.deployed { "yes" } else { "" }),
    ]
}

fn show(output: Output, agent: &Agent) {
    let skills: Vec<String> = agent.skills.iter().map(|s| format!("{} {}", s.method, s.endpoint)).collect();
    output.record(vec![
        ("agent", json!(last(&agent.name))),
        ("resource", json!(agent.name)),
        ("name", json!(agent.display_name)),
        ("version", json!(agent.latest_version)),
        ("deployed", json!(agent.deployed_version)),
        ("skills", json!(skills.join(", "))),
    ]);
}

fn last(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn short(version: &str) -> &str {
    version.get(..12).unwrap_or(version)
}
