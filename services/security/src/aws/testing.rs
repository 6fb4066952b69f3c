//! The server that the tests run against: moto, which speaks the service's protocol.

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;
use sre_service::connectors::Opening;

use super::Settings;

/// Settings with a prefix of their own; none, with a message, without a server.
pub(crate) fn settings() -> Option<Settings> {
    let Ok(endpoint) = std::env::var("SRE_TEST_MOTO") else {
        println!("skipped: SRE_TEST_MOTO holds no url");
        assert!(std::env::var_os("CI").is_none(), "CI tests against a server: set SRE_TEST_MOTO");
        return None;
    };
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    let prefix = format!("sre-{}-{n}/test", std::process::id());
    Some(with(json!({ "endpoint": endpoint, "prefix": prefix })))
}

/// Settings with these beside the usual.
pub(crate) fn with(more: serde_json::Value) -> Settings {
    let mut settings = json!({
        "region": "eu-central-1",
        "awsAccessKeyId": "AKIDEXAMPLE",
        "awsSecretAccessKey": "s3cret-canary",
        "timeoutMs": 5000,
    });
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Opening::standalone("aws", settings, std::path::Path::new(".")).settings().unwrap()
}
