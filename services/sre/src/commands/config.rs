//! `sre config`: checks and shows the configuration.

use std::sync::Arc;

use anyhow::Result;
use serde_json::json;

use crate::cli::args::{Config, Global};
use crate::cli::exit::Failure;
use crate::cli::output::{Output, line};
use crate::settings;

use super::connectors;

/// Runs the command.
pub fn run(global: &Global, command: &Config) -> Result<()> {
    let output = Output::new(global.format());
    match command {
        Config::Reference => line(&sre_service::config::reference_markdown()),
        Config::Metrics => line(sre_service::telemetry::catalogue::reference_markdown().trim_end()),
        Config::Check => {
            let config = Arc::new(settings::load(global, Vec::new())?);
            let problems = connectors::problems(&config);
            if !problems.is_empty() {
                return Err(Failure::usage(problems.join("\n")));
            }
            for service in config.connectors.without_effect() {
                output.note(&format!("connectors.{service} changes nothing: SRE has one, built in"));
            }
            output.done("the configuration is sound");
        }
        Config::Print => {
            let config = settings::load(global, Vec::new())?;
            let rows = config.explain().into_iter();
            output.rows(
                &["key", "value", "origin"],
                rows.map(|row| vec![json!(row.key), json!(row.value), json!(row.origin.to_string())])
                    .collect(),
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_committed_reference_is_the_current_one() {
        let committed = include_str!("../../../../docs/configuration.md");
        let current = sre_service::config::reference_markdown();
        assert_eq!(
            committed.trim_end(),
            current.trim_end(),
            "take it over: sre config reference > docs/configuration.md"
        );
    }

    #[test]
    fn the_committed_list_of_metrics_is_the_current_one() {
        let committed = include_str!("../../../../docs/metrics.md");
        let current = sre_service::telemetry::catalogue::reference_markdown();
        assert_eq!(
            committed.trim_end(),
            current.trim_end(),
            "take it over: sre config metrics > docs/metrics.md"
        );
    }
}
