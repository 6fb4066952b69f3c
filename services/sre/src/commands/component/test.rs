//! `sre component test`: the conformance kit's report.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use super::target;
use crate::cli::args::{ComponentTest, Global};
use crate::cli::exit::Failure;
use crate::cli::output::Output;
use crate::component_kit::{Kit, Verdict};

const COLUMNS: [&str; 4] = ["check", "result", "ms", "why"];

pub(super) async fn run(global: &Global, output: Output, arguments: ComponentTest) -> Result<()> {
    let channel = target::connect(global, &arguments.target)?;
    let streams = usize::try_from(arguments.streams).unwrap_or(usize::MAX);
    let report = Box::pin(Kit::new(channel, Duration::from_secs(arguments.limit), streams).run()).await;
    let rows = report.lines.iter().map(|line| {
        let (result, why) = match &line.verdict {
            Verdict::Passed => ("passed", ""),
            Verdict::Failed(why) => ("FAILED", why.as_str()),
            Verdict::Skipped(why) => ("skipped", why.as_str()),
        };
        let ms = u64::try_from(line.took.as_millis()).unwrap_or(u64::MAX);
        vec![json!(line.check), json!(result), json!(ms), json!(why)]
    });
    output.rows(&COLUMNS, rows.collect());
    let failed = report.failures().count();
    let subject = if report.subject.is_empty() { &arguments.target.target } else { &report.subject };
    match failed {
        0 => {
            output.note(&format!("{subject} keeps the contract of sre.component.v1"));
            Ok(())
        }
        _ => Err(Failure::failed(format!("{subject}: {failed} of {} checks failed", report.lines.len()))),
    }
}
