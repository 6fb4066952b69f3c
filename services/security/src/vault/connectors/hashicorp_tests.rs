use std::path::Path;

use serde_json::json;

use super::*;
use crate::hashicorp::fake::Server;
use crate::vault::connectors::contract::{self, Bench, NOW, WRITER};

async fn open(server: &Server, prefix: &str) -> Hashicorp {
    let settings = json!({ "address": server.address, "token": server.token(None), "prefix": prefix });
    let settings = Opening::standalone("vault", settings, Path::new(".")).settings().unwrap();
    Hashicorp::open(&settings, Path::new(".")).await.unwrap()
}

async fn fresh() -> Option<Bench> {
    let server = Server::start().await;
    let store = open(&server, "sre/test").await;
    Some(Bench::over(store, server))
}

contract::every_case!(fresh);

#[test]
fn segments_are_injective_and_printable() {
    for (key, wanted) in [
        ("openai", "openai"),
        ("AWS Key ID (m192)", "AWS Key ID (m192)"),
        ("a/b", "a%2Fb"),
        ("a%2Fb", "a%252Fb"),
        (".", "%2E"),
        ("..", ".%2E"),
        ("a...b", "a.%2E%2Eb"),
    ] {
        assert_eq!(segment(key), wanted);
        assert_eq!(key_of(wanted).as_deref(), Some(key));
    }
    for foreign in ["folder/", "%zz", "%41", "a..b"] {
        assert_eq!(key_of(foreign), None, "{foreign}");
    }
}

/// What an operator wrote with the server's own tools is read, and what is none of ours is not guessed at.
#[tokio::test]
async fn d15_the_value_is_the_field_that_the_settings_name() {
    let server = Server::start().await;
    let store = open(&server, "sre").await;
    let write = async |fields: Value| {
        let path = ["secret", "data", "sre", "t", "k"];
        store.client.call(Method::POST, &path, &[], Some(&json!({ "data": fields }))).await.unwrap();
    };
    write(json!({ "value": "by hand", "note": "x" })).await;
    assert_eq!(store.get("t", "k", None).await.unwrap().unwrap().1.expose(), b"by hand");
    for other in [json!({ "password": "x" }), json!({ "value": { "a": 1 } })] {
        write(other).await;
        assert!(matches!(store.get("t", "k", None).await, Err(SecretStoreError::Damaged(_))));
    }
}

/// services.md D13: there is a connector, and what it stores is there.
#[tokio::test]
async fn d13_what_is_set_is_there_with_who_set_it() {
    let server = Server::start().await;
    let store = open(&server, "sre").await;
    store.put("t", "k", SecretValue::new(b"v".to_vec()), WRITER, NOW).await.unwrap();
    let (info, value) = store.get("t", "k", None).await.unwrap().unwrap();
    assert_eq!((value.expose(), info.updater.as_str()), (&b"v"[..], WRITER));
    let registry = &crate::vault::connectors::VAULT;
    assert!(registry.kinds.iter().any(|kind| kind.name == "hashicorp"));
}
