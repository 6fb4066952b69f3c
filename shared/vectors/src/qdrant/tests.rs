use super::fake::Fake;
use super::*;
use crate::contract::{self, Bench};

fn settings(address: std::net::SocketAddr, key: &str) -> QdrantSettings {
    QdrantSettings { address: format!("http://{address}"), api_key: Some(key.into()), ca: None }
}

/// Against a fake; against a server where `SRE_TEST_QDRANT` names one.
async fn fresh() -> Option<Bench> {
    if let Ok(address) = std::env::var("SRE_TEST_QDRANT") {
        let settings = QdrantSettings { address, api_key: None, ca: None };
        return Some(Bench::over(Qdrant::open(&settings).unwrap(), ()));
    }
    let (address, server) = Fake::serve("canary-key").await;
    Some(Bench::over(Qdrant::open(&settings(address, "canary-key")).unwrap(), server))
}

contract::every_case!(fresh);

/// H30: a credential is in no text that could be logged.
#[tokio::test]
async fn h30_a_wrong_key_is_refused_and_shown_nowhere() {
    let (address, _server) = Fake::serve("right").await;
    let settings = settings(address, "canary-wrong");
    let backend = Qdrant::open(&settings).unwrap();
    let error = backend.check().await.unwrap_err();
    let shown = format!("{settings:?} {backend:?} {error:?} {error}");
    assert!(matches!(error, BackendError::Failed(_)), "{error:?}");
    assert!(!shown.contains("canary"), "{shown}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let backend = Qdrant::open(&settings(address, "k")).unwrap();
    assert!(matches!(backend.check().await, Err(BackendError::Unavailable(_))));
}
