//! `sre test`: golden tests for agents.

use std::fs;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::cli::args::{Global, Test};
use crate::cli::exit::Failure;
use crate::cli::output::{Output, line};
use crate::cli::progress::Progress;
use crate::golden::report::{Counts, Outcome, Report};
use crate::golden::{self, Options};

/// Runs the command.
pub async fn run(global: &Global, arguments: Test) -> Result<()> {
    let output = Output::new(global.format());
    let options = Options {
        agents: arguments.agents,
        vectors: arguments.vectors,
        fixtures: arguments.fixtures,
        differences: arguments.differences,
        only: arguments.only,
    };
    let progress = Progress::start("starting");
    if arguments.record {
        if options.only.is_some() {
            return Err(Failure::usage("--record writes the whole file: leave out --only"));
        }
        let vectors = golden::record(&options, |agent| progress.say(agent)).await?;
        let lines = vectors.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
        fs::write(&options.vectors, lines.join("\n") + "\n")
            .with_context(|| options.vectors.display().to_string())?;
        output.done(&format!("recorded {} answers", vectors.len()));
        return Ok(());
    }
    let report = golden::run(&options, |agent| progress.say(agent)).await?;
    drop(progress);
    show(output, &report);
    let counts = report.counts();
    line(&counts.to_string());
    if counts.different > 0 {
        return Err(Failure::failed(format!("{} vectors differ", counts.different)));
    }
    Ok(())
}

fn show(output: Output, report: &Report) {
    let mut rows = Vec::new();
    for (agent, outcomes) in report.agents() {
        let Counts { same, deliberate, different, skipped } = Counts::of(outcomes);
        rows.push(vec![json!(agent), json!(same), json!(deliberate), json!(different), json!(skipped)]);
    }
    output.rows(&["agent", "same", "deliberate", "different", "skipped"], rows);
    let mut notable: Vec<Vec<Value>> = Vec::new();
    for (id, outcome) in report.agents().flat_map(|(_, outcomes)| outcomes) {
        match outcome {
            Outcome::Same => {}
            Outcome::Deliberate(by) => notable.push(vec![json!(id), json!("deliberate"), json!(by)]),
            Outcome::Different(how) => notable.push(vec![json!(id), json!("different"), json!(how)]),
            Outcome::Skipped(why) => notable.push(vec![json!(id), json!("skipped"), json!(why)]),
        }
    }
    output.rows(&["vector", "outcome", "why"], notable);
}
