//! A fresh embedded suite for one agent file.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;
use sre_service::{Config, Running};
use tempfile::TempDir;

use super::vectors::Vector;
use super::{Options, Sent, send};
use crate::cli::args::Global;
use crate::client::Client;
use crate::commands::{self, Imported};
use crate::suite;

/// A suite with one agent, its fixtures, and what its document says.
pub(super) struct World {
    client: Client,
    running: Running,
    agent: String,
    /// Component types that each route reaches and that are known but not built.
    unbuilt: HashMap<String, BTreeSet<String>>,
    listening: BTreeMap<u16, bool>,
    // Last, so that it goes when the suite is gone.
    _folder: TempDir,
}

impl World {
    /// Starts the suite, imports the fixtures and stores the agents.
    pub(super) async fn start(options: &Options, file: &str, vectors: &[Vector]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut ports = BTreeMap::new();
        for vector in vectors {
            if let Some(port) = vector.fixture_port()? {
                ports.entry(port).or_insert_with(|| listens(port));
            }
        }
        let mut config = Config::in_dir(folder.path());
        config.admin.enabled = false;
        config.http.enabled = false;
        config.files.enabled = false;
        config.telemetry.level = "error".to_owned();
        config.egress.allow = ports.keys().map(|port| format!("127.0.0.1:{port}")).collect();
        if let Some(models) =
            options.fixtures.as_deref().map(|f| f.join("models.json")).filter(|f| f.exists())
        {
            config.models.path = Some(models);
        }
        let running = Box::pin(suite::start_all(config.clone()))
            .await
            .with_context(|| format!("the suite for {file}"))?;
        let client = Client::with_config(&Global::embedded(folder.path()), config)?;
        if let Some(fixtures) = &options.fixtures {
            commands::import_state(&client, fixtures, &mut Imported::default()).await?;
        }
        let others: BTreeSet<&String> = vectors.iter().flat_map(|vector| &vector.requires_agents).collect();
        for other in others {
            commands::store_agent(&client, &options.agents.join(other), None).await?;
        }
        let path = options.agents.join(file);
        let agent = commands::store_agent(&client, &path, None).await?.name;
        let unbuilt = unbuilt(&path)?;
        Ok(Self { client, running, agent, unbuilt, listening: ports, _folder: folder })
    }

    /// Sends one vector, unless it must be skipped.
    pub(super) async fn send(&self, vector: &Vector) -> Result<Sent> {
        if let Some(port) = vector.fixture_port()?
            && !self.listening.get(&port).copied().unwrap_or_default()
        {
            let fixture = vector.requires.as_deref().unwrap_or_default();
            return Ok(Sent::Skipped(format!("fixture {fixture} does not listen")));
        }
        let route = vector.request.path.rsplit('/').next().unwrap_or_default();
        if let Some(types) = self.unbuilt.get(route).filter(|types| !types.is_empty()) {
            let types: Vec<&str> = types.iter().map(String::as_str).collect();
            return Ok(Sent::Skipped(format!("not built yet: {}", types.join(", "))));
        }
        let answer = send::send(&self.client, &self.agent, &vector.request).await;
        Ok(Sent::Answered(answer.with_context(|| format!("vector {}", vector.id))?))
    }

    pub(super) async fn stop(self) {
        self.running.shutdown().await;
    }
}

fn listens(port: u16) -> bool {
    TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), Duration::from_millis(500)).is_ok()
}

/// For each endpoint, the component types it reaches that the reference has and this library does not yet.
fn unbuilt(file: &Path) -> Result<HashMap<String, BTreeSet<String>>> {
    let document = commands::read_document(file)?;
    let document = document.get("data").filter(|_| document.get("components").is_none()).unwrap_or(&document);
    let list = |name: &str| document.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let text =
        |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let types: HashMap<String, String> =
        list("components").iter().map(|c| (text(c, "id"), text(c, "name"))).collect();
    let edges: Vec<(String, String)> =
        list("connections").iter().map(|c| (text(c, "sourceId"), text(c, "targetId"))).collect();
    let missing = |name: &String| {
        sre_components::REFERENCE_TYPES.contains(&name.as_str()) && !sre_components::registry().built(name)
    };
    let mut found = HashMap::new();
    for endpoint in list("components") {
        let name = endpoint.get("data").map(|data| text(data, "endpoint")).unwrap_or_default();
        if name.is_empty() {
            continue;
        }
        let (mut reached, mut next) = (BTreeSet::new(), vec![text(&endpoint, "id")]);
        while let Some(id) = next.pop() {
            if reached.insert(id.clone()) {
                next.extend(
                    edges.iter().filter(|(source, _)| *source == id).map(|(_, target)| target.clone()),
                );
            }
        }
        let types = reached.iter().filter_map(|id| types.get(id)).filter(|name| missing(name)).cloned();
        found.entry(name).or_insert_with(BTreeSet::new).extend(types);
    }
    Ok(found)
}
