//! One document per kind of finding: `issues/<kind>.json` holds the document and all that is to be found in it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may stop the test")]

mod support;

use std::path::PathBuf;

use serde_json::{Value as Json, json};
use sre_engine::{Environment, Severity, check_in, compile, needs};
use support::Doubles;

/// A vault with one key and a catalogue with one model.
struct Place;

impl Environment for Place {
    fn secret_exists(&self, key: &str) -> Option<bool> {
        Some(key == "present")
    }

    fn model_exists(&self, name: &str) -> Option<bool> {
        Some(name == "Echo")
    }
}

fn cases() -> Vec<(String, Json)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/issues");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let read = |path: &PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        (name, serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap())
    };
    files.iter().map(read).collect()
}

#[test]
fn each_kind_is_found_with_its_place_and_a_hint() {
    let cases = cases();
    assert!(cases.len() >= 28, "{}", cases.len());
    let mut wrong = Vec::new();
    for (name, case) in &cases {
        let found = check_in(&case["document"], &Doubles, &Place);
        let json = serde_json::to_value(&found).unwrap();
        if json != case["issues"] {
            wrong.push(format!("{name}: {}", serde_json::to_string_pretty(&json).unwrap()));
        }
        // What is an error is refused, and nothing else is.
        let refused = found.iter().any(|issue| issue.severity == Severity::Error);
        assert_eq!(compile(&case["document"], &Doubles).is_err(), refused, "{name}");
        for issue in &found {
            assert!(issue.field.is_some() && issue.hint.is_some(), "{name}: {issue}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_nobody_knows_raises_nothing() {
    for (name, case) in cases().into_iter().filter(|(name, _)| name.starts_with("missing-")) {
        assert!(sre_engine::check(&case["document"], &Doubles).is_empty(), "{name}");
    }
}

#[test]
fn needs_lists_each_name_once() {
    let (_, secrets) = cases().into_iter().find(|(name, _)| name == "missing-secret").unwrap();
    let found = needs(&secrets["document"], &Doubles);
    assert_eq!(json!(found.secrets), json!(["absent", "gone", "present"]));
    let (_, models) = cases().into_iter().find(|(name, _)| name == "missing-model").unwrap();
    let found = needs(&models["document"], &Doubles);
    assert_eq!(json!(found.models), json!(["Echo", "absent-default", "gpt-5"]));
}
