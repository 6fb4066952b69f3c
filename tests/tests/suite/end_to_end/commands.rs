//! What people type: agents, their runs, keys and models, with answers that scripts read.

use serde_json::{Value, json};

use crate::harness::agents::hasher;
use crate::harness::process::say;
use crate::harness::{Mode, Options, Suite};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_runs_keys_and_models_are_kept_on_the_command_line() {
    let suite = Suite::start("commands", Mode::AllInOne, Options::default()).await;
    let said = async |words: &str| say(suite.folder(), &words.split(' ').collect::<Vec<_>>()).await;
    let json = async |words: &str| said(&format!("{words} --json")).await.ok().json();
    let rows = async |words: &str| json(words).await.as_array().unwrap().clone();

    let file = tempfile::Builder::new().suffix(".smyth").tempfile().unwrap();
    let mut versions = Vec::new();
    for description in ["as it was", "as it is"] {
        let mut document = hasher("hasher");
        document["shortDescription"] = json!(description);
        std::fs::write(file.path(), document.to_string()).unwrap();
        let put = json(&format!("agents put {}", file.path().display())).await;
        versions.push(put["version"].as_str().unwrap().to_owned());
    }
    assert_eq!(rows("agents versions hasher").await.len(), 2);
    said(&format!("agents deploy hasher {}", versions[0])).await.ok();
    assert_eq!(json("agents get hasher").await["deployed"], versions[0].as_str());
    assert_eq!(rows("agents list").await[0]["agent"], "hasher");
    let document: Value = serde_json::from_str(&said("agents get hasher --document").await.ok().out).unwrap();
    assert_eq!(document["id"], "hasher");

    let dev = suite.client("user/dev");
    let run = dev.run("teams/default/agents/hasher", "hash", &json!({ "text": "x" })).await.unwrap().run;
    let started = dev.start("teams/default/agents/hasher", "hash", &json!({ "text": "x" })).await.unwrap();
    let watched = said(&format!("runs watch {}", started.name)).await.ok();
    assert!(watched.out.contains("sha"), "{watched:?}");
    let listed = rows("runs list hasher").await;
    assert!(listed.iter().any(|row| row.to_string().contains(&started.name)), "{listed:?}");
    said(&format!("runs delete {}", started.name)).await.ok();
    assert_eq!(said(&format!("runs get {}", started.name)).await.code, 3);
    assert_ne!(run, started.name);
    assert!(rows("debug list hasher").await.is_empty());

    let made = json("keys create").await;
    let name = made["name"].as_str().unwrap();
    assert!(made["key"].as_str().unwrap().starts_with("sre_"), "{name}");
    said(&format!("keys revoke {name}")).await.ok();
    let keys = rows("keys list").await;
    let revoked = keys.iter().find(|key| key["name"] == name).unwrap();
    assert_ne!(revoked["revoked"], "", "{keys:?}");

    assert_eq!(json("models get Echo").await["provider"], "Echo");
    said("models check Echo").await.ok();
    let unusable = rows("models list").await.into_iter().filter(|row| row["usable"] != "yes").count();
    assert!(unusable > 10, "without keys most models cannot be used");

    let issued = json("certs issue user/erin").await;
    assert!(std::path::Path::new(issued["cert"].as_str().unwrap()).exists());
    assert!(said("config print").await.ok().out.contains("gateway.max_running"));
    assert!(rows("component list").await.is_empty());

    said("agents delete hasher").await.ok();
    let gone = said("agents get hasher").await;
    assert!(gone.code == 3 && gone.err.contains("hasher"), "{gone:?}");
    assert_eq!(said("agents get").await.code, 2, "what is missing is told by the exit code");
    suite.stop().await;
}
