//! Builds graphs behind the answers.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::collections::{Collections, Entry};
use super::graph::Graph;
use crate::backend::BackendError;

/// Rows added between two looks at the index.
const PART: u32 = 128;
/// A graph is written when its file lacks one in so many of its rows.
const SAVE_SHARE: u64 = 5;

/// Builds until it is dropped.
pub async fn run(collections: Arc<Collections>) {
    loop {
        collections.work.notified().await;
        for entry in collections.loaded() {
            let collections = Arc::clone(&collections);
            let built = tokio::task::spawn_blocking(move || build(&collections, &entry)).await;
            match built.map_err(|error| BackendError::Failed(error.to_string())).and_then(|built| built) {
                Ok(()) => {}
                Err(error) => tracing::warn!(%error, "a graph was not built: its collection is scanned"),
            }
        }
        collections.done.notify_waiters();
    }
}

/// Brings a collection's graph up to date.
fn build(collections: &Collections, entry: &Entry) -> Result<(), BackendError> {
    if is_hollow(entry)? {
        // With the file of its graph, which has the same holes.
        collections.forget(entry.collection.id);
        return Ok(());
    }
    if !entry.is_behind() {
        return Ok(());
    }
    let (graph, mut covered) = match entry.index()?.read().graph() {
        Some(found) => found,
        None => {
            let graph = Graph::new(&entry.collection, &collections.settings, collections.threads + 1)?;
            (Arc::new(graph), 0)
        }
    };
    loop {
        let (rows, next) = entry.index()?.read().part(covered, PART);
        if next == covered {
            break;
        }
        graph.add(&rows)?;
        covered = next;
        entry.index()?.write().set_graph(Arc::clone(&graph), covered);
    }
    let saved = entry.saved.load(Ordering::Relaxed);
    if u64::from(covered) - saved.min(u64::from(covered)) > u64::from(covered) / SAVE_SHARE {
        entry.save(&collections.path(entry.collection.id));
    }
    Ok(())
}

/// Whether so many rows are gone that it is worth reading what is left, and building its graph, afresh.
fn is_hollow(entry: &Entry) -> Result<bool, BackendError> {
    let index = entry.index()?.read();
    Ok(index.gone() > 1000 && index.gone() > index.len())
}
