//! A run of a suite that is stopped, read from its stores. Only the roles that keep documents and journals are
//! started for the while: no engine, so no run is gone on with.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use sre_gateway::engine::journal::store::JournalStore;
use sre_gateway::recording::export::Tape;
use sre_identity::{Kind, Principal};
use sre_proto::agent::v1::GetAgentRequest;
use sre_proto::agent::v1::agent_data_client::AgentDataClient;
use sre_service::first_start::{DEV_USER, Identities};
use sre_service::{Config, Link, Role};

use crate::cli::args::Global;
use crate::cli::exit::Failure;
use crate::client::be_patient;
use crate::{settings, suite};

/// Whether a suite ran on the data folder.
pub fn is_there(config: &Config) -> bool {
    config.data_dir.join("store").is_dir() && config.data_dir.join("certs").is_dir()
}

/// A run's recording.
pub async fn recording(global: &Global, run: &str) -> Result<Vec<u8>> {
    let mut more = vec![("telemetry.level".to_owned(), "warn".to_owned())];
    // Where this command calls them.
    for role in [Role::Memory, Role::Agent] {
        more.push((format!("listen.{role}"), "127.0.0.1:0".to_owned()));
    }
    let mut config = settings::load(global, more)?;
    let running = suite::start(&[Role::Security, Role::Memory, Role::Agent], config.clone())
        .await
        .context("the stopped suite's stores cannot be opened")?;
    be_patient(&mut config);
    let recording = read(Arc::new(config), run).await;
    running.shutdown().await;
    recording
}

async fn read(config: Arc<Config>, name: &str) -> Result<Vec<u8>> {
    let identities = Identities::new(&config);
    let link = |kind, who: &str, to| {
        let identity = identities.source(&Principal::new(kind, who)?)?;
        anyhow::Ok(Link::client(Arc::clone(&config), &identity, to))
    };
    let Some((_, id)) = name.split_once("/runs/") else {
        return Err(Failure::usage(format!("{name:?} is neither a file nor a run's name")));
    };
    let memory = link(Kind::Service, Role::Engine.name(), Role::Memory)?;
    let journal =
        JournalStore::new(memory, config.journal.session_ttl(), config.journal.blob_threshold_bytes);
    let run = journal.run(id).await?;
    let tape = Tape::of_journal(&journal, &run).await?.ok_or_else(|| {
        Failure::failed("the run kept no journal, because its skill has no effects: nothing can be replayed")
    })?;
    let agents = link(Kind::User, DEV_USER, Role::Agent)?;
    let version = tape.opened.version.clone();
    let request = GetAgentRequest { name: tape.opened.agent.clone(), version };
    let agent = AgentDataClient::new(agents).get_agent(request).await?.into_inner();
    let document = serde_json::from_slice(&agent.document_json).context("the agent's document")?;
    Ok(serde_json::to_vec(&tape.recording(&run, document)?)?)
}
