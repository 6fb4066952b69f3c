//! Journals of every release so far are kept in `tests/fixtures/journal-*`, and this release resumes them.
//!
//! A fixture is the records of a run that stands in the middle, and its agent. A new one is written by
//! `cargo test -p sre-tests --test suite write_a_journal_fixture -- --ignored`, with its name in
//! `JOURNAL_FIXTURE`. What ages, the resume grant, is taken from a run that is opened for it; all else is as
//! it was written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use prost::Message as _;
use serde_json::{Value, json};
use sre_gateway::engine::journal::records::{Opened, Waiting};
use sre_proto::memory::v1::{JournalRecord, RecordKind, RunRecord, RunState as Stored};

use crate::harness::agents::{api_call, component, document, endpoint, output};
use crate::harness::clients::json as parsed;
use crate::harness::http_server::HttpServer;
use crate::harness::journal::{Journal, run_id};
use crate::harness::{Mode, Options, Suite, eventually};

const AGENT: &str = "teams/default/agents/interrupted";
const SKILL: &str = "go";
/// Where agents of fixtures call: the address of the test's own server takes its place.
const SERVER: &str = "http://server.invalid";

/// A digest, a loop, a call that was answered, one that hangs, and a sleep.
fn interrupted() -> Value {
    let digest = json!({ "algorithm": "sha256", "encoding": "hex" });
    let encode = json!({ "action": "Encode", "encoding": "hex" });
    let body = json!({ "text": "{{text}}" });
    let each = component("each", "ForEach", json!({ "format": "minimal" }), &["Input"], &["Loop", "Result"]);
    document(
        "interrupted",
        json!({}),
        &[
            endpoint(SKILL, "POST", &[("text", "Text"), ("items", "Array")]),
            component("digest", "FHash", digest, &["Data"], &["Hash"]),
            api_call("before", &format!("{SERVER}/before"), json!({}), body.clone(), &["text"]),
            each,
            component("encode", "FEncDec", encode, &["Data"], &["Output"]),
            api_call("hanging", &format!("{SERVER}/hang"), json!({}), body, &["text", "after"]),
            component("nap", "FSleep", json!({ "delay": "2" }), &["Input"], &["Output"]),
            output("answer", &["digest", "before", "hanging", "items", "nap"]),
        ],
        &[
            "go.text > digest.Data",
            "go.text > before.text",
            "go.items > each.Input",
            "each.Loop > encode.Data",
            "go.text > hanging.text",
            "before.Response > hanging.after",
            "digest.Hash > nap.Input",
            "digest.Hash > answer.digest",
            "before.Response > answer.before",
            "hanging.Response > answer.hanging",
            "each.Result > answer.items",
            "nap.Output > answer.nap",
        ],
    )
}

fn options(server: &HttpServer) -> Options {
    Options::default()
        .listen_everywhere()
        .set("egress.allow", format!("[\"{}\"]", server.address()))
        .set("gateway.park_after_ms", 500)
        .set("journal.session_ttl_ms", 1_000)
}

fn input() -> Value {
    json!({ "text": "far", "items": ["one", "two", "three"] })
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// The agent with the server's address in it; `hanging` then calls `path`.
fn agent_at(agent: &str, server: &HttpServer, path: &str) -> Value {
    let agent = agent.replace(&format!("{SERVER}/hang"), &server.url(path));
    serde_json::from_str(&agent.replace(SERVER, &format!("http://{}", server.address()))).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "writes files: with the name of a new fixture in JOURNAL_FIXTURE"]
async fn write_a_journal_fixture() {
    let name =
        std::env::var("JOURNAL_FIXTURE").expect("JOURNAL_FIXTURE names the fixture, such as journal-2");
    let server = HttpServer::start().await;
    let suite = Suite::start("journal-fixture-writer", Mode::AllInOne, options(&server)).await;
    let dev = suite.client("user/dev");
    let agent = serde_json::to_string_pretty(&interrupted()).unwrap();
    dev.put(AGENT, &agent_at(&agent, &server, "/hang")).await.unwrap();
    let run = dev.start(AGENT, SKILL, &input()).await.unwrap();
    let journal = Journal::of(&suite);
    let id = run_id(&run.name);
    let records = eventually("the run stands in the middle", Duration::from_secs(20), async || {
        let records = journal.records(id).await.ok()?;
        let has = |kind, component: &str| {
            records.iter().any(|record| record.kind() == kind && record.step.contains(component))
        };
        let stands = has(RecordKind::Intent, "hanging")
            && has(RecordKind::Waiting, "nap")
            && has(RecordKind::Finished, "digest")
            && has(RecordKind::Finished, "each");
        stands.then_some(records)
    })
    .await;
    let row = journal.run(id).await.unwrap();
    let base64 = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    let kept: Vec<Value> = records
        .iter()
        .map(|record| {
            assert!(record.blob.is_none(), "a fixture has no payloads apart");
            let mut body = record.body.clone();
            if record.kind() == RecordKind::Opened {
                // It ages, and it is an authority.
                let opened = Opened::decode(body).unwrap();
                body = Opened { resume_grant: String::new(), ..opened }.encode_to_vec().into();
            }
            json!({ "kind": record.kind().as_str_name(), "step": record.step, "body": base64(&body) })
        })
        .collect();
    let fixture = json!({
        "release": env!("CARGO_PKG_VERSION"), "run": id, "record_format": row.record_format,
        "spec": base64(&row.spec), "records": kept,
    });
    let folder = fixtures().join(name);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("agent.smyth"), agent).unwrap();
    std::fs::write(folder.join("run.json"), serde_json::to_string_pretty(&fixture).unwrap()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn journals_of_every_release_are_resumed() {
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(fixtures()).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|folder| folder.file_name().unwrap().to_string_lossy().starts_with("journal-"));
    folders.sort();
    assert!(!folders.is_empty(), "no fixture in {}", fixtures().display());
    for folder in folders {
        resume(&folder).await;
    }
}

async fn resume(folder: &Path) {
    let name = folder.file_name().unwrap().to_string_lossy().into_owned();
    let server = HttpServer::start().await;
    let suite = Suite::start(&name, Mode::AllInOne, options(&server)).await;
    let dev = suite.client("user/dev");
    let journal = Journal::of(&suite);
    let fixture: Value =
        serde_json::from_str(&std::fs::read_to_string(folder.join("run.json")).unwrap()).unwrap();
    let agent = std::fs::read_to_string(folder.join("agent.smyth")).unwrap();
    // Today nothing hangs.
    let version = dev.put(AGENT, &agent_at(&agent, &server, "/after")).await.unwrap();
    // A run of today: the old one gets its row, its grant and its version of the agent.
    let today = dev.start(AGENT, SKILL, &input()).await.unwrap();
    let template = journal.run(run_id(&today.name)).await.unwrap();
    let fresh = journal.records(run_id(&today.name)).await.unwrap();
    let fresh = Opened::decode(fresh[0].body.clone()).unwrap();
    eventually("today's run ends", Duration::from_secs(20), async || {
        (journal.run(run_id(&today.name)).await.ok()?.state() == Stored::Done).then_some(())
    })
    .await;
    let before: BTreeMap<&str, usize> =
        ["/before", "/after"].map(|path| (path, server.seen(path).len())).into();

    let decode = |text: &Value| {
        bytes::Bytes::from(base64::engine::general_purpose::STANDARD.decode(text.as_str().unwrap()).unwrap())
    };
    let mut records: Vec<JournalRecord> = Vec::new();
    let mut key = String::new();
    for kept in fixture["records"].as_array().unwrap() {
        let kind = RecordKind::from_str_name(kept["kind"].as_str().unwrap()).unwrap();
        let step = kept["step"].as_str().unwrap().to_owned();
        let mut body = decode(&kept["body"]);
        if kind == RecordKind::Opened {
            let mut opened = Opened::decode(body).unwrap();
            opened.resume_grant.clone_from(&fresh.resume_grant);
            (opened.version, opened.digest) = (fresh.version.clone(), fresh.digest.clone());
            body = opened.encode_to_vec().into();
        }
        if kind == RecordKind::Intent && step.contains("hanging") {
            key =
                sre_gateway::engine::journal::records::Intent::decode(body.clone()).unwrap().idempotency_key;
        }
        if kind == RecordKind::Waiting {
            // It has been over for a long time.
            assert!(Waiting::decode(body.clone()).unwrap().until_ms > 0);
        }
        records.push(JournalRecord { kind: kind.into(), step, body, ..JournalRecord::default() });
    }
    let finished: Vec<String> = steps(&records, RecordKind::Finished);
    let id = fixture["run"].as_str().unwrap();
    let old = RunRecord {
        run_id: id.to_owned(),
        record_format: i32::try_from(fixture["record_format"].as_i64().unwrap()).unwrap(),
        spec: decode(&fixture["spec"]),
        version: version.latest_version.clone(),
        due_time: None,
        ..template
    };
    journal.open(old, records).await.unwrap();
    let row = eventually("the old run ends", Duration::from_secs(30), async || {
        let row = journal.run(id).await.ok()?;
        (row.end_time.is_some()).then_some(row)
    })
    .await;
    assert_eq!(row.state(), Stored::Done, "{name}");

    let ended = dev.get_run(&format!("{AGENT}/runs/{id}")).await.unwrap();
    let answer = parsed(&ended.legacy_json);
    assert_eq!(
        answer["items"],
        parsed(&dev.get_run(&today.name).await.unwrap().legacy_json)["items"],
        "{name}"
    );
    assert_eq!(answer["digest"], answer["nap"], "{name}: {answer}");
    assert!(answer["hanging"]["body"].as_str().unwrap_or_default().contains("far"), "{name}: {answer}");
    // The call of that time was answered then, and is not made again; the other is, under the key of that time.
    assert_eq!(server.seen("/before").len(), before["/before"], "{name}: a finished effect was repeated");
    let calls = server.seen("/after");
    assert_eq!(calls.len(), before["/after"] + 1, "{name}");
    assert_eq!(calls.last().unwrap().header("idempotency-key"), key, "{name}");
    // Nothing that had finished is written a second time.
    let now = steps(&journal.records(id).await.unwrap(), RecordKind::Finished);
    for step in finished {
        assert_eq!(now.iter().filter(|other| **other == step).count(), 1, "{name}: {step}");
    }
    suite.stop().await;
}

fn steps(records: &[JournalRecord], kind: RecordKind) -> Vec<String> {
    records.iter().filter(|record| record.kind() == kind).map(|record| record.step.clone()).collect()
}
