//! `sre config`: checks and shows the configuration.

use anyhow::Result;
use serde_json::json;

use crate::cli::args::{Config, Global};
use crate::cli::output::{Output, line};
use crate::settings;

/// Runs the command.
pub fn run(global: &Global, command: &Config) -> Result<()> {
    let output = Output::new(global.format());
    match command {
        Config::Reference => line(&sre_service::config::reference_markdown()),
        Config::Check => {
            settings::load(global, Vec::new())?;
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
}
