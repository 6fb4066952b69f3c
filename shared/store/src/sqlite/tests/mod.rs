//! Tests of the embedded store.

mod files;
mod group;
mod process;
mod reading;
mod schema;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::mpsc;
use std::task::Poll;
use std::time::Duration;

use rusqlite::Connection;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::{Migration, OpenOptions, Store, StoreError};

static MIGRATIONS: [Migration; 1] = [Migration {
    version: 1,
    name: "items",
    expand: "create table item (id integer primary key, name text not null unique) strict;
             create table part (id integer primary key, item integer not null references item (id)) strict",
    contract: None,
}];

fn options(folder: &TempDir) -> OpenOptions {
    let options = OpenOptions::new(folder.path().join("items.db"), "items.store.dir", &MIGRATIONS);
    // Groups end when the tests say so, not when the machine is slow.
    OpenOptions { group_time: Duration::from_secs(3600), ..options }
}

fn open() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(options(&folder)).unwrap();
    (folder, store)
}

fn insert(conn: &Connection, name: &str) -> Result<(), StoreError> {
    conn.prepare_cached("insert into item (name) values (?1)")?.execute([name])?;
    Ok(())
}

fn select(conn: &Connection) -> Result<Vec<String>, StoreError> {
    let mut statement = conn.prepare_cached("select name from item order by id")?;
    let names = statement.query_map([], |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}

async fn names(store: &Store) -> Vec<String> {
    store.read(select).await.unwrap()
}

/// Polls a future once, which queues its request.
async fn queue<F: Future>(mut future: Pin<&mut F>) {
    poll_fn(|cx| {
        assert!(future.as_mut().poll(cx).is_pending(), "answered before its commit");
        Poll::Ready(())
    })
    .await;
}

/// A write that holds the writer, after having inserted `name`, until [`Held::release`].
struct Held {
    release: mpsc::Sender<()>,
    task: JoinSet<Result<(), StoreError>>,
}

impl Held {
    /// Returns when the writer is inside the write.
    async fn start(store: &Store, name: &'static str) -> Self {
        let (release, released) = mpsc::channel();
        let (started, starts) = tokio::sync::oneshot::channel();
        let store = store.clone();
        let write = async move {
            store
                .write(move |tx| {
                    insert(tx, name)?;
                    started.send(()).unwrap();
                    released.recv().unwrap();
                    Ok(())
                })
                .await
        };
        let mut task = JoinSet::new();
        task.spawn(write);
        starts.await.unwrap();
        Self { release, task }
    }

    async fn release(mut self) -> Result<(), StoreError> {
        self.release.send(()).unwrap();
        self.task.join_next().await.unwrap().unwrap()
    }
}
