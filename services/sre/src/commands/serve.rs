//! `sre serve ROLE...`: some roles in this process.

use anyhow::Result;
use serde_json::json;
use sre_service::Role;

use crate::cli::args::{Global, Serve};
use crate::cli::exit::Failure;
use crate::cli::output::Output;
use crate::{settings, suite};

/// Runs the command until it is told to stop.
pub async fn run(global: &Global, arguments: Serve) -> Result<()> {
    let output = Output::new(global.format());
    let mut roles: Vec<Role> = Vec::new();
    for name in &arguments.roles {
        for role in Role::parse_alias(name).map_err(|e| Failure::usage(e.to_string()))? {
            if !roles.contains(&role) {
                roles.push(role);
            }
        }
    }
    let config = settings::load(global, Vec::new())?;
    let running = suite::start(&roles, config).await?;
    let endpoints = running.endpoints();
    output.rows(
        &["door", "address"],
        endpoints.iter().map(|(name, address)| vec![json!(name), json!(address.to_string())]).collect(),
    );
    running.wait_for_signal().await?;
    output.note("draining");
    running.shutdown().await;
    Ok(())
}
