//! `sre runs fork`: a new run from a step of an ended one.

use anyhow::Result;
use serde_json::Value;
use sre_proto::gateway::v1::{ForkRunRequest, RunState};

use super::{diagnostics, parse, state, watch};
use crate::cli::exit::Failure;
use crate::cli::input;
use crate::cli::output::{Output, complain};
use crate::client::Client;

/// What is asked for.
pub struct Wanted {
    /// The run's name.
    pub run: String,
    /// The component or activation.
    pub at: String,
    /// Its inputs, `key=value`.
    pub set: Vec<String>,
    /// The version, empty for that of the run.
    pub version: String,
    /// Whether nobody waits.
    pub detach: bool,
}

/// Forks, waits for the new run's end, and shows its answer.
pub async fn run(output: Output, client: &Client, wanted: Wanted) -> Result<()> {
    let set = Value::Object(input::object(&wanted.set)?);
    let request = ForkRunRequest {
        agent: agent_of(&wanted.run)?.to_owned(),
        run: wanted.run,
        at: wanted.at,
        set_json: set.to_string().into(),
        version: wanted.version,
        ..ForkRunRequest::default()
    };
    let run = client.runs().fork_run(request).await?.into_inner();
    if wanted.detach {
        output.record(vec![("run", Value::String(run.name)), ("state", Value::String(state(run.state)))]);
        return Ok(());
    }
    // The answer alone is on standard output, as with `sre agent`.
    complain(&format!("run {}", run.name));
    let ended = watch::follow(client, run.name, None, |_| {}).await?;
    for (what, detail) in diagnostics(&ended.result.unwrap_or_default()) {
        complain(&format!("{what}: {detail}"));
    }
    if ended.state != i32::from(RunState::Done) {
        return Err(Failure::failed(format!("the run ended {}", state(ended.state))));
    }
    output.json(&parse(&ended.legacy_json));
    Ok(())
}

/// The agent that a run's name begins with.
fn agent_of(run: &str) -> Result<&str> {
    run.split_once("/runs/").map(|(agent, _)| agent).ok_or_else(|| {
        Failure::usage(format!(
            "{run:?} is not a run's name: write teams/-/agents/<agent>/runs/<run>, as `sre runs list` shows"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runs_name_begins_with_its_agent() {
        assert_eq!(agent_of("teams/t/agents/a/runs/r").unwrap(), "teams/t/agents/a");
        assert!(agent_of("r").is_err());
    }
}
