//! `sre agent FILE`: runs one skill of an agent file, or prompts it.

use anyhow::Result;
use serde_json::Value;
use sre_service::Running;

use super::{agents, prompt, up};
use crate::cli::args::{Agent, Global};
use crate::cli::exit::Failure;
use crate::cli::input;
use crate::cli::output::{Output, complain};
use crate::cli::progress::Progress;
use crate::client::Client;
use crate::{ready_file, settings, suite};

/// Runs the command: on the suite that runs on the data folder, else on one started for the while.
pub async fn run(global: &Global, arguments: Agent) -> Result<()> {
    let output = Output::new(global.format());
    // Wrong input is said before anything is started.
    let document = agents::read_document(&arguments.file)?;
    let input = Value::Object(input::object(&arguments.input)?);
    if let Some(issue) = first_error(&document) {
        return Err(Failure::failed(format!("{}: {issue}", arguments.file.display())));
    }
    let progress = Progress::start("starting");
    let (client, suite) = connect(global).await?;
    let result = with_client(output, &client, &arguments, input, progress).await;
    if let Some(suite) = suite {
        suite.shutdown().await;
    }
    result
}

fn first_error(document: &Value) -> Option<String> {
    let issues = sre_engine::check(document, sre_components::registry());
    let issue = issues.into_iter().find(|issue| issue.severity == sre_engine::Severity::Error)?;
    let place = [issue.component, issue.field].into_iter().flatten().collect::<Vec<_>>().join(" ");
    let hint = issue.hint.map(|hint| format!(": {hint}")).unwrap_or_default();
    Some(format!("{place}: {}{hint}", issue.message))
}

async fn connect(global: &Global) -> Result<(Client, Option<Running>)> {
    // What a suite says of itself is not what was asked for.
    let config = settings::load(global, vec![("telemetry.level".to_owned(), "warn".to_owned())])?;
    if global.address.is_some() || ready_file::is_live(&config.data_dir) {
        return Ok((Client::connect(global).await?, None));
    }
    let running = Box::pin(suite::start_all(config.clone())).await?;
    match Client::with_config(global, config) {
        Ok(client) => Ok((client, Some(running))),
        Err(error) => {
            running.shutdown().await;
            Err(error)
        }
    }
}

async fn with_client(
    output: Output,
    client: &Client,
    arguments: &Agent,
    input: Value,
    progress: Progress,
) -> Result<()> {
    progress.say("loading the agent");
    let agent = agents::store(client, &arguments.file, None).await?;
    for issue in &agent.warnings {
        complain(&format!("warning: {} {}: {}", issue.component, issue.field, issue.message));
    }
    progress.say("running");
    if let Some(text) = &arguments.prompt {
        drop(progress);
        return prompt::run(output, client, &agent.name, text).await;
    }
    let skill = arguments.skill.as_deref().unwrap_or_default();
    if !agent.skills.iter().any(|known| known.endpoint == skill) {
        let known: Vec<&str> = agent.skills.iter().map(|skill| skill.endpoint.as_str()).collect();
        return Err(Failure::usage(format!(
            "there is no skill {skill:?}: the agent has {}",
            known.join(", ")
        )));
    }
    let answer = up::run_skill(client, &agent.name, skill, input, &arguments.session).await?;
    drop(progress);
    output.json(&answer);
    Ok(())
}
