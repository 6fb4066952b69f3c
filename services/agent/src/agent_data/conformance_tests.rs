//! The agents of the conformance folder are sound: no finding refuses one.

use std::path::PathBuf;

use super::document;

fn folder() -> PathBuf {
    let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance");
    std::env::var_os("SRE_CONFORMANCE").map_or_else(default, PathBuf::from)
}

#[test]
fn every_conformance_agent_validates_without_an_error() {
    let Ok(agents) = std::fs::read_dir(folder().join("agents")) else {
        eprintln!("skipped: no agents in {} (set SRE_CONFORMANCE)", folder().display());
        return;
    };
    let mut looked_at = 0;
    for file in agents {
        let path = file.unwrap().path();
        let document = std::fs::read(&path).unwrap();
        let (issues, skills) =
            document::findings(&document, sre_components::registry(), document::MAX_DOCUMENT_BYTES).unwrap();
        let errors: Vec<_> = issues.iter().filter(|issue| issue.is_error()).collect();
        assert!(errors.is_empty(), "{}: {errors:#?}", path.display());
        assert!(!skills.is_empty(), "{}", path.display());
        for issue in &issues {
            assert!(issue.hint.is_some() && issue.field.is_some(), "{}: {issue}", path.display());
        }
        looked_at += 1;
    }
    assert!(looked_at > 0, "the folder is empty");
}
