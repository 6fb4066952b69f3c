//! `sre authz`.

use std::time::Instant;

use anyhow::Result;
use rand::Rng as _;
use serde_json::json;

use crate::authz::{self, Fuzz, Report};
use crate::cli::args::{Authz, Global};
use crate::cli::exit::Failure;
use crate::cli::output::Output;
use crate::cli::progress::Progress;
use crate::settings;

/// Runs the command.
pub async fn run(global: &Global, command: Authz) -> Result<()> {
    let output = Output::new(global.format());
    match command {
        Authz::Matrix { service } => {
            matrix(output, &service);
            Ok(())
        }
        Authz::Fuzz { pairs, seed } => {
            // Code runs where this configuration lets it.
            let config = settings::load(global, Vec::new())?;
            let worker = config.compute.enabled.then(std::env::current_exe).transpose()?;
            let seed = seed.unwrap_or_else(|| rand::rng().random());
            Box::pin(fuzz(output, Fuzz { pairs, seed, worker })).await
        }
    }
}

fn matrix(output: Output, service: &str) {
    let rows = authz::rows();
    let wanted = rows.iter().filter(|row| row.service.contains(service));
    let cells = wanted.map(|row| {
        vec![
            json!(row.service),
            json!(row.method),
            json!(row.visibility),
            json!(row.needs),
            json!(row.on),
            json!(row.audit),
            json!(row.passes),
        ]
    });
    output
        .rows(&["service", "method", "visibility", "needs", "on", "audited", "who passes"], cells.collect());
}

async fn fuzz(output: Output, asked: Fuzz) -> Result<()> {
    let progress = Progress::start("asking");
    let started = Instant::now();
    let report =
        authz::fuzz(&asked, |report| progress.say(&format!("{} of {} pairs", report.pairs, asked.pairs)))
            .await;
    drop(progress);
    let report = report?;
    show(output, &asked, &report, started);
    if report.disagreements + report.cross_tenant_reads == 0 {
        return Ok(());
    }
    let told = |finding: &authz::Finding| format!("pair {}: {}", finding.pair, finding.text);
    let told: Vec<String> = report.findings.iter().map(told).collect();
    Err(Failure::failed(format!(
        "the services and the model disagree; --seed {} --pairs {} brings it back\n{}",
        asked.seed,
        report.pairs,
        told.join("\n"),
    )))
}

fn show(output: Output, asked: &Fuzz, report: &Report, started: Instant) {
    let mut rows = vec![
        ("seed", json!(asked.seed)),
        ("pairs", json!(report.pairs)),
        ("allowed", json!(report.allowed)),
        ("refused", json!(report.denied)),
    ];
    rows.extend(report.ways.iter().map(|(way, count)| (*way, json!(count))));
    rows.push(("seconds", json!(started.elapsed().as_secs())));
    rows.push(("disagreements", json!(report.disagreements)));
    rows.push(("cross-tenant reads", json!(report.cross_tenant_reads)));
    output.record(rows);
}
