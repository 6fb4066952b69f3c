//! Backends as operators see them: `sre config check`, `sre connectors list` and `check`, gRPC Health by instance.

use std::time::Duration;

use serde_json::{Value, json};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::process::{kept, say};
use crate::harness::{Mode, Options, Suite, in_both_modes};

in_both_modes!(listed_and_checked);

const TWO: &str =
    "[{Connector='local', Id='fast'}, {Connector='local', Id='archive', Settings={folder='archive'}}]";

/// The row of an instance.
fn of<'a>(rows: &'a Value, service: &str, id: &str) -> &'a Value {
    let found = rows.as_array().unwrap().iter().find(|row| row["service"] == service && row["id"] == id);
    found.unwrap_or_else(|| panic!("no {service}/{id} in {rows}"))
}

/// What is told of the one instance of a service.
fn of_row(rows: &Value, service: &str) -> String {
    let row = rows.as_array().unwrap().iter().find(|row| row["service"] == service).unwrap();
    row["reason"].as_str().unwrap().to_owned()
}

async fn listed_and_checked(mode: Mode) {
    let options = Options::default().listen_everywhere().set("connectors.storage", TWO);
    let suite = Suite::start("connectors", mode, options).await;
    let folder = suite.folder().to_owned();
    let listed = say(&folder, &["connectors", "list", "--json"]).await.ok().json();
    let fast = of(&listed, "storage", "fast");
    assert_eq!((&fast["default"], &fast["state"]), (&json!(true), &json!("ready")), "{listed}");
    assert_eq!(of(&listed, "storage", "archive")["default"], json!(false));
    // Those that nobody configured are there, too.
    assert!(listed.as_array().unwrap().len() > 2, "{listed}");
    let all = say(&folder, &["connectors", "check"]).await;
    assert_eq!(all.code, 0, "{all:?}");

    let mut health = HealthClient::new(suite.channel("user/dev", "io"));
    let mut state = async || {
        let request = HealthCheckRequest { service: "sre.storage/archive".into() };
        health.check(request).await.unwrap().into_inner().status()
    };
    assert_eq!(state().await, ServingStatus::Serving);
    std::fs::remove_dir_all(folder.join("archive")).unwrap();
    let sick = say(&folder, &["connectors", "check", "--service", "storage", "--json"]).await;
    assert_eq!(sick.code, 1, "{sick:?}");
    let archive = of(&sick.json(), "storage", "archive").clone();
    assert_eq!(archive["state"], json!("degraded"), "{archive}");
    assert!(!archive["reason"].as_str().unwrap().is_empty(), "{archive}");
    assert_eq!(say(&folder, &["connectors", "check", "--id", "fast"]).await.code, 0);
    let told = async {
        while state().await != ServingStatus::NotServing {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), told).await.expect("the archive is still serving");
    suite.stop().await;
}

/// Nothing runs: the configuration alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_suite() {
    let folder = kept().join("connectors-none");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let write = |text: &str| std::fs::write(folder.join("sre.toml"), text).unwrap();

    write(&format!("connectors.storage = {TWO}\n[connectors.log]\nConnector = 'ConsoleLog'\n"));
    let sound = say(&folder, &["config", "check"]).await.ok();
    assert!(sound.out.contains("connectors.log changes nothing"), "{sound:?}");
    let listed = say(&folder, &["connectors", "list", "--json"]).await.ok().json();
    assert_eq!(of(&listed, "storage", "archive")["state"], json!("configured"));
    assert!(!folder.join("archive").exists(), "listing opens nothing");
    let checked = say(&folder, &["connectors", "check", "--service", "storage", "--json"]).await.ok().json();
    assert_eq!(of(&checked, "storage", "archive")["state"], json!("ready"));

    write("[connectors.storage]\nConnector = 'local'\nSettings = {foldr = 'x'}\n");
    let wrong = say(&folder, &["config", "check"]).await;
    assert_eq!(wrong.code, 2, "{wrong:?}");
    assert!(wrong.err.contains("connectors.storage `local`") && wrong.err.contains("`folder`"), "{wrong:?}");
    assert_eq!(say(&folder, &["connectors", "check", "--service", "storage"]).await.code, 1);

    // Out of process: for every service that takes such a one, checked without it and told when it is not there.
    for service in ["storage", "nkv", "vectordb", "cache", "vault"] {
        let of = |settings: &str| {
            write(&format!("[connectors.{service}]\nConnector = 'Grpc'\nSettings = {{{settings}}}\n"))
        };
        of("endpoint = 'unix:/nowhere/store.sock'");
        assert_eq!(say(&folder, &["config", "check"]).await.code, 0, "{service}");
        let away = say(&folder, &["connectors", "check", "--service", service, "--json"]).await;
        assert_eq!(away.code, 1, "{service}: {away:?}");
        let reason = of_row(&away.json(), service);
        assert!(reason.contains("/nowhere/store.sock"), "{service}: {reason}");
        of("endpint = 'unix:/nowhere/store.sock'");
        let wrong = say(&folder, &["config", "check"]).await;
        assert!(wrong.code == 2 && wrong.err.contains("`endpoint`"), "{service}: {wrong:?}");
    }

    write("[connectors.storage]\nConnector = 'lokal'\n");
    let unknown = say(&folder, &["config", "check"]).await;
    assert!(unknown.code == 2 && unknown.err.contains("did you mean `local`?"), "{unknown:?}");
    let nobody = say(&folder, &["connectors", "list", "--service", "log"]).await;
    assert!(nobody.code == 2 && nobody.err.contains("storage"), "{nobody:?}");
}
