//! The sample of a connector out of process, which `tests/stages/connector.sh` starts.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;

use crate::connectors::Opening;

/// What opens a fresh instance of the sample; none where no sample runs, which CI does not let pass.
///
/// Panics where it must run and does not.
pub fn sample_connector(data_dir: &Path) -> Option<Opening> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let endpoint = variable("SRE_TEST_CONNECTOR")?;
    let id = format!("t-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    Some(Opening::standalone(&id, json!({ "endpoint": endpoint }), data_dir))
}

/// The interpreter that runs the sample, for tests that start it in their own way.
///
/// Panics where it must be there and is not.
pub fn sample_connector_python() -> Option<String> {
    variable("SRE_TEST_CONNECTOR_PYTHON")
}

fn variable(name: &str) -> Option<String> {
    if let Ok(value) = std::env::var(name) {
        return Some(value);
    }
    let required = ["CI", "SRE_TEST_REQUIRE"].iter().any(|name| std::env::var_os(name).is_some());
    assert!(!required, "{name} is not set: run tests/stages/servers.sh run connector -- cargo test");
    // What the test harness captures, and shows with `--nocapture`.
    eprintln!("skipped: {name} is not set");
    None
}
