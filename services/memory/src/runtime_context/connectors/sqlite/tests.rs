use std::sync::Arc;

use sre_store::{OpenOptions, Store};

use super::{MIGRATIONS, SqliteJournal};
use crate::runtime_context::connectors::contract::{self, Bench};
use crate::runtime_context::settings::JournalSettings;
use crate::runtime_context::time::ManualClock;

fn fresh() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let store =
        Store::open(OpenOptions::new(dir.path().join("memory.db"), "memory.store.dir", MIGRATIONS)).unwrap();
    let clock = ManualClock::new();
    let settings = Arc::new(JournalSettings::default());
    let journal = Arc::new(SqliteJournal::new(store, clock.clone(), settings));
    Bench { journal, advance: Box::new(move |by| clock.advance(by)), _keep: Box::new(dir) }
}

contract::every_case!(fresh);
