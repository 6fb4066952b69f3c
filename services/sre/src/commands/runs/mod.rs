//! `sre runs`: follows, steers, forks and replays runs.

mod fork;
mod recording;
mod steps;
mod stopped;
mod trace;
mod watch;

use anyhow::Result;
use serde_json::{Value, json};
use sre_proto::gateway::v1::{
    CancelRunRequest, DeleteRunRequest, GetRunRequest, ListRunsRequest, PauseRunRequest, ResumeRunRequest,
    Run, RunResult, RunState,
};

use crate::cli::args::{Global, Runs};
use crate::cli::output::Output;
use crate::client::Client;
use crate::dates;

/// Runs the command.
pub async fn run(global: &Global, command: Runs) -> Result<()> {
    let output = Output::new(global.format());
    match command {
        Runs::Fork { run, at, set, version, detach } => {
            // Here `--set` gives inputs: they are no settings of the suite.
            let global = Global { set: Vec::new(), ..global.clone() };
            let wanted = fork::Wanted { run, at, set, version, detach };
            fork::run(output, &Client::connect(&global).await?, wanted).await
        }
        Runs::Replay { run } => Box::pin(recording::replay(global, output, &run)).await,
        other => with_client(output, &Client::connect(global).await?, other).await,
    }
}

async fn with_client(output: Output, client: &Client, command: Runs) -> Result<()> {
    let mut runs = client.runs();
    let steered = match command {
        Runs::List { agent, limit } => return list(output, client, &agent, limit).await,
        Runs::Get { run } => {
            let run = runs.get_run(GetRunRequest { name: run }).await?.into_inner();
            show(output, &run);
            return Ok(());
        }
        Runs::Watch { run, after } => return watch::run(output, client, run, after).await,
        Runs::Steps { run } => return steps::run(output, client, run).await,
        Runs::Trace { run } => return trace::run(output, client, run).await,
        Runs::Export { run, file } => return recording::export(output, client, run, file).await,
        Runs::Delete { run } => {
            runs.delete_run(DeleteRunRequest { name: run.clone() }).await?;
            output.done(&format!("run {run} is deleted"));
            return Ok(());
        }
        Runs::Cancel { run, reason } => runs.cancel_run(CancelRunRequest { name: run, reason }).await?,
        Runs::Pause { run } => runs.pause_run(PauseRunRequest { name: run }).await?,
        Runs::Resume { run } => runs.resume_run(ResumeRunRequest { name: run }).await?,
        // Answered above, before there is a client.
        Runs::Fork { .. } | Runs::Replay { .. } => return Ok(()),
    };
    let run = steered.into_inner();
    output.done(&format!("run {} is {}", run.name, state(run.state)));
    Ok(())
}

async fn list(output: Output, client: &Client, agent: &str, limit: i32) -> Result<()> {
    let request = ListRunsRequest {
        parent: client.agent_name(agent),
        page_size: limit,
        page_token: String::new(),
        state: 0,
    };
    let runs = client.runs().list_runs(request).await?.into_inner().runs;
    output.rows(&["run", "skill", "state", "caller", "started", "ended"], runs.iter().map(row).collect());
    Ok(())
}

fn row(run: &Run) -> Vec<Value> {
    vec![
        json!(run.name),
        json!(run.skill),
        json!(state(run.state)),
        json!(run.caller),
        json!(dates::text(run.create_time.as_ref())),
        json!(dates::text(run.end_time.as_ref())),
    ]
}

fn show(output: Output, run: &Run) {
    let result = run.result.clone().unwrap_or_default();
    let mut fields = vec![
        ("run", json!(run.name)),
        ("skill", json!(run.skill)),
        ("state", json!(state(run.state))),
        ("version", json!(run.version)),
        ("caller", json!(run.caller)),
        ("parent", json!(run.parent)),
        ("started", json!(dates::text(run.create_time.as_ref()))),
        ("ended", json!(dates::text(run.end_time.as_ref()))),
        ("answer", parse(&run.legacy_json)),
    ];
    fields.extend(diagnostics(&result));
    output.record(fields);
}

/// What a result says beside its answer: only what there is.
fn diagnostics(result: &RunResult) -> Vec<(&'static str, Value)> {
    let mut fields = Vec::new();
    if let Some(failure) = &result.failure {
        fields.push(("failure", json!(format!("{}: {}", failure.reason, failure.message))));
    }
    if !result.errors.is_empty() {
        let errors = result.errors.iter().map(|e| json!({ "component": e.component, "message": e.message }));
        fields.push(("errors", errors.collect()));
    }
    if !result.starved.is_empty() {
        let starved = result
            .starved
            .iter()
            .map(|s| json!({ "component": s.component, "missing_inputs": s.missing_inputs }));
        fields.push(("starved", starved.collect()));
    }
    fields
}

/// A run's state as one word.
pub fn state(state: i32) -> String {
    let name = RunState::try_from(state).unwrap_or_default().as_str_name();
    name.trim_start_matches("RUN_STATE_").to_lowercase()
}

/// JSON in bytes; null where there is none.
pub fn parse(json: &[u8]) -> Value {
    serde_json::from_slice(json).unwrap_or(Value::Null)
}
