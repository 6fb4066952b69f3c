//! The configuration of a command: file, environment and flags.

use std::path::PathBuf;

use anyhow::Result;
use sre_service::{Config, LoadOptions};

use crate::cli::args::Global;
use crate::cli::exit::Failure;

/// Loads the configuration; `more` are settings that the command itself adds, below those of `--set`.
pub fn load(global: &Global, more: Vec<(String, String)>) -> Result<Config> {
    let mut options = LoadOptions::from_process();
    if let Some(file) = &global.config {
        options = options.file(file);
    }
    for (key, value) in more {
        options = options.flag(key, value);
    }
    if let Some(folder) = &global.data_dir {
        options = options.flag("data_dir", folder.display().to_string());
    }
    for setting in &global.set {
        let Some((key, value)) = setting.split_once('=') else {
            return Err(Failure::usage(format!("--set {setting:?}: write section.key=value")));
        };
        options = options.flag(key, value);
    }
    let mut config = Config::load(options).map_err(|e| Failure::usage(e.to_string()))?;
    // Where `sre import` puts model files.
    let models = config.data_dir.join("models");
    if config.models.path.is_none() && models.is_dir() {
        config.models.path = Some(models);
    }
    Ok(config)
}

/// The flags that hand the same configuration to another process of this binary.
pub fn flags(global: &Global, config: &Config) -> Vec<String> {
    let mut flags = Vec::new();
    if let Some(file) = &global.config {
        flags.extend(["--config".to_owned(), file.display().to_string()]);
    }
    flags.extend(["--data-dir".to_owned(), absolute(config.data_dir.clone()).display().to_string()]);
    for setting in &global.set {
        flags.extend(["--set".to_owned(), setting.clone()]);
    }
    flags
}

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}
