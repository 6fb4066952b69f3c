//! `sre health`: asks every role of a suite for its state.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use sre_identity::{Kind, Principal};
use sre_service::first_start::{DEV_USER, Identities};
use sre_service::{Config, Link, Role};
use std::sync::Arc;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::cli::args::Global;
use crate::cli::exit::Failure;
use crate::cli::output::Output;
use crate::settings;

const DEADLINE: Duration = Duration::from_secs(3);

/// Runs the command. A role that listens nowhere (all in one process) is seen through the edge.
pub async fn run(global: &Global) -> Result<()> {
    let output = Output::new(global.format());
    let mut config = settings::load(global, Vec::new())?;
    if let Some(address) = &global.address {
        config.endpoints.0.insert(Role::Edge, vec![address.clone()]);
    }
    let known = addresses(&config);
    let config = Arc::new(config);
    let identity = Identities::new(&config).source(&Principal::new(Kind::User, DEV_USER)?)?;
    let (mut rows, mut sick) = (Vec::new(), 0);
    for role in Role::ALL {
        let Some(address) = known.iter().find(|(name, _)| *name == role.name()).map(|(_, a)| a.clone())
        else {
            continue;
        };
        let state = state(Link::client(Arc::clone(&config), &identity, role)).await;
        sick += usize::from(state != "serving");
        rows.push(vec![json!(role.name()), json!(address), json!(state)]);
    }
    if rows.is_empty() {
        return Err(Failure::unavailable(format!("no suite runs on {}", config.data_dir.display())));
    }
    output.rows(&["role", "address", "state"], rows);
    if sick > 0 { Err(Failure::unavailable(format!("{sick} roles are not well"))) } else { Ok(()) }
}

fn addresses(config: &Config) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(config.data_dir.join("run/endpoints.toml")).unwrap_or_default();
    let file: std::collections::BTreeMap<String, Value> = toml::from_str(&text).unwrap_or_default();
    let mut known: Vec<(String, String)> =
        file.into_iter().filter_map(|(name, address)| Some((name, address.as_str()?.to_owned()))).collect();
    for (role, addresses) in &config.endpoints.0 {
        known.retain(|(name, _)| name != role.name());
        known.push((role.name().to_owned(), addresses.join(", ")));
    }
    known
}

async fn state(link: Link) -> String {
    let mut client = HealthClient::new(link);
    let check = client.check(HealthCheckRequest { service: String::new() });
    match tokio::time::timeout(DEADLINE, check).await {
        Err(_) => "no answer".to_owned(),
        Ok(Err(status)) => status.message().to_owned(),
        Ok(Ok(answer)) => match answer.into_inner().status() {
            ServingStatus::Serving => "serving".to_owned(),
            other => other.as_str_name().to_lowercase(),
        },
    }
}
