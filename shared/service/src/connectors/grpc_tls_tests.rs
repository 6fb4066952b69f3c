//! The sample over TLS: each side proves who it is.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use sre_identity::ca::{DEFAULT_LIFETIME, LOCAL_NAMES};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tonic::service::Routes;

use super::{Opening, OutOfProcess};
use crate::testing::{TestSuite, sample_connector_python};
use crate::{Host, Role};

const SERVICE: &str = "sre.connector.v1.Nkv";
const PATIENCE: Duration = Duration::from_secs(20);
/// For what cannot succeed.
const IMPATIENCE: Duration = Duration::from_millis(1);

/// The sample on a free port, as `service/python-store`, for the role `io` alone; ended when dropped.
async fn sample(suite: &TestSuite, folder: &Path) -> Option<(Child, String)> {
    let python = sample_connector_python()?;
    let principal = "service/python-store".parse().unwrap();
    let issued = suite.authority().issue(&principal, &LOCAL_NAMES, DEFAULT_LIFETIME).unwrap();
    std::fs::write(folder.join("cert.pem"), issued.cert_pem).unwrap();
    std::fs::write(folder.join("key.pem"), issued.key_pem).unwrap();
    suite.authority().save(folder).unwrap();
    let server = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/connectors/python/server.py");
    let mut child = Command::new(python)
        .current_dir(folder)
        .args([
            server,
            "--listen",
            "127.0.0.1:0",
            "--folder",
            "store",
            "--cert",
            "cert.pem",
            "--key",
            "key.pem",
        ])
        .args(["--ca", "ca.pem", "--allow", "spiffe://sre.local/service/io"])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().unwrap();
    let port = line.strip_prefix("serving on ").unwrap().to_owned();
    Some((child, port))
}

async fn reached(host: &Host, settings: Value, patience: Duration) -> Result<(), String> {
    let opening = Opening::standalone("x", settings, host.data_dir()).within(host);
    let opened = OutOfProcess::open_within(&opening, SERVICE, patience).await;
    opened.map(drop).map_err(|error| format!("{error:#}"))
}

#[tokio::test]
async fn over_tls_each_side_proves_who_it_is() {
    let empty = |_: Host| async { Ok(Routes::default()) };
    let suite = TestSuite::builder().role(Role::Io, empty).role(Role::Memory, empty).build().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let Some((server, port)) = sample(&suite, folder.path()).await else { return };
    let (io, memory) = (suite.host(Role::Io), suite.host(Role::Memory));
    let by_id = |id: &str| json!({"endpoint": format!("https://127.0.0.1:{port}"), "serverId": id});
    let by_name = |host: &str| json!({"endpoint": format!("https://{host}:{port}"), "ca": folder.path().join("ca.pem")});
    reached(io, by_id("service/python-store"), PATIENCE).await.unwrap();
    reached(io, by_name("localhost"), PATIENCE).await.unwrap();
    // Another server than the one that is meant.
    let other = reached(io, by_id("service/another"), IMPATIENCE).await.unwrap_err();
    assert!(other.contains("service/python-store") && other.contains("service/another"), "{other}");
    let strange = tempfile::tempdir().unwrap();
    sre_identity::ca::Authority::create(&suite.authority().trust_domain().clone())
        .unwrap()
        .save(strange.path())
        .unwrap();
    let mut untrusted = by_name("localhost");
    untrusted["ca"] = json!(strange.path().join("ca.pem"));
    let untrusted = reached(io, untrusted, IMPATIENCE).await.unwrap_err();
    assert!(untrusted.contains("certificate"), "{untrusted}");
    // Another caller than the one that is allowed.
    let refused = reached(memory, by_id("service/python-store"), IMPATIENCE).await.unwrap_err();
    assert!(refused.contains("not allowed here"), "{refused}");
    drop(server);
    suite.stop().await;
}
