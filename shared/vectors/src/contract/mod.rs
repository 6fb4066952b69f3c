//! What every backend must do. A backend's tests call `every_case!(fresh)`, where `fresh` is an async function
//! that gives the backend, or none where its server is not there. Cases make collections of their own, so they may
//! share a server.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    clippy::missing_panics_doc,
    reason = "cases of tests, also where they are built for those of other crates"
)]

mod finding;
mod writing;

pub use finding::*;
pub use writing::*;

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::features::Features;
use crate::filter::Condition;
use crate::metric::Metric;
use crate::model::{Collection, CollectionId, Found, Generation, Query, Row, Visibility, Wanted, best};
use crate::{Backend, BackendError};

/// A backend, and what it needs to stay.
pub struct Bench {
    /// The backend.
    pub backend: Arc<dyn Backend>,
    /// Its files or its server.
    pub keep: Box<dyn Any + Send + Sync>,
}

impl Bench {
    /// Over a backend.
    pub fn over(backend: impl Backend, keep: impl Any + Send + Sync) -> Self {
        Self { backend: Arc::new(backend), keep: Box::new(keep) }
    }

    /// A new collection.
    pub async fn collection(&self, dimension: usize, metric: Metric) -> Collection {
        let collection = Collection { id: fresh_id(), dimension, metric };
        self.backend.create(&collection).await.unwrap();
        collection
    }

    /// The ids of what is found, best first.
    pub async fn ids(&self, collection: &Collection, query: Query) -> Vec<String> {
        self.search(collection, query).await.into_iter().map(|found| found.id).collect()
    }

    /// What is found; each score is checked against the order.
    pub async fn search(&self, collection: &Collection, query: Query) -> Vec<Found> {
        let found = self.backend.search(collection, query).await.unwrap();
        assert!(found.is_sorted_by(|a, b| a.score >= b.score), "not best first: {found:?}");
        found
    }

    /// Puts rows.
    pub async fn put(&self, collection: &Collection, rows: &[Row]) {
        self.backend.put(collection, rows.to_vec()).await.unwrap();
    }

    /// Ends a case: takes its collections away.
    pub async fn end(self, collections: &[Collection]) -> Result<(), BackendError> {
        for collection in collections {
            self.backend.remove(collection).await?;
        }
        self.backend.close().await;
        Ok(())
    }
}

/// An id that no other case has.
pub fn fresh_id() -> CollectionId {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let parts = format!("{} {} {count}", since.as_nanos(), std::process::id());
    let mut id = [0; 16];
    blake3::Hasher::new().update(parts.as_bytes()).finalize_xof().fill(&mut id);
    CollectionId(u128::from_be_bytes(id))
}

/// A row of no datasource and no generation.
pub fn row(id: &str, vector: &[f32]) -> Row {
    with(id, vector, &Value::Object(Map::new()), "", 0)
}

/// A row with metadata.
pub fn with(id: &str, vector: &[f32], metadata: &Value, datasource: &str, generation: Generation) -> Row {
    let object = metadata.as_object().cloned().unwrap_or_default();
    Row {
        id: id.to_owned(),
        generation,
        vector: vector.to_vec(),
        text: format!("text of {id}"),
        metadata: Bytes::from(metadata.to_string()),
        features: Features::of(&object, datasource).unwrap(),
        datasource: datasource.to_owned(),
        chunk: 0,
    }
}

/// A search for everything that is like a vector.
pub fn like(vector: &[f32], top_k: usize) -> Query {
    Query {
        vector: vector.to_vec(),
        top_k,
        visibility: Visibility::all(),
        condition: None,
        wanted: Wanted::default(),
    }
}

/// With a condition.
pub fn where_(query: Query, condition: Condition) -> Query {
    Query { condition: Some(condition), ..query }
}

/// The ids that a search must find, best first, by comparing everything.
pub fn expected(metric: Metric, rows: &[Row], query: &Query) -> Vec<String> {
    let wanted = rows.iter().filter(|row| {
        query.visibility.sees(row.generation)
            && query.condition.as_ref().is_none_or(|condition| condition.holds(&row.features))
    });
    let found = wanted
        .map(|row| Found {
            id: row.id.clone(),
            score: metric.score(&query.vector, &row.vector),
            ..Found::default()
        })
        .collect();
    best(found, query.top_k).into_iter().map(|found| found.id).collect()
}

/// As a set, where the order does not matter.
pub fn set(ids: &[String]) -> BTreeSet<&str> {
    ids.iter().map(String::as_str).collect()
}

/// Numbers that look random and are the same in every run.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// 64 bits.
    pub fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Below a number.
    pub fn below(&mut self, end: usize) -> usize {
        (self.roll() % end as u64) as usize
    }

    /// Between -1 and 1.
    pub fn unit(&mut self) -> f32 {
        (self.roll() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// A vector.
    pub fn vector(&mut self, dimension: usize) -> Vec<f32> {
        (0..dimension).map(|_| self.unit()).collect()
    }
}

/// One test for each case.
#[macro_export]
macro_rules! every_vector_case {
    ($fresh:path) => {
        $crate::every_vector_case!(@ $fresh,
            rows_are_found_best_first, scores_agree_with_the_metric, a_put_replaces_and_a_delete_removes,
            repeating_changes_nothing, what_is_wanted_is_given, collections_are_apart,
            d33_a_removed_collection_is_empty_when_it_comes_back, generations_are_seen_together,
            a_generation_is_deleted_whole, conditions_hold_as_they_say, random_conditions_agree_with_the_model,
            few_among_many_are_found, a_thousand_rows_at_once, h32_texts_are_never_expressions,
            many_writers_lose_nothing, it_says_that_it_answers);
    };
    (@ $fresh:path, $($case:ident),* $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            if let Some(bench) = $fresh().await {
                $crate::contract::$case(bench).await;
            }
        }
    )*};
}
pub use every_vector_case as every_case;
