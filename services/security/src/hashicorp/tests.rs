use serde_json::json;
use sre_service::connectors::Opening;

use super::fake::Server;
use super::transit::Transit;
use super::*;
use crate::vault::keks::Keks;
use crate::vault::key_file::KeyFile;
use crate::vault::key_protection::Protection;

fn settings(server: &Server, auth: Value) -> Settings {
    let mut settings = json!({ "address": server.address, "timeoutMs": 2000 });
    settings.as_object_mut().unwrap().extend(auth.as_object().unwrap().clone());
    Opening::standalone("vault", settings, Path::new(".")).settings().unwrap()
}

async fn open(server: &Server, auth: Value) -> anyhow::Result<Arc<Client>> {
    Client::open(&settings(server, auth), Path::new(".")).await
}

async fn reads(client: &Client) -> Result<Option<Value>, SecretStoreError> {
    client.call(Method::GET, &["secret", "data", "sre", "t", "k"], &[], None).await
}

#[tokio::test]
async fn a_token_an_app_role_and_a_service_account_log_in() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let jwt = dir.path().join("jwt");
    std::fs::write(&jwt, "jwt-1\n").unwrap();
    let token = server.token(None);
    for auth in [
        json!({ "token": token }),
        json!({ "appRole": { "roleId": "role-1", "secretId": "secret-1" } }),
        json!({ "kubernetes": { "role": "sre", "jwtFile": jwt } }),
    ] {
        let client = open(&server, auth).await.unwrap();
        assert!(reads(&client).await.unwrap().is_none());
        client.logged_in().await.unwrap();
    }
}

#[tokio::test]
async fn wrong_credentials_are_refused_and_not_shown() {
    let server = Server::start().await;
    for auth in [
        json!({ "token": "hvs.s3cret-canary" }),
        json!({ "appRole": { "roleId": "role-1", "secretId": "s3cret-canary" } }),
        json!({ "kubernetes": { "role": "sre", "jwtFile": "/nowhere/s3cret" } }),
    ] {
        let error = open(&server, auth).await.err().unwrap();
        assert!(matches!(error.downcast_ref(), Some(SecretStoreError::Refused(_))), "{error}");
        assert!(!format!("{error:#}").contains("canary"), "{error:#}");
    }
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused_before_a_call() {
    let server = Server::start().await;
    for (change, text) in [
        (json!({}), "exactly one"),
        (json!({ "token": "a", "kubernetes": { "role": "r" } }), "exactly one"),
        (json!({ "token": "a", "address": "http://vault.example:8200" }), "not https"),
        (json!({ "token": "a", "address": "vault" }), "no URL"),
        (json!({ "token": "a", "prefix": "a/../b" }), "no path"),
    ] {
        let error = open(&server, change).await.err().unwrap();
        assert!(format!("{error:#}").contains(text), "{error:#}");
    }
    assert_eq!(server.count(""), 0);
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends_once_for_all_callers() {
    let server = Server::start().await;
    server.state.lock().lease = Duration::from_secs(3);
    let auth = json!({ "appRole": { "roleId": "role-1", "secretId": "secret-1" } });
    let client = open(&server, auth).await.unwrap();
    let first = client.token().await.unwrap();
    // Two thirds of its time.
    tokio::time::sleep(first.until_renewal()).await;
    let calls = (0..8).map(|_| reads(&client));
    for answer in futures::future::join_all(calls).await {
        assert!(answer.unwrap().is_none());
    }
    assert_eq!((server.count("renew-self"), server.count("login")), (1, 1));
}

#[tokio::test]
async fn a_token_that_was_revoked_is_replaced_by_a_new_login() {
    let server = Server::start().await;
    let auth = json!({ "appRole": { "roleId": "role-1", "secretId": "secret-1" } });
    let client = open(&server, auth).await.unwrap();
    server.state.lock().tokens.clear();
    assert!(reads(&client).await.unwrap().is_none());
    assert_eq!(server.count("login"), 2);
    // A static token has no other.
    let client = open(&server, json!({ "token": server.token(None) })).await.unwrap();
    server.state.lock().tokens.clear();
    assert!(matches!(reads(&client).await, Err(SecretStoreError::Refused(_))));
}

/// services.md D14: what went wrong is told, and nothing reads as an empty vault.
#[tokio::test]
async fn d14_errors_are_mapped_not_swallowed() {
    let server = Server::start().await;
    let client = open(&server, json!({ "token": server.token(None) })).await.unwrap();
    for (status, kind) in
        [(500, "Unavailable"), (503, "Unavailable"), (429, "Busy"), (403, "Refused"), (307, "Unavailable")]
    {
        server.state.lock().broken = Some(status);
        let error = reads(&client).await.unwrap_err();
        assert!(format!("{error:?}").starts_with(kind), "{status}: {error:?}");
    }
    server.state.lock().broken = None;
    server.state.lock().sealed = true;
    assert!(matches!(client.health().await, Err(SecretStoreError::Unavailable(_))));
    server.state.lock().sealed = false;
    reads(&client).await.unwrap();
    // Nobody listens at a port that was just given back.
    let address = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let gone = open(&server, json!({ "token": "s3cret-canary", "address": address })).await.err().unwrap();
    let text = format!("{gone:#}");
    assert!(matches!(gone.downcast_ref(), Some(SecretStoreError::Unavailable(_))), "{text}");
    assert!(!text.contains("canary"), "{text}");
}

#[tokio::test]
async fn a_namespace_is_named_in_every_call() {
    let server = Server::start().await;
    server.state.lock().namespace = Some("team-a".into());
    let token = server.token(None);
    let client = open(&server, json!({ "token": token, "namespace": "team-a" })).await.unwrap();
    client.logged_in().await.unwrap();
    assert!(open(&server, json!({ "token": token })).await.is_err());
}

#[tokio::test]
async fn tls_is_verified_against_the_given_authority_alone() {
    let server = Server::start_tls().await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("ca.pem"), server.ca.as_ref().unwrap()).unwrap();
    let token = server.token(None);
    let with_ca = settings(&server, json!({ "token": token, "ca": "ca.pem" }));
    Client::open(&with_ca, dir.path()).await.unwrap().logged_in().await.unwrap();
    let error = open(&server, json!({ "token": token })).await.err().unwrap();
    assert!(matches!(error.downcast_ref(), Some(SecretStoreError::Unavailable(_))), "{error:#}");
}

#[tokio::test]
async fn a_transit_key_wraps_the_key_file() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let open = || async {
        let settings = json!({ "address": server.address, "token": server.token(None), "key": "sre" });
        let transit = Transit::open(settings.as_object().unwrap(), dir.path()).await.unwrap();
        let file = KeyFile::new(&dir.path().join("vault.key"), Protection::Remote(Arc::new(transit)));
        Keks::open(file, None).await.unwrap()
    };
    let keks = open().await;
    let sealed = keks.seal("p", b"v").unwrap();
    keks.rotate().await.unwrap();
    let text = std::fs::read_to_string(dir.path().join("vault.key")).unwrap();
    assert!(text.starts_with("remote$vault:v1:"), "{text}");
    drop(keks);
    let again = open().await;
    assert_eq!(again.unseal("p", &sealed).unwrap().as_slice(), b"v");
    let plain = KeyFile::plain(&dir.path().join("vault.key")).load().await;
    assert!(plain.unwrap_err().to_string().contains("vault.transit"));
}
