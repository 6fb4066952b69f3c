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
