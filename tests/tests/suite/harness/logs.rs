//! What suites log. A line of level ERROR fails the test: none here is expected.

use std::path::{Path, PathBuf};

/// Every log file of a suite: its own, and in split mode one per process.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in [folder.to_owned(), folder.join("logs")] {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        let logs = entries.filter_map(|entry| Some(entry.ok()?.path()));
        found.extend(logs.filter(|path| path.extension().is_some_and(|extension| extension == "log")));
    }
    found.sort();
    found
}

/// The last lines of every log, for the message of a test that fails.
pub fn tail(folder: &Path) -> String {
    let last = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(15);
        format!("--- {}\n{}\n", path.display(), lines[from..].join("\n"))
    };
    files(folder).iter().map(last).collect()
}

/// How many lines of all logs hold a text.
pub fn count(folder: &Path, text: &str) -> usize {
    let lines = |path: &PathBuf| {
        let log = std::fs::read_to_string(path).unwrap_or_default();
        log.lines().filter(|line| line.contains(text)).count()
    };
    files(folder).iter().map(lines).sum()
}

/// Panics where a log has a line of level ERROR, or a panic.
pub fn assert_no_errors(folder: &Path) {
    let mut wrong = Vec::new();
    for path in files(folder) {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        for line in text.lines() {
            if is_error(line) || line.contains("panicked at") {
                wrong.push(format!("{}: {line}", path.file_name().unwrap_or_default().display()));
            }
        }
    }
    assert!(wrong.is_empty(), "unexpected errors in the logs of {}:\n{}", folder.display(), wrong.join("\n"));
}

/// Whether a line is of level ERROR: text or JSON, coloured or not.
fn is_error(line: &str) -> bool {
    line.contains(" ERROR ") || line.contains("\"level\":\"ERROR\"") || line.contains("31mERROR")
}
