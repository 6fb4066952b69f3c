//! `sre docs`: references that are made from the sources.

use std::path::Path;

use anyhow::{Context as _, Result};
use sre_components::reference;

use crate::cli::args::{Docs, Global};
use crate::cli::exit::Failure;
use crate::cli::output::Output;

/// Runs the command.
pub fn run(global: &Global, command: &Docs) -> Result<()> {
    let output = Output::new(global.format());
    match command {
        Docs::Components { check: true, root } => check(output, root),
        Docs::Components { check: false, root } => write(output, root),
    }
}

fn check(output: Output, root: &Path) -> Result<()> {
    let problems = reference::problems(root).with_context(|| format!("{} cannot be read", root.display()))?;
    if problems.is_empty() {
        output.done("every component type has its descriptions, an example, a test and a current page");
        return Ok(());
    }
    Err(Failure::failed(problems.join("\n")))
}

fn write(output: Output, root: &Path) -> Result<()> {
    let folder = root.join(reference::PAGES);
    std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let pages = reference::pages(root).with_context(|| format!("{} cannot be read", root.display()))?;
    for (path, text) in &pages {
        let path = root.join(path);
        std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    output.done(&format!("{} pages written to {}", pages.len(), folder.display()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::Format;

    #[test]
    fn pages_are_written_and_what_is_missing_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let global = Global { output: Format::Json, ..Global::embedded(folder.path()) };
        let docs = |check| Docs::Components { check, root: folder.path().to_owned() };
        run(&global, &docs(false)).unwrap();
        let page = std::fs::read_to_string(folder.path().join("docs/components/FHash.md")).unwrap();
        for part in ["# FHash", "## Settings", "`algorithm`", "## Inputs", "## Outputs", "## Errors"] {
            assert!(page.contains(part), "{part} in {page}");
        }
        let told = run(&global, &docs(true)).unwrap_err().to_string();
        assert!(told.contains("FHash: the example") && !told.contains("stale"), "{told}");
    }
}
