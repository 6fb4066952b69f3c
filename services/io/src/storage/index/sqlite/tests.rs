//! The index in a file.

use sre_store::{OpenOptions, Store};

use super::SqliteIndex;
use crate::storage::index::contract;

async fn fresh() -> Option<contract::Bench> {
    let dir = tempfile::tempdir().unwrap();
    let options = OpenOptions::new(dir.path().join("io.db"), "data_dir", crate::schema::MIGRATIONS);
    let store = Store::open(options).unwrap();
    Some(contract::Bench::over(SqliteIndex::new(store), dir))
}

contract::every_case!(fresh);
