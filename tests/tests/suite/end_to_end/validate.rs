//! `sre agents check` and `sre agents proto`: what is wrong with an agent before anybody runs it, and what a
//! typed client needs of it.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::agents::{component, document, endpoint, examples, hasher, output};
use crate::harness::process::{kept, say};
use crate::harness::{Mode, Options, Suite, in_both_modes};

in_both_modes!(with_a_suite);

fn write(folder: &Path, name: &str, document: &Value) -> String {
    let path = folder.join(name);
    std::fs::write(&path, document.to_string()).unwrap();
    path.display().to_string()
}

fn fresh(name: &str) -> PathBuf {
    let folder = kept().join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// The finding about a component.
fn about<'a>(findings: &'a Value, component: &str) -> Option<&'a Value> {
    findings.as_array().unwrap().iter().find(|finding| finding["component"] == component)
}

/// Uses a model and a secret that may not be there.
fn needy() -> Value {
    document(
        "needy",
        json!({ "TOKEN": "{{KEY(nowhere)}}" }),
        &[
            endpoint("ask", "POST", &[("text", "Text")]),
            component(
                "llm",
                "GenAILLM",
                json!({ "model": "no-such-model", "prompt": "{{TOKEN}} {{text}}" }),
                &["text"],
                &["Reply"],
            ),
            output("answer", &["reply"]),
        ],
        &["ask.text > llm.text", "llm.Reply > answer.reply"],
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_suite() {
    let folder = fresh("check");
    let mut broken = hasher("broken");
    broken["components"][1]["data"]["algorithm"] = json!("sha2048");
    broken["components"].as_array_mut().unwrap().push(component(
        "lost",
        "FHahs",
        json!({}),
        &["Data"],
        &["Hash"],
    ));
    broken["connections"][1]["targetIndex"] = json!(7);
    let broken = write(&folder, "broken.smyth", &broken);
    let fine = write(&folder, "fine.smyth", &hasher("fine"));
    let no_json = folder.join("no.smyth");
    std::fs::write(&no_json, "{").unwrap();
    let no_json = no_json.display().to_string();

    let said = say(&folder, &["agents", "check", &fine]).await.ok();
    assert!(said.out.contains("no errors"), "{said:?}");
    let said = say(&folder, &["agents", "check", &fine, &broken, &no_json, "--json"]).await;
    assert_eq!(said.code, 1, "{said:?}");
    let findings = said.json();
    for finding in findings.as_array().unwrap() {
        assert!(!finding["message"].as_str().unwrap().is_empty(), "{finding}");
        assert_ne!(finding["file"], fine.as_str(), "{finding}");
    }
    let sha = about(&findings, "sha").unwrap_or_else(|| panic!("{findings}"));
    assert_eq!(sha["field"], "data.algorithm");
    assert!(sha["message"].to_string().contains("sha256"), "the allowed ones are named: {sha}");
    let lost = about(&findings, "lost").unwrap_or_else(|| panic!("{findings}"));
    assert_eq!(lost["severity"], "warning");
    assert!(lost.to_string().contains("FHash"), "the nearest name is given: {lost}");
    let dangling = findings.as_array().unwrap().iter().find(|f| f["field"] == "connections[1].targetIndex");
    assert_eq!(dangling.unwrap_or_else(|| panic!("{findings}"))["severity"], "error");
    assert!(findings.as_array().unwrap().iter().any(|finding| finding["file"] == no_json.as_str()));

    // Warnings alone are no failure.
    let mut odd = hasher("odd");
    odd["components"].as_array_mut().unwrap().push(component("note", "Nothing", json!({}), &[], &[]));
    let odd = write(&folder, "odd.smyth", &odd);
    let said = say(&folder, &["agents", "check", &odd]).await.ok();
    assert!(said.out.contains("warning") && said.out.contains("Nothing"), "{said:?}");

    // The project's own examples are sound.
    for (id, document) in examples() {
        let file = write(&folder, &format!("{id}.smyth"), &document);
        let said = say(&folder, &["agents", "check", &file, "--json"]).await.ok();
        assert_eq!(said.json(), json!([]), "{id}");
    }
}

async fn with_a_suite(mode: Mode) {
    let suite = Suite::start("validate", mode, Options::default()).await;
    let file = write(suite.folder(), "needy.smyth", &needy());
    let alone = fresh("check-alone");
    let before = say(&alone, &["agents", "check", &file, "--json"]).await.ok().json();
    assert!(!before.to_string().contains("nowhere"), "{before}");

    let said = say(suite.folder(), &["agents", "check", &file, "--json"]).await;
    let findings = said.json().to_string();
    assert!(findings.contains("nowhere"), "the missing secret: {findings}");
    assert!(findings.contains("no-such-model"), "the missing model: {findings}");
    // A secret that is there is not missed.
    let dev = suite.client("user/dev");
    let secret =
        sre_proto::security::v1::Secret { name: "teams/-/secrets/nowhere".into(), ..Default::default() };
    let request = sre_proto::security::v1::PutSecretRequest {
        secret: Some(secret),
        value: "12345678".into(),
        ..Default::default()
    };
    dev.vault().put_secret(request).await.unwrap();
    let said = say(suite.folder(), &["agents", "check", &file, "--json"]).await;
    assert!(!said.json().to_string().contains("nowhere"), "{said:?}");

    dev.put("teams/default/agents/hasher", &hasher("hasher")).await.unwrap();
    let said = say(suite.folder(), &["agents", "proto", "hasher", "--package", "shop.v1"]).await.ok();
    assert!(said.out.contains("syntax = \"proto3\"") && said.out.contains("package shop.v1;"), "{said:?}");
    assert!(said.out.contains("text"), "the skill's input: {said:?}");
    suite.stop().await;
}
