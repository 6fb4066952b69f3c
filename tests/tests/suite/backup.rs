//! Backup and restore of a suite at work (acceptance 7).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sre_proto::gateway::v1::RunState;
use sre_proto::io::v1::write_file_request::Part;
use sre_proto::io::v1::{
    DeleteFileRequest, GetValueRequest, KeyValue, ReadFileRequest, SetValueRequest, WriteFileHeader,
    WriteFileRequest, read_file_response,
};
use sre_proto::security::v1::ListSecretsRequest;
use tokio::sync::Mutex;
use tonic::Status;

use crate::harness::agents::hasher;
use crate::harness::clients::Client;
use crate::harness::load::Load;
use crate::harness::{CANARY_KEY, Mode, Options, Suite, eventually, in_both_modes, process};

in_both_modes!(what_was_acknowledged_before_a_backup_is_in_it);

const AGENT: &str = "teams/default/agents/hasher";
const PASSPHRASE: &str = "a passphrase for this test";

/// What was acknowledged, by kind and name.
type Acknowledged = Arc<Mutex<Vec<(&'static str, String)>>>;

async fn what_was_acknowledged_before_a_backup_is_in_it(mode: Mode) {
    let suite = Suite::start("backed-up", mode, Options::default()).await;
    let dev = suite.client("user/dev");
    dev.put(AGENT, &hasher("hasher")).await.unwrap();
    dev.put_canary().await;
    let acknowledged = Acknowledged::default();
    let load = load(&dev, &acknowledged);
    eventually("work of every kind", Duration::from_secs(60), async || {
        let done = acknowledged.lock().await;
        let of = |kind: &str| done.iter().filter(|(known, _)| *known == kind).count();
        ["file", "value", "run"].iter().all(|kind| of(kind) >= 10).then_some(())
    })
    .await;

    let before = acknowledged.lock().await.clone();
    let kept = process::kept();
    let copy = kept.join(format!("backup-of-{}", suite.folder().file_name().unwrap().display()));
    let _ = std::fs::remove_dir_all(&copy);
    let passphrase = suite.folder().with_extension("passphrase");
    std::fs::write(&passphrase, PASSPHRASE).unwrap();
    let (words, with) = (copy.display().to_string(), passphrase.display().to_string());
    let said =
        process::say(suite.folder(), &["backup", &words, "--passphrase-file", &with, "--json"]).await.ok();
    assert!(said.json()["stores"].as_u64().unwrap() >= 5, "{said:?}");
    let failed: Vec<_> = load.finish().await.into_iter().filter(|outcome| outcome.failed()).collect();
    assert!(failed.is_empty(), "work beside the backup failed: {failed:?}");
    suite.stop().await;

    a_flipped_byte_is_named(&copy).await;
    let target = kept.join(format!("restored-{}", copy.file_name().unwrap().display()));
    let _ = std::fs::remove_dir_all(&target);
    std::fs::create_dir(&target).unwrap();
    process::say(&target, &["restore", &words, "--passphrase-file", &with, "--json"]).await.ok();
    let again = process::say(&target, &["restore", &words, "--passphrase-file", &with]).await;
    assert_eq!(again.code, 2, "{again:?}");
    assert!(again.err.contains("is not empty"), "{again:?}");

    // The folder's name is the suite's.
    let name = target.file_name().unwrap().to_str().unwrap();
    let name = name.strip_suffix("-all-in-one").or_else(|| name.strip_suffix("-split")).unwrap();
    let suite = Suite::start(name, mode, Options::default().again()).await;
    check(&suite.client("user/dev"), &before).await;
    suite.stop().await;
}

/// Files, values and runs, one after the other; some are taken away again at once.
fn load(dev: &Client, acknowledged: &Acknowledged) -> Load {
    let mut load = Load::new();
    let pause = Duration::from_millis(1);
    let note = |kind, name: String, done: Acknowledged| async move { done.lock().await.push((kind, name)) };
    let done = Arc::clone(acknowledged);
    load.add("file", dev.clone(), pause, move |dev, number| {
        let done = Arc::clone(&done);
        async move {
            let name = format!("teams/default/users/dev/files/f-{number}");
            write_file(&dev, &name).await?;
            note("file", name, done).await;
            Ok(Value::Null)
        }
    });
    load.add("deleted file", dev.clone(), pause, move |dev, number| async move {
        // One name again and again: its bytes go while the backup copies.
        let name = "teams/default/users/dev/files/again".to_owned();
        write_file(&dev, &name).await?;
        if number % 3 == 0 {
            let request = DeleteFileRequest { name, ..DeleteFileRequest::default() };
            dev.storage().delete_file(request).await?;
        }
        Ok(Value::Null)
    });
    let done = Arc::clone(acknowledged);
    load.add("value", dev.clone(), pause, move |dev, number| {
        let done = Arc::clone(&done);
        async move {
            let name = format!("teams/default/nkv/backup/keys/k-{number}");
            let value = KeyValue { name: name.clone(), value: name.clone().into(), ..KeyValue::default() };
            dev.nkv().set_value(SetValueRequest { value: Some(value), ..SetValueRequest::default() }).await?;
            note("value", name, done).await;
            Ok(Value::Null)
        }
    });
    let done = Arc::clone(acknowledged);
    load.add("run", dev.clone(), Duration::from_millis(10), move |dev, number| {
        let done = Arc::clone(&done);
        async move {
            // Larger than what a record holds itself: a payload beside the journal.
            let text = format!("{number}").repeat(100_000);
            let run = dev.start(AGENT, "hash", &json!({ "text": text })).await?;
            note("run", run.name, done).await;
            Ok(Value::Null)
        }
    });
    load
}

async fn write_file(dev: &Client, name: &str) -> Result<(), Status> {
    let header = WriteFileHeader { name: name.to_owned(), ..WriteFileHeader::default() };
    let parts = [Part::Header(header), Part::Data(name.repeat(200).into())];
    let parts = parts.map(|part| WriteFileRequest { part: Some(part) });
    dev.storage().write_file(tokio_stream::iter(parts)).await.map(|_| ())
}

/// One changed byte of any file is found before anything is restored.
async fn a_flipped_byte_is_named(copy: &Path) {
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(copy.join("manifest.json")).unwrap()).unwrap();
    let files = manifest["files"].as_array().unwrap();
    let paths: Vec<&str> = files.iter().filter_map(|entry| entry["path"].as_str()).collect();
    let first =
        |what: &str| *paths.iter().find(|path| path.contains(what)).unwrap_or_else(|| panic!("no {what}"));
    for path in
        ["store/security.db", "store/io.db", "objects/", "blobs/", "vault.enc", "keys.sealed"].map(first)
    {
        let file = copy.join(path);
        let whole = std::fs::read(&file).unwrap();
        let mut changed = whole.clone();
        let middle = changed.len() / 2;
        changed[middle] ^= 0x20;
        std::fs::write(&file, &changed).unwrap();
        let said = process::say(copy, &["restore", &copy.display().to_string(), "--verify"]).await;
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.err.contains(path), "{path}: {said:?}");
        std::fs::write(&file, &whole).unwrap();
    }
    process::say(copy, &["restore", &copy.display().to_string(), "--verify"]).await.ok();
}

/// Everything that was acknowledged is there, as it was.
async fn check(dev: &Client, before: &[(&'static str, String)]) {
    for (kind, name) in before {
        match *kind {
            "file" => {
                let request = ReadFileRequest { name: name.clone(), ..ReadFileRequest::default() };
                let mut parts = dev.storage().read_file(request).await.unwrap().into_inner();
                let mut content = Vec::new();
                while let Some(part) = parts.message().await.unwrap() {
                    if let Some(read_file_response::Part::Data(data)) = part.part {
                        content.extend_from_slice(&data);
                    }
                }
                assert_eq!(content, name.repeat(200).as_bytes(), "{name}");
            }
            "value" => {
                let found = dev
                    .nkv()
                    .get_value(GetValueRequest { name: name.clone(), ..Default::default() })
                    .await
                    .unwrap()
                    .into_inner();
                assert_eq!(found.value, name.as_bytes());
            }
            "run" => {
                // Its payload too: the run ends.
                dev.reached(name, &[RunState::Done]).await;
            }
            other => panic!("{other}"),
        }
    }
    let request = ListSecretsRequest { parent: "teams/default".into(), ..ListSecretsRequest::default() };
    let secrets = dev.vault().list_secrets(request).await.unwrap().into_inner().secrets;
    assert!(secrets.iter().any(|secret| secret.name.ends_with(CANARY_KEY)), "{secrets:?}");
    // And it works on.
    let answer = dev.answer(AGENT, "hash", &json!({ "text": "hello" })).await.unwrap();
    assert!(answer.to_string().contains("2cf24dba"), "{answer}");
}
