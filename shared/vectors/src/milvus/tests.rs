use super::*;
use crate::contract::{self, Bench};

async fn fresh() -> Option<Bench> {
    let Ok(address) = std::env::var("SRE_TEST_MILVUS") else {
        println!("skipped: SRE_TEST_MILVUS holds no address");
        assert!(std::env::var_os("CI").is_none(), "CI tests against a server: set SRE_TEST_MILVUS");
        return None;
    };
    let credentials = MilvusCredentials { address, token: None, user: None, password: None };
    let settings = MilvusSettings { credentials, database: String::new(), ca: None };
    Some(Bench::over(Milvus::open(&settings).unwrap(), ()))
}

contract::every_case!(fresh);

/// H30: the reference logged its credentials.
#[test]
fn h30_credentials_are_shown_nowhere() {
    let json = serde_json::json!({"credentials": {"address": "http://127.0.0.1:1", "user": "u",
        "password": "canary-p", "token": "canary-t"}});
    let settings: MilvusSettings = serde_json::from_value(json).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let backend = runtime.block_on(async { Milvus::open(&settings).unwrap() });
    let shown = format!("{settings:?} {backend:?} {:?}", backend.credential);
    assert!(!shown.contains("canary"), "{shown}");
}
