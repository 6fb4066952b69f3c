//! Rows, and what is asked of them.

use bytes::Bytes;

use crate::features::Features;
use crate::filter::Condition;
use crate::metric::Metric;

/// The longest vector.
pub const MAX_DIMENSION: usize = 4096;

/// A collection's id: a number that nobody chose, so that no two tenants can come to have one (services.md H16,
/// H17).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CollectionId(pub u128);

impl CollectionId {
    /// What backends call it: `ns_` and 32 hex digits.
    pub fn name(&self) -> String {
        format!("ns_{:032x}", self.0)
    }
}

/// A collection, as it was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Collection {
    /// Its id.
    pub id: CollectionId,
    /// Length of its vectors.
    pub dimension: usize,
    /// How they are compared.
    pub metric: Metric,
}

/// The number of a writing. Rows of generation 0 are seen as soon as they are put; others when their
/// generation is, see [`Visibility`].
pub type Generation = i64;

/// Which generations a search sees: those that were committed when it began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visibility {
    /// Those below this number,
    pub below: Generation,
    /// without these: they are not whole yet, or replaced.
    pub except: Vec<Generation>,
}

impl Visibility {
    /// Every generation.
    pub fn all() -> Self {
        Self { below: Generation::MAX, except: Vec::new() }
    }

    /// Whether rows of this generation are seen.
    pub fn sees(&self, generation: Generation) -> bool {
        generation < self.below && !self.except.contains(&generation)
    }
}

/// A row's key in its collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey {
    /// Its generation.
    pub generation: Generation,
    /// A digest of generation and id.
    pub digest: u128,
}

impl RowKey {
    /// The key of a row.
    pub fn of(generation: Generation, id: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&generation.to_be_bytes()).update(id.as_bytes());
        let mut digest = [0; 16];
        hasher.finalize_xof().fill(&mut digest);
        Self { generation, digest: u128::from_be_bytes(digest) }
    }

    /// As a UUID, for backends whose ids are.
    pub fn uuid(&self) -> uuid::Uuid {
        uuid::Builder::from_custom_bytes(self.digest.to_be_bytes()).into_uuid()
    }
}

/// A row.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its id, unique within its generation.
    pub id: String,
    /// Its generation.
    pub generation: Generation,
    /// Its vector.
    pub vector: Vec<f32>,
    /// Its text.
    pub text: String,
    /// Its metadata: JSON.
    pub metadata: Bytes,
    /// What conditions see of it.
    pub features: Features,
    /// The datasource that it is of; empty where it is of none.
    pub datasource: String,
    /// Which chunk of it.
    pub chunk: i32,
}

impl Row {
    /// Its key.
    pub fn key(&self) -> RowKey {
        RowKey::of(self.generation, &self.id)
    }

    /// The bytes that it counts for: vector, text, metadata and id.
    pub fn size_bytes(&self) -> usize {
        self.vector.len() * size_of::<f32>() + self.text.len() + self.metadata.len() + self.id.len()
    }
}

/// What a search wants of each row besides id and score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Its text.
    pub text: bool,
    /// Its metadata.
    pub metadata: bool,
    /// Its vector.
    pub vector: bool,
}

/// A search.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// What the rows shall be like; of the collection's dimension.
    pub vector: Vec<f32>,
    /// At most so many.
    pub top_k: usize,
    /// Which generations it sees.
    pub visibility: Visibility,
    /// What must hold for the rows.
    pub condition: Option<Condition>,
    /// What to give of them.
    pub wanted: Wanted,
}

/// A row that was found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// Its id.
    pub id: String,
    /// How alike it is.
    pub score: f32,
    /// Its generation.
    pub generation: Generation,
    /// The datasource that it is of.
    pub datasource: String,
    /// Which chunk of it.
    pub chunk: i32,
    /// Its text, where wanted.
    pub text: String,
    /// Its metadata, where wanted.
    pub metadata: Bytes,
    /// Its vector, where wanted. Backends that keep directions alone give one of length 1 where the metric is
    /// cosine.
    pub vector: Vec<f32>,
}

/// The best `top_k`, best first, among equals by id.
pub fn best(mut found: Vec<Found>, top_k: usize) -> Vec<Found> {
    found.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.id.cmp(&b.id)));
    found.truncate(top_k);
    found
}
