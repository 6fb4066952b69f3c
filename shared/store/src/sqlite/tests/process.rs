//! Two processes: this test binary starts itself again as the other one.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::*;
use crate::ErrorKind;

const OTHER_FILE: &str = "SRE_STORE_TEST_FILE";

/// Runs one of the tests below in another process, on `folder`'s store.
fn other_process(test: &str, folder: &TempDir) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("sqlite::tests::process::{test}"), "--nocapture"]);
    command.env(OTHER_FILE, folder.path().join("items.db")).stdin(Stdio::null());
    command
}

/// The file to use when this is the other process.
fn as_other_process() -> Option<OpenOptions> {
    let file = PathBuf::from(std::env::var_os(OTHER_FILE)?);
    Some(OpenOptions::new(file, "items.store.dir", &MIGRATIONS))
}

#[tokio::test]
async fn the_file_has_one_holder_in_this_process() {
    let (folder, store) = open();
    let error = Store::open(options(&folder)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
    assert!(error.to_string().contains("this process"), "{error}");
    // Another name of the same folder is the same file.
    #[cfg(unix)]
    {
        let link = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(folder.path(), link.path().join("link")).unwrap();
        let other = OpenOptions { path: link.path().join("link/items.db"), ..options(&folder) };
        assert_eq!(Store::open(other).unwrap_err().kind(), ErrorKind::Locked);
    }
    store.write(|tx| insert(tx, "still mine")).await.unwrap();
    store.close().await.unwrap();
    // A process that another test has just forked has the file open too, until it becomes another program.
    let free = async {
        while let Err(error) = Store::open(options(&folder)) {
            assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(5), free).await.unwrap();
}

#[test]
fn a_second_process_is_refused_with_the_way_out() {
    let (folder, _store) = open();
    let output = other_process("other_tries_to_open", &folder).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    let words = format!(
        "items.db is in use by process {}: stop it, or set items.store.dir to a folder of its own",
        std::process::id()
    );
    assert!(text.contains(&words), "{text}");
}

#[test]
fn other_tries_to_open() {
    let Some(options) = as_other_process() else { return };
    println!("{}", Store::open(options).unwrap_err());
}

#[test]
fn what_was_acknowledged_survives_a_killed_process() {
    let folder = tempfile::tempdir().unwrap();
    let mut other =
        other_process("other_writes_until_killed", &folder).stdout(Stdio::piped()).spawn().unwrap();
    let mut acknowledged = Vec::new();
    for line in BufReader::new(other.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let Some((_, name)) = line.split_once("acknowledged ") else { continue };
        if acknowledged.is_empty() {
            let refused = Store::open(options(&folder)).unwrap_err();
            assert!(refused.to_string().contains(&format!("process {}", other.id())), "{refused}");
        }
        acknowledged.push(name.to_owned());
        if acknowledged.len() == 100 {
            other.kill().unwrap();
        }
    }
    other.wait().unwrap();
    assert!(acknowledged.len() >= 100);

    let store = Store::open(options(&folder)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let found = runtime.block_on(names(&store));
    for name in &acknowledged {
        assert!(found.contains(name), "{name} was lost");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_writes_until_killed() {
    let Some(options) = as_other_process() else { return };
    let store = Store::open(options).unwrap();
    let mut writers = JoinSet::new();
    for writer in 0..8 {
        let store = store.clone();
        writers.spawn(async move {
            // An end, should nobody kill it.
            for n in 0..100_000 {
                let name = format!("{writer}/{n}");
                let row = name.clone();
                store.write(move |tx| insert(tx, &row)).await.unwrap();
                println!("acknowledged {name}");
            }
        });
    }
    writers.join_all().await;
}
