//! `sre runs export` and `sre runs replay`: a run's recording, and the run made again from it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::json;
use sre_gateway::recording::{self, Replayed};
use sre_proto::gateway::v1::ExportRunRequest;

use super::stopped;
use crate::cli::args::Global;
use crate::cli::exit::Failure;
use crate::cli::output::{Output, complain, line};
use crate::client::Client;
use crate::{ready_file, settings};

/// Writes a recording to a file, or to standard output.
pub async fn export(output: Output, client: &Client, run: String, file: Option<PathBuf>) -> Result<()> {
    let recording = fetch(client, &run).await?;
    let Some(file) = file else {
        line(&String::from_utf8_lossy(&recording));
        return Ok(());
    };
    std::fs::write(&file, &recording).with_context(|| format!("cannot write {}", file.display()))?;
    output.done(&format!("{run} is in {}: {} bytes", file.display(), recording.len()));
    Ok(())
}

/// Makes a run again from its recording and compares the answers. No service is called while it is made.
pub async fn replay(global: &Global, output: Output, run: &str) -> Result<()> {
    let recording = recording_of(global, run).await?;
    let replayed = recording::replay(&recording).map_err(|error| Failure::failed(error.to_string()))?;
    show(output, &replayed);
    if !replayed.same {
        return Err(Failure::failed("the replayed run is not the same as the recorded one"));
    }
    Ok(())
}

/// From a file, from the suite, or from the stores of a suite that is stopped.
async fn recording_of(global: &Global, run: &str) -> Result<Vec<u8>> {
    if Path::new(run).is_file() {
        return std::fs::read(run).with_context(|| format!("cannot read {run}"));
    }
    if global.address.is_none() {
        let config = settings::load(global, Vec::new())?;
        if !ready_file::is_live(&config.data_dir) && stopped::is_there(&config) {
            return Box::pin(stopped::recording(global, run)).await;
        }
    }
    fetch(&Client::connect(global).await?, run).await
}

/// A run's recording from the suite.
async fn fetch(client: &Client, run: &str) -> Result<Vec<u8>> {
    let mut parts = client.runs().export_run(ExportRunRequest { name: run.to_owned() }).await?.into_inner();
    let mut recording = Vec::new();
    while let Some(part) = parts.message().await? {
        recording.extend_from_slice(&part.data);
    }
    Ok(recording)
}

fn show(output: Output, replayed: &Replayed) {
    if output.is_json() {
        return output.json(&json!({
            "run": replayed.run, "state": replayed.state, "same": replayed.same,
            "differences": replayed.differences, "answer": replayed.legacy,
        }));
    }
    replayed.differences.iter().for_each(|difference| complain(&format!("differs: {difference}")));
    output.json(&replayed.legacy);
    output.note(&format!("same: {}", replayed.same));
}
