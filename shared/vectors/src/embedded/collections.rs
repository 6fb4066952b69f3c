//! The collections in memory: read from the file when they are first asked for, kept up to date by what is
//! committed, and gone again when memory is short.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use sre_store::Store;
use tokio::sync::{Notify, OnceCell};

use super::graph::Graph;
use super::index::Index;
use super::{EmbeddedSettings, Indexed, table};
use crate::backend::BackendError;
use crate::model::{Collection, CollectionId, Query};

/// What a transaction changed.
#[derive(Debug, Default)]
pub struct Change {
    /// New rows, in the order of their numbers.
    pub added: Vec<Indexed>,
    /// Numbers of rows that are gone.
    pub removed: Vec<i64>,
}

/// All collections in memory.
pub struct Collections {
    pub(super) store: Store,
    pub(super) folder: PathBuf,
    pub(super) settings: EmbeddedSettings,
    pub(super) threads: usize,
    entries: Mutex<HashMap<CollectionId, Arc<Entry>>>,
    uses: AtomicU64,
    /// There may be something to build.
    pub(super) work: Notify,
    /// Everything was built.
    pub(super) done: Notify,
}

/// A collection in memory, or on its way there.
pub struct Entry {
    pub(super) collection: Collection,
    settings: EmbeddedSettings,
    index: OnceCell<RwLock<Index>>,
    /// Committed and not in the index yet, in the order of commits.
    pending: Mutex<Vec<Change>>,
    last_use: AtomicU64,
    /// Slots of the graph that its file covers.
    pub(super) saved: AtomicU64,
}

impl Collections {
    pub fn new(store: Store, folder: PathBuf, settings: EmbeddedSettings, threads: usize) -> Self {
        Self {
            store,
            folder,
            settings,
            threads,
            entries: Mutex::default(),
            uses: AtomicU64::new(1),
            work: Notify::new(),
            done: Notify::new(),
        }
    }

    /// A collection, read from the file if it must be.
    pub async fn get(&self, collection: &Collection) -> Result<Arc<Entry>, BackendError> {
        let entry = {
            let mut entries = self.entries.lock();
            // Known before it is read: what is committed meanwhile waits for it.
            let fresh = || Arc::new(Entry::new(*collection, self.settings.clone()));
            Arc::clone(entries.entry(collection.id).or_insert_with(fresh))
        };
        entry.last_use.store(self.uses.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        if entry.index.initialized() {
            return Ok(entry);
        }
        let loaded = entry.index.get_or_try_init(|| self.load(&entry)).await;
        if let Err(error) = loaded {
            self.forget(collection.id);
            return Err(error);
        }
        self.make_room(collection.id);
        self.work.notify_one();
        Ok(entry)
    }

    /// Tells of a commit. Called in the order of commits.
    pub fn tell(&self, id: CollectionId, change: Change) {
        let entry = self.entries.lock().get(&id).cloned();
        if let Some(entry) = entry {
            entry.pending.lock().push(change);
            self.work.notify_one();
        }
    }

    /// Removes a collection from memory, with the file of its graph.
    pub fn forget(&self, id: CollectionId) {
        self.entries.lock().remove(&id);
        // It may have none.
        let _ = std::fs::remove_file(self.path(id));
    }

    /// The file of a collection's graph.
    pub fn path(&self, id: CollectionId) -> PathBuf {
        self.folder.join(format!("{}.graph", id.name()))
    }

    /// Those that are in memory.
    pub fn loaded(&self) -> Vec<Arc<Entry>> {
        self.entries.lock().values().filter(|entry| entry.index.initialized()).cloned().collect()
    }

    /// Takes a collection out of memory, so that it is read again.
    pub fn unload(&self, id: CollectionId) {
        self.entries.lock().remove(&id);
    }

    /// Waits until there is nothing to build.
    pub async fn settled(&self) {
        loop {
            let done = self.done.notified();
            tokio::pin!(done);
            done.as_mut().enable();
            if self.loaded().iter().all(|entry| !entry.is_behind()) {
                return;
            }
            self.work.notify_one();
            done.await;
        }
    }

    /// Writes the graphs that their files do not cover.
    pub async fn save_all(self: &Arc<Self>) {
        let collections = Arc::clone(self);
        let saving = tokio::task::spawn_blocking(move || {
            for entry in collections.loaded() {
                entry.save(&collections.path(entry.collection.id));
            }
        });
        if let Err(error) = saving.await {
            tracing::warn!(%error, "graphs were not saved: they are built again");
        }
    }

    async fn load(&self, entry: &Arc<Entry>) -> Result<RwLock<Index>, BackendError> {
        let (collection, path) = (entry.collection, self.path(entry.collection.id));
        let (settings, threads) = (self.settings.clone(), self.threads + 1);
        let read = self.store.read(move |conn| {
            let saved = Graph::load(&path, &collection, &settings, threads);
            let mut loading = Loading::new(collection, saved);
            Ok(table::load(conn, collection.id, |row| loading.take(row))?.map(|()| loading.finish()))
        });
        let found = read.await?;
        let absent = || BackendError::Failed(format!("the collection {} is not there", collection.id.name()));
        let (index, again) = found.ok_or_else(absent)?;
        if let Some((_, covered)) = index.graph() {
            entry.saved.store(u64::from(covered), Ordering::Relaxed);
        }
        if again {
            tracing::warn!(collection = collection.id.name(), "the saved graph is not of these rows");
        }
        Ok(RwLock::new(index))
    }

    /// Takes those out of memory that were not used for longest, as long as all together are too large.
    fn make_room(&self, keep: CollectionId) {
        let mut loaded = self.loaded();
        loaded.sort_by_key(|entry| entry.last_use.load(Ordering::Relaxed));
        let sizes: Vec<usize> = loaded.iter().map(|entry| entry.size_bytes()).collect();
        let mut total: usize = sizes.iter().sum();
        for (entry, size) in loaded.iter().zip(sizes) {
            if total <= self.settings.memory_mib << 20 {
                return;
            }
            if entry.collection.id != keep {
                self.unload(entry.collection.id);
                total -= size;
            }
        }
    }
}

/// Rows on their way from the file into an index, together with the graph that was saved.
struct Loading {
    index: Index,
    saved: Option<Graph>,
    /// Numbers of the saved graph's slots that were not met yet.
    expected: std::iter::Peekable<std::vec::IntoIter<i64>>,
    covered: u32,
    /// The saved graph is not of these rows.
    foreign: bool,
}

impl Loading {
    fn new(collection: Collection, saved: Option<(Graph, Vec<i64>)>) -> Self {
        let (saved, seqs) = saved.map_or((None, Vec::new()), |(graph, seqs)| (Some(graph), seqs));
        let covered = u32::try_from(seqs.len()).unwrap_or(0);
        let expected = seqs.into_iter().peekable();
        Self { index: Index::new(collection), saved, expected, covered, foreign: false }
    }

    /// Rows come in the order of their numbers, and so do the slots of the graph.
    fn take(&mut self, row: Indexed) {
        while let Some(gone) = self.expected.next_if(|seq| *seq < row.seq) {
            self.index.add_gone(gone);
        }
        if self.expected.next_if_eq(&row.seq).is_none() && self.expected.peek().is_some() {
            self.foreign = true;
        }
        self.index.add(row);
    }

    /// The index, and whether the saved graph was of no use.
    fn finish(mut self) -> (Index, bool) {
        for gone in self.expected.by_ref() {
            self.index.add_gone(gone);
        }
        if let Some(graph) = self.saved.filter(|_| !self.foreign) {
            self.index.set_graph(Arc::new(graph), self.covered);
        }
        (self.index, self.foreign)
    }
}

impl Entry {
    fn new(collection: Collection, settings: EmbeddedSettings) -> Self {
        Self {
            collection,
            settings,
            index: OnceCell::new(),
            pending: Mutex::default(),
            last_use: AtomicU64::new(0),
            saved: AtomicU64::new(0),
        }
    }

    /// The index, with everything that is committed.
    pub fn index(&self) -> Result<&RwLock<Index>, BackendError> {
        let absent = || BackendError::Unavailable("the collection is being read: try again".to_owned());
        let index = self.index.get().ok_or_else(absent)?;
        if !self.pending.lock().is_empty() {
            let mut writing = index.write();
            // Taken under the lock of the index, so that changes stay in order.
            for change in std::mem::take(&mut *self.pending.lock()) {
                change.added.into_iter().for_each(|row| writing.add(row));
                change.removed.into_iter().for_each(|seq| writing.remove(seq));
            }
        }
        Ok(index)
    }

    /// Numbers and scores of the best rows. Takes time: not for threads that serve.
    pub fn search(&self, query: &Query) -> Result<Vec<(i64, f32)>, BackendError> {
        self.index()?.read().search(query, &self.settings)
    }

    /// Whether its graph lacks rows.
    pub fn is_behind(&self) -> bool {
        let Ok(index) = self.index() else { return false };
        let index = index.read();
        index.outside_graph() > self.slack(index.len())
    }

    /// Rows that may lie outside the graph: all of a small collection, few of a large one.
    fn slack(&self, rows: usize) -> usize {
        if rows > self.settings.exact_below { self.settings.exact_below / 10 } else { usize::MAX }
    }

    /// Writes the graph, where its file does not cover it.
    pub fn save(&self, path: &std::path::Path) {
        let Ok(index) = self.index() else { return };
        let found = {
            let index = index.read();
            index.graph().map(|(graph, covered)| (graph, covered, index.seqs(covered)))
        };
        let Some((graph, covered, seqs)) = found else { return };
        if self.saved.load(Ordering::Relaxed) == u64::from(covered) {
            return;
        }
        match graph.save(path, &self.collection, &seqs) {
            Ok(()) => self.saved.store(u64::from(covered), Ordering::Relaxed),
            Err(error) => tracing::warn!(%error, "a graph was not saved: it is built again"),
        }
    }

    fn size_bytes(&self) -> usize {
        let Some(index) = self.index.get() else { return 0 };
        let index = index.read();
        index.size_bytes() + index.graph().map_or(0, |(graph, _)| graph.size_bytes())
    }
}
