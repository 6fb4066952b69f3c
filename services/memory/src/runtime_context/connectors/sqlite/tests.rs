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
    let settings = Arc::new(settings);
    let journal = Arc::new(SqliteJournal::new(store, clock.clone(), settings));
    Bench::over(journal, move |by| clock.advance(by), || Box::pin(async {}), dir)
}

contract::every_case!(fresh);
