//! The graph over a collection's slots: a hierarchical navigable small world.

use std::path::Path;

use parking_lot::RwLock;
use usearch::{IndexOptions, MetricKind, ScalarKind};

use super::EmbeddedSettings;
use super::snapshot::{self, Snapshot};
use crate::backend::BackendError;
use crate::metric::Metric;
use crate::model::Collection;

/// Room for so many rows at first.
const FIRST_CAPACITY: usize = 1024;

/// A graph. Adding and searching go on side by side; making room waits for them.
pub struct Graph {
    index: RwLock<usearch::Index>,
    threads: usize,
}

impl Graph {
    /// An empty one that this many threads may use at once.
    pub fn new(
        collection: &Collection,
        settings: &EmbeddedSettings,
        threads: usize,
    ) -> Result<Self, BackendError> {
        let index = usearch::Index::new(&options(collection, settings)).map_err(failed)?;
        index.reserve_capacity_and_threads(FIRST_CAPACITY, threads).map_err(failed)?;
        Ok(Self { index: RwLock::new(index), threads })
    }

    /// Adds rows. A row that is there already is left as it is.
    pub fn add(&self, rows: &[(u32, Vec<f32>)]) -> Result<(), BackendError> {
        self.make_room(rows.len())?;
        let index = self.index.read();
        for (slot, vector) in rows {
            if !index.contains(u64::from(*slot)) {
                index.add(u64::from(*slot), vector).map_err(failed)?;
            }
        }
        Ok(())
    }

    fn make_room(&self, more: usize) -> Result<(), BackendError> {
        let needed = {
            let index = self.index.read();
            let needed = index.size() + more;
            if needed <= index.capacity() {
                return Ok(());
            }
            needed
        };
        let capacity = needed + needed / 2;
        self.index.write().reserve_capacity_and_threads(capacity, self.threads).map_err(failed)
    }

    /// The slots of the nearest rows that are wanted.
    pub fn search(
        &self,
        vector: &[f32],
        most: usize,
        wanted: impl Fn(u32) -> bool,
    ) -> Result<Vec<u32>, BackendError> {
        let index = self.index.read();
        let wanted = |key: u64| u32::try_from(key).is_ok_and(&wanted);
        let found = index.filtered_search(vector, most, wanted).map_err(failed)?;
        Ok(found.keys.into_iter().filter_map(|key| u32::try_from(key).ok()).collect())
    }

    /// About how much memory it takes.
    pub fn size_bytes(&self) -> usize {
        self.index.read().memory_usage()
    }

    /// Writes it to a file, with the numbers of the slots that it covers.
    pub fn save(&self, path: &Path, collection: &Collection, seqs: &[i64]) -> Result<(), BackendError> {
        let index = self.index.read();
        let mut bytes = vec![0; index.serialized_length()];
        index.save_to_buffer(&mut bytes).map_err(failed)?;
        drop(index);
        snapshot::write(path, collection, seqs, &bytes)
    }

    /// Reads it from a file; none where there is no file, or one that is not whole, or not of this collection.
    pub fn load(
        path: &Path,
        collection: &Collection,
        settings: &EmbeddedSettings,
        threads: usize,
    ) -> Option<(Self, Vec<i64>)> {
        let Snapshot { seqs, graph } = snapshot::read(path, collection)?;
        let index = usearch::Index::new(&options(collection, settings)).ok()?;
        index.load_from_buffer(&graph).ok()?;
        let whole = index.dimensions() == collection.dimension && index.size() <= seqs.len();
        let capacity = index.size() + FIRST_CAPACITY;
        index.reserve_capacity_and_threads(capacity, threads).ok()?;
        index.change_expansion_search(settings.expansion_search);
        index.change_expansion_add(settings.expansion_add);
        whole.then(|| (Self { index: RwLock::new(index), threads }, seqs))
    }
}

fn options(collection: &Collection, settings: &EmbeddedSettings) -> IndexOptions {
    IndexOptions {
        dimensions: collection.dimension,
        metric: match collection.metric {
            // Vectors have length 1 here, so that the inner product is the cosine.
            Metric::Cosine | Metric::Dot => MetricKind::IP,
            Metric::Euclidean => MetricKind::L2sq,
        },
        quantization: ScalarKind::F32,
        connectivity: settings.connectivity,
        expansion_add: settings.expansion_add,
        expansion_search: settings.expansion_search,
        multi: false,
    }
}

fn failed(error: impl std::fmt::Display) -> BackendError {
    BackendError::Failed(format!("the graph of a collection: {error}"))
}
