//! `sre runs`: follows and ends runs.

use anyhow::Result;
use futures::StreamExt as _;
use serde_json::{Value, json};
use sre_proto::gateway::v1::run_event::Event;
use sre_proto::gateway::v1::{
    CancelRunRequest, GetRunRequest, ListRunsRequest, Run, RunEvent, RunState, WatchRunRequest,
};

use crate::cli::args::{Global, Runs};
use crate::cli::exit::Failure;
use crate::cli::output::Output;
use crate::client::Client;
use crate::dates;

/// Runs the command.
pub async fn run(global: &Global, command: Runs) -> Result<()> {
    let output = Output::new(global.output);
    let client = Client::connect(global).await?;
    match command {
        Runs::List { agent, limit } => {
            let request = ListRunsRequest {
                parent: client.agent_name(&agent),
                page_size: limit,
                page_token: String::new(),
                state: 0,
            };
            let runs = client.runs().list_runs(request).await?.into_inner().runs;
            output.rows(
                &["run", "skill", "state", "caller", "started", "ended"],
                runs.iter().map(row).collect(),
            );
            Ok(())
        }
        Runs::Get { run } => {
            let run = client.runs().get_run(GetRunRequest { name: run }).await?.into_inner();
            show(output, &run);
            Ok(())
        }
        Runs::Watch { run } => watch(output, &client, run).await,
        Runs::Cancel { run, reason } => {
            let run = client.runs().cancel_run(CancelRunRequest { name: run, reason }).await?.into_inner();
            output.done(&format!("run {} is {}", run.name, state(run.state)));
            Ok(())
        }
    }
}

async fn watch(output: Output, client: &Client, name: String) -> Result<()> {
    let mut events = client.runs().watch_run(WatchRunRequest { name, after: None }).await?.into_inner();
    while let Some(event) = events.next().await {
        let event = event?;
        let (what, detail) = describe(&event);
        if output.is_json() {
            let cursor = event.cursor.unwrap_or_default();
            output.json(
                &json!({"sequence": cursor.sequence, "sub": cursor.sub, "event": what, "detail": detail}),
            );
        } else {
            let cursor = event.cursor.unwrap_or_default();
            output.note(&format!("{:>4}.{:<3} {what:20} {}", cursor.sequence, cursor.sub, plain(&detail)));
        }
        if let Some(Event::RunEnded(ended)) = event.event
            && ended.state != i32::from(RunState::Done)
        {
            return Err(Failure::failed(format!("the run ended {}", state(ended.state))));
        }
    }
    Ok(())
}

fn describe(event: &RunEvent) -> (&'static str, Value) {
    match &event.event {
        Some(Event::RunOpened(e)) => ("run opened", json!(e.skill)),
        Some(Event::ComponentStarted(e)) => {
            ("component started", json!(format!("{} {}", e.r#type, e.component)))
        }
        Some(Event::ComponentFinished(e)) if e.error.is_empty() => {
            ("component finished", json!(format!("{} {}", e.r#type, e.component)))
        }
        Some(Event::ComponentFinished(e)) => {
            ("component failed", json!(format!("{} {}: {}", e.r#type, e.component, e.error)))
        }
        Some(Event::Content(e)) => ("content", json!(e.text)),
        Some(Event::Log(e)) => ("log", json!(format!("{} {}: {}", e.component, e.level, e.message))),
        Some(Event::ActivationRestarted(e)) => ("restarted", json!(e.components.join(", "))),
        Some(Event::RunStateChanged(e)) => ("state", json!(state(e.state))),
        Some(Event::ApprovalRequested(e)) => ("approval", json!(format!("{}: {}", e.approval, e.title))),
        Some(Event::RunEnded(e)) => ("run ended", parse(&e.legacy_json)),
        None => ("unknown", Value::Null),
    }
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
    output.record(vec![
        ("run", json!(run.name)),
        ("skill", json!(run.skill)),
        ("state", json!(state(run.state))),
        ("version", json!(run.version)),
        ("caller", json!(run.caller)),
        ("started", json!(dates::text(run.create_time.as_ref()))),
        ("ended", json!(dates::text(run.end_time.as_ref()))),
        ("answer", parse(&run.legacy_json)),
    ]);
}

/// A run's state as one word.
pub fn state(state: i32) -> String {
    let name = RunState::try_from(state).unwrap_or_default().as_str_name();
    name.trim_start_matches("RUN_STATE_").to_lowercase()
}

fn parse(json: &[u8]) -> Value {
    serde_json::from_slice(json).unwrap_or(Value::Null)
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
