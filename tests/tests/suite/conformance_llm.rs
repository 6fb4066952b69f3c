//! Every defect of llm.md §11.1 has a regression test whose name begins with its number, `d27_...` or `d33_d38_...`, where
//! the language models or conversations are. A test that is renamed or removed fails here.

use std::collections::BTreeSet;
use std::path::Path;

use super::architecture::sources;
use super::conformance_numbers::numbers;

const DEFECTS: u32 = 49;

/// Where these numbers are those of llm.md; other specs count their own.
const FOLDERS: &[&str] = &[
    "services/llm",
    "services/gateway/src/engine/conversations",
    "services/gateway/src/engine/tests/conversations",
];
/// Counts the defects of components.md.
const OF_ANOTHER_SPEC: &str = "engine/conversations/lent.rs";

#[test]
fn every_defect_is_named_by_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let files = FOLDERS.iter().flat_map(|folder| sources(&root.join(folder)));
    let mut named = BTreeSet::new();
    for file in files.filter(|file| !file.ends_with(OF_ANOTHER_SPEC)) {
        let text = std::fs::read_to_string(&file).unwrap();
        let functions = text.split("fn ").skip(1);
        named.extend(functions.flat_map(numbers).filter(|number| number.starts_with('D')));
    }
    let all: BTreeSet<String> = (1..=DEFECTS).map(|n| format!("D{n}")).chain(["D1B".to_owned()]).collect();
    let without: Vec<_> = all.difference(&named).collect();
    assert_eq!(without, Vec::<&String>::new(), "no test names these");
    let unknown: Vec<_> = named.difference(&all).collect();
    assert_eq!(unknown, Vec::<&String>::new(), "llm.md has no such numbers");
}
