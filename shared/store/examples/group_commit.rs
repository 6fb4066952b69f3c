//! Measures durable rows per second, by one writer and by 64: `cargo run --release -p sre-store
//! --example group_commit [folder]`. The folder decides which disk is measured.
#![expect(clippy::print_stdout, reason = "a program that prints its result")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use sre_store::{Migration, OpenOptions, Store, StoreError, Synchronous};
use tokio::task::JoinSet;

static MIGRATIONS: &[Migration] = &[Migration {
    version: 1,
    name: "rows",
    expand: "create table row (id integer primary key, body blob not null) strict",
    contract: None,
}];
const MEASURED_FOR: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() -> Result<(), StoreError> {
    let folder = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    for synchronous in [Synchronous::Full, Synchronous::Normal] {
        for writers in [1, 64, 256] {
            let file =
                folder.join(format!("group_commit-{}-{synchronous:?}-{writers}.db", std::process::id()));
            let options = OpenOptions::new(&file, "the first argument", MIGRATIONS);
            let store = Store::open(OpenOptions { synchronous, ..options })?;
            let started = Instant::now();
            let mut rows = 0;
            let mut tasks = JoinSet::new();
            for _ in 0..writers {
                tasks.spawn(write_rows(store.clone()));
            }
            while let Some(written) = tasks.join_next().await {
                rows += written.map_err(|error| StoreError::backend(error.to_string()))??;
            }
            let rate = rows as f64 / started.elapsed().as_secs_f64();
            let commits = *store.watch().borrow();
            println!(
                "{synchronous:?}, {writers:3} writers: {rate:7.0} rows/s, {:.1} rows a commit",
                rows as f64 / commits as f64
            );
            store.close().await?;
            for end in ["", ".lock"] {
                let mut name = file.clone().into_os_string();
                name.push(end);
                std::fs::remove_file(&name).map_err(|error| StoreError::io(name, error))?;
            }
        }
    }
    Ok(())
}

async fn write_rows(store: Store) -> Result<u64, StoreError> {
    let started = Instant::now();
    let mut rows = 0;
    while started.elapsed() < MEASURED_FOR {
        store
            .write(|tx| {
                tx.prepare_cached("insert into row (body) values (?1)")?.execute([[7u8; 256]])?;
                Ok(())
            })
            .await?;
        rows += 1;
    }
    Ok(rows)
}
