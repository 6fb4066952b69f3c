//! A server of its own that stops and comes back.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sre_proto::error::Reason;
use sre_proto::memory::v1::RecordKind;
use sre_store::pg::{Pg, PgConfig};
use tokio::task::JoinSet;

use crate::runtime_context::JournalSettings;
use crate::runtime_context::connectors::Journal;
use crate::runtime_context::connectors::contract::{opening, record};
use crate::runtime_context::connectors::postgres::{PG_MIGRATIONS, PostgresJournal};
use crate::runtime_context::error::JournalError;
use crate::runtime_context::model::{Append, Opening, Owner, ReadFrom};

/// A cluster in a folder of its own.
struct Server {
    folder: tempfile::TempDir,
}

impl Server {
    fn script(folder: &Path, command: &str) -> String {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/stages/postgres.sh");
        let done = Command::new(script).arg(command).arg(folder).output().unwrap();
        assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }

    async fn run(&self, command: &'static str) -> String {
        let folder = self.folder.path().to_owned();
        tokio::task::spawn_blocking(move || Self::script(&folder, command)).await.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        Self::script(self.folder.path(), "stop");
    }
}

const WRITERS: usize = 8;
const RECORDS: usize = 300;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_loses_nothing_and_writes_nothing_twice() {
    // Where others are skipped there may be no server either.
    let Some(config) = super::config() else { return };
    let server = Server { folder: tempfile::tempdir().unwrap() };
    let url = server.run("start").await;
    let config = PgConfig { url: Some(url.into()), ..config };
    let pg = Pg::connect(&config, PG_MIGRATIONS).await.unwrap();
    let journal = PostgresJournal::open(pg, Arc::new(JournalSettings::default())).await.unwrap();
    let session = journal.open_session(Duration::from_secs(300), "x".to_owned()).await.unwrap().id;
    let (written, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        let (journal, written, refused) = (journal.clone(), Arc::clone(&written), Arc::clone(&refused));
        writers.spawn(async move {
            let owned = Opening { session: Some(session), ..opening() };
            let run = journal.open_run(owned).await.unwrap().run;
            let owner = Owner { run: run.head.id, session, epoch: run.epoch };
            for n in 0..RECORDS {
                let append = Append {
                    records: vec![record(RecordKind::Finished, &n.to_string())],
                    expected_sequence: Some(n as i64 + 2),
                    ..Append::of(owner)
                };
                let began = Instant::now();
                loop {
                    match journal.append(vec![append.clone()]).await {
                        Ok(outcomes) => {
                            assert_eq!(*outcomes[0].as_ref().unwrap(), n as i64 + 2);
                            written.fetch_add(1, Ordering::Relaxed);
                            break;
                        }
                        // Known for what it is, so that the caller tries again.
                        Err(error) => {
                            assert_eq!(error.reason(), Reason::BackendUnavailable, "{error}");
                            assert!(matches!(error, JournalError::Store(_)));
                            refused.fetch_add(1, Ordering::Relaxed);
                            assert!(began.elapsed() < Duration::from_secs(30), "{error}");
                            tokio::task::yield_now().await;
                        }
                    }
                }
            }
            owner.run
        });
    }
    while written.load(Ordering::Relaxed) < WRITERS * RECORDS / 4 {
        tokio::task::yield_now().await;
    }
    server.run("restart").await;
    while let Some(run) = writers.join_next().await {
        let run = run.unwrap();
        let page = journal.read(run, ReadFrom::After(0)).await.unwrap();
        let steps: Vec<_> = page.records.iter().map(|record| record.content.step.clone()).collect();
        let expected: Vec<_> =
            std::iter::once("opened".to_owned()).chain((0..RECORDS).map(|n| n.to_string())).collect();
        assert_eq!(steps, expected);
    }
    assert!(refused.load(Ordering::Relaxed) > 0, "the outage was not noticed");
    assert!(journal.renew_session(session).await.unwrap().is_some());
}
