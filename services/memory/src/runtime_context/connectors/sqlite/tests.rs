use std::sync::Arc;

use sre_store::{OpenOptions, Store};

use super::{MIGRATIONS, SqliteJournal};
use crate::runtime_context::connectors::contract::{self, Bench};
use crate::runtime_context::settings::JournalSettings;
use crate::runtime_context::time::ManualClock;

async fn fresh(settings: JournalSettings) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let store =
        Store::open(OpenOptions::new(dir.path().join("memory.db"), "memory.store.dir", MIGRATIONS)).unwrap();
    let clock = ManualClock::new();
    let journal = Arc::new(SqliteJournal::new(store.clone(), clock.clone(), Arc::new(settings)));
    let verify = move || -> futures::future::BoxFuture<'static, ()> {
        let store = store.clone();
        Box::pin(async move {
            store
                .read(|conn| {
                    super::slots::verify(conn);
                    Ok(())
                })
                .await
                .unwrap();
        })
    };
    Bench::over(journal, move |by| clock.advance(by), verify, dir)
}

contract::every_case!(fresh);

mod conversations {
    use super::*;

    async fn fresh() -> crate::llm_context::contract::Bench {
        let dir = tempfile::tempdir().unwrap();
        let store =
            Store::open(OpenOptions::new(dir.path().join("memory.db"), "memory.store.dir", MIGRATIONS))
                .unwrap();
        let journal =
            Arc::new(SqliteJournal::new(store, ManualClock::new(), Arc::new(JournalSettings::default())));
        let bench = Bench::over(journal.clone(), |_| {}, || Box::pin(async {}), dir);
        crate::llm_context::contract::Bench { store: journal, journal: bench }
    }

    crate::llm_context::contract::every_case!(fresh);
}

/// How SQLite answers a query: `SEARCH .. USING INDEX ..` lines, joined.
async fn plan(sql: String) -> String {
    let dir = tempfile::tempdir().unwrap();
    let store =
        Store::open(OpenOptions::new(dir.path().join("memory.db"), "memory.store.dir", MIGRATIONS)).unwrap();
    store
        .read(move |conn| {
            let mut explain = conn.prepare(&format!("explain query plan {sql}"))?;
            let lines = explain.raw_query().mapped(|row| row.get::<_, String>(3));
            Ok(lines.collect::<Result<Vec<_>, _>>()?.join("; "))
        })
        .await
        .unwrap()
}

/// The cost of what runs all the time does not grow with the runs that are parked, queued or ended.
#[tokio::test]
async fn hot_queries_use_their_indexes() {
    for (sql, indexes) in [
        (
            super::claim::first_due_sql(),
            &["run_claim (team=? AND kind=? AND priority=? AND due_ms>? AND due_ms<?)"][..],
        ),
        (super::slots::LOOK_AGAIN.to_owned(), &["run_claim (team=? AND kind=? AND priority=?"]),
        (super::slots::DUE.to_owned(), &["slot_due (due_ms>? AND due_ms<?)", "PRIMARY KEY (team=?)"]),
        (super::slots::NEXT_DUE.to_owned(), &["slot_due (due_ms>?)"]),
        (super::waiters::WAITING.to_owned(), &["PRIMARY KEY (awaited=?)", "INTEGER PRIMARY KEY (rowid=?)"]),
        ("delete from waiter where run = 1".to_owned(), &["waiter_run (run=?)"]),
        (
            "select 1 from run r where r.team = 'a' and r.kind = 4 order by r.partition desc, r.id desc"
                .to_owned(),
            &["run_debug (team=?)"],
        ),
        (
            "select 1 from run r where r.team = 'a' and r.parent_partition = 0 and r.parent = x'' \
             order by r.partition desc, r.id desc"
                .to_owned(),
            &["run_parent (parent=?)"],
        ),
    ] {
        let plan = plan(sql.clone()).await.replace("SCAN CONSTANT ROW", "");
        for index in indexes {
            assert!(plan.contains(index), "{sql}\n{plan}");
        }
        assert!(!plan.contains("SCAN") && !plan.contains("TEMP B-TREE"), "{sql}\n{plan}");
    }
}

/// A file of version 1, or one that version 1 wrote to after version 2, has counters that say nothing.
#[tokio::test]
async fn counters_are_mended_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let store =
        Store::open(OpenOptions::new(dir.path().join("memory.db"), "memory.store.dir", MIGRATIONS)).unwrap();
    let settings = Arc::new(JournalSettings { team_running: 1, ..JournalSettings::default() });
    let clock = ManualClock::new();
    let journal = Arc::new(SqliteJournal::new(store.clone(), clock, settings));
    let bench = Bench::over(journal, |_| {}, || Box::pin(async {}), dir);
    let session = bench.session().await;
    let owner = bench.owned(session).await;
    let waiting = bench.ready().await;
    store
        .write(|tx| Ok(tx.execute("update slot set leased = 7, queued = 7, due_ms = null", [])?))
        .await
        .unwrap();
    bench.journal.prepare().await.unwrap();
    store
        .read(|conn| {
            super::slots::verify(conn);
            Ok(())
        })
        .await
        .unwrap();
    assert!(bench.claim(session, 16).await.runs.is_empty());
    bench.close(owner).await;
    bench.claim_one(session, waiting).await;
}

/// Values that might fit a partial index must not make SQLite compile a kept statement anew.
#[tokio::test]
async fn statements_are_compiled_once() {
    let dir = tempfile::tempdir().unwrap();
    let store =
        Store::open(OpenOptions::new(dir.path().join("memory.db"), "memory.store.dir", MIGRATIONS)).unwrap();
    let settings = Arc::new(JournalSettings::default());
    let journal = Arc::new(SqliteJournal::new(store.clone(), ManualClock::new(), settings));
    let bench = Bench::over(journal, |_| {}, || Box::pin(async {}), dir);
    let session = bench.session().await;
    for _ in 0..5 {
        let run = bench.ready().await;
        let owner = bench.claim_one(session, run).await;
        bench.append(owner, "a").await.unwrap();
        bench.close(owner).await;
    }
    let compiled_anew = |sql: String| {
        let store = store.clone();
        async move {
            let status = sre_store::rusqlite::StatementStatus::RePrepare;
            store.write(move |conn| Ok(conn.prepare_cached(&sql)?.get_status(status))).await.unwrap()
        }
    };
    for sql in
        [super::claim::first_due_sql(), super::slots::LOOK_AGAIN.to_owned(), super::slots::DUE.to_owned()]
    {
        assert!(compiled_anew(sql.clone()).await <= 1, "{sql}");
    }
}

/// The start reads what lives, not what has ended.
#[tokio::test]
async fn counting_anew_reads_partial_indexes() {
    let plan = plan(super::slots::COUNTED.to_owned()).await;
    for index in ["run_session", "run_claim"] {
        assert!(plan.contains(&format!("run USING INDEX {index}")), "{plan}");
    }
}
