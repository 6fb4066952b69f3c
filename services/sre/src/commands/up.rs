//! `sre up`: the whole suite, until it is told to stop.

use std::path::{Path, PathBuf};
use std::task::Poll;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sre_proto::agent::v1::Agent;
use sre_proto::gateway::v1::run_skill_request::Call;
use sre_proto::gateway::v1::{RunSkillRequest, RunSkillResponse, SkillCall};
use sre_service::{Config, Running};
use tonic_types::StatusExt as _;

use crate::cli::args::{Global, Up};
use crate::cli::exit::Failure;
use crate::cli::input;
use crate::cli::output::Output;
use crate::cli::progress::Progress;
use crate::client::Client;
use crate::ready_file::ReadyFile;
use crate::{commands, settings, suite};

/// Runs the command until it is told to stop.
pub async fn run(global: &Global, arguments: Up) -> Result<()> {
    let output = Output::new(global.format());
    let config = settings::load(global, Vec::new())?;
    ReadyFile::clear(&config.data_dir);
    let progress = Progress::start("starting the suite");
    if arguments.split {
        let mut split = commands::split::Split::start(global, &config, arguments.restart, &progress).await?;
        let shown = introduce(output, global, &config, &arguments, &progress).await;
        drop(progress);
        if let Err(error) = shown {
            split.stop(output).await;
            return Err(error);
        }
        let ended = until_told(output, &config, split.watch(output)).await;
        split.stop(output).await;
        return ended;
    }
    let running = suite::start_all(config.clone()).await?;
    let shown = introduce(output, global, &config, &arguments, &progress).await;
    drop(progress);
    if let Err(error) = shown {
        running.shutdown().await;
        return Err(error);
    }
    stay(output, &config, running).await
}

async fn stay(output: Output, config: &Config, running: Running) -> Result<()> {
    until_told(output, config, running.wait_for_signal()).await?;
    output.note("draining");
    if !running.shutdown().await {
        return Err(Failure::failed("work in flight was cut: the drain deadline is over"));
    }
    Ok(())
}

/// Says that the suite is ready and waits until it is told to stop. Waiting begins first: whoever is told may
/// answer with a signal at once.
async fn until_told(output: Output, config: &Config, told: impl Future<Output = Result<()>>) -> Result<()> {
    let mut told = std::pin::pin!(told);
    let first = futures::poll!(&mut told);
    let _ready = ReadyFile::write(&config.data_dir)?;
    output.note("ready; Ctrl-C stops");
    match first {
        Poll::Ready(ended) => ended,
        Poll::Pending => told.await,
    }
}

/// Loads agents, runs the skill asked for, and shows where everything is.
async fn introduce(
    output: Output,
    global: &Global,
    config: &Config,
    arguments: &Up,
    progress: &Progress,
) -> Result<()> {
    let client = Client::with_config(global, config.clone())?;
    progress.say("loading agents");
    let mut stored = Vec::new();
    for path in config.agents.dirs.iter().chain(&arguments.agent) {
        for file in agent_files(path)? {
            stored.push(commands::store_agent(&client, &file, None).await?);
        }
    }
    show_endpoints(output, config);
    show_agents(output, &stored);
    let Some(skill) = &arguments.skill else { return Ok(()) };
    let [agent] = stored.as_slice() else {
        return Err(Failure::usage("--skill needs one agent: give --agent a file, not a folder"));
    };
    progress.say("running the skill");
    let input = input::object(&arguments.input)?;
    let call = format!("{} {} {}", last(&agent.name), skill, Value::Object(input.clone()));
    let answer = run_skill(&client, &agent.name, skill, Value::Object(input), "").await?;
    output.note(&format!("\n{call}"));
    output.json(&answer);
    output.note("");
    Ok(())
}

/// Runs a skill and gives the answer as the reference does.
pub async fn run_skill(
    client: &Client,
    agent: &str,
    skill: &str,
    input: Value,
    session: &str,
) -> Result<Value> {
    let request = RunSkillRequest {
        agent: agent.to_owned(),
        call: Some(Call::Skill(SkillCall { skill: skill.to_owned(), input_json: input.to_string().into() })),
        session_id: session.to_owned(),
        ..RunSkillRequest::default()
    };
    match client.runs().run_skill(request).await {
        Ok(response) => answer(&response.into_inner()),
        Err(status) => {
            // A skill that is not there is the user's to put right; the agent's skills are.
            let known =
                status.get_details_error_info().is_some_and(|i| i.metadata.contains_key("legacy_json"));
            let error = anyhow::Error::new(status);
            Err(if known { error.context(format!("skill {skill} of {}", last(agent))) } else { error })
        }
    }
}

fn answer(response: &RunSkillResponse) -> Result<Value> {
    serde_json::from_slice(&response.legacy_json).context("the answer is not JSON")
}

/// The agent files that a path stands for: itself, or every `.smyth` file of a folder.
pub fn agent_files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        if path.exists() {
            return Ok(vec![path.to_owned()]);
        }
        return Err(Failure::usage(format!(
            "{} does not exist: name a .smyth file or a folder",
            path.display()
        )));
    }
    let mut files: Vec<PathBuf> = std::fs::read_dir(path)
        .with_context(|| path.display().to_string())?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|file| file.extension().is_some_and(|e| e == "smyth"))
        .collect();
    files.sort();
    Ok(files)
}

fn show_endpoints(output: Output, config: &Config) {
    let text = std::fs::read_to_string(config.data_dir.join("run/endpoints.toml")).unwrap_or_default();
    let endpoints: std::collections::BTreeMap<String, String> = toml::from_str(&text).unwrap_or_default();
    let about = |name: &str| match name {
        "edge" => "gRPC with mTLS: every public method",
        "http" => "HTTP with a bearer: GET|POST /api/<skill>",
        "files" => "HTTP without a credential: signed links to files",
        "admin" => "liveness, readiness, metrics",
        _ => "",
    };
    let rows = endpoints.iter().map(|(name, address)| vec![json!(name), json!(address), json!(about(name))]);
    output.rows(&["endpoint", "address", "what"], rows.collect());
    output.note(&format!("\ncertificates  {}", config.in_data_dir(&config.certs.dir).display()));
    let key = config.in_data_dir(&config.security.keys_dir).join("dev.key");
    if key.exists() {
        output.note(&format!("API key       {}", key.display()));
    }
}

fn show_agents(output: Output, agents: &[Agent]) {
    for agent in agents {
        let skills: Vec<&str> = agent.skills.iter().map(|skill| skill.endpoint.as_str()).collect();
        output.note(&format!("agent         {}: {}", last(&agent.name), skills.join(", ")));
    }
}

fn last(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}
