//! Deliberate differences: vectors whose recorded answer is a defect, with the right answer and who says so.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::Value;

/// One deliberate difference.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeliberateDifference {
    /// The vector's id.
    pub vector: String,
    /// What orders the difference.
    pub by: String,
    /// The full right answer, which may hold placeholders.
    pub result: Value,
}

/// Reads a differences file: one JSON object a line.
pub fn read(file: &Path) -> Result<HashMap<String, DeliberateDifference>> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut differences = HashMap::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let difference: DeliberateDifference =
            serde_json::from_str(line).with_context(|| format!("{} line {}", file.display(), number + 1))?;
        if difference.by.trim().is_empty() {
            bail!("{} line {}: `by` is empty, name what orders the difference", file.display(), number + 1);
        }
        if let Some(twice) = differences.insert(difference.vector.clone(), difference) {
            bail!("{} line {}: {} is there twice", file.display(), number + 1, twice.vector);
        }
    }
    Ok(differences)
}
