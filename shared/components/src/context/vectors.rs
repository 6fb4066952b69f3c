//! Texts found by likeness.

use async_trait::async_trait;
use sre_engine::value::Value;

use super::ContextError;

/// A text to be found later.
#[derive(Clone, Debug, Default)]
pub struct NewDatasource {
    /// Its id in the namespace.
    pub id: String,
    /// What a person sees.
    pub label: String,
    /// What is said of it: JSON of an object; nothing where empty.
    pub metadata_json: String,
    /// Longest chunk, in UTF-16 units; the service's where `None`.
    pub chunk_size: Option<i32>,
    /// How much of a chunk the next repeats; the service's where `None`.
    pub chunk_overlap: Option<i32>,
    /// Where it is from: an address, a file name, a title.
    pub source: String,
    /// Where its pages begin, in characters, and their numbers.
    pub pages: Vec<(u64, u32)>,
    /// The text.
    pub text: String,
}

/// What to look for.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The text.
    pub text: String,
    /// At most so many.
    pub top_k: usize,
    /// Only with this score or more.
    pub min_score: Option<f32>,
    /// Whether to give metadata.
    pub metadata: bool,
    /// Whether to give citations.
    pub citations: bool,
}

/// A chunk that was found.
#[derive(Clone, Debug, Default)]
pub struct Hit {
    /// Its text.
    pub text: String,
    /// How alike it is, greater is more.
    pub score: f32,
    /// Metadata of the text that it is of, where asked for.
    pub metadata: Value,
    /// The text that it is of, by id.
    pub datasource: String,
    /// Its place there, where asked for and known.
    pub citation: Option<Citation>,
}

/// The place of a chunk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Citation {
    /// Where the text is from.
    pub source: String,
    /// The page; 0 where there are none.
    pub page: i32,
    /// The characters before it,
    pub start: i64,
    /// and before its end.
    pub end: i64,
}

/// The namespaces of the running agent's team.
#[async_trait]
pub trait Vectors: Send + Sync {
    /// Creates a namespace that embeds with this model; one that is there stays as it is.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached, or the model cannot embed.
    async fn open(&self, namespace: &str, model: &str) -> Result<(), ContextError>;

    /// Indexes a text, in the place of all that had its id before.
    ///
    /// # Errors
    /// [`super::Failure::NotFound`] if there is no such namespace; otherwise if the service refuses or cannot be
    /// reached.
    async fn index(&self, namespace: &str, new: NewDatasource) -> Result<(), ContextError>;

    /// The chunks that are most like a text, the most alike first.
    ///
    /// # Errors
    /// Like [`Vectors::index`].
    async fn search(&self, namespace: &str, wanted: Wanted) -> Result<Vec<Hit>, ContextError>;

    /// Removes a text; says whether there was one.
    ///
    /// # Errors
    /// Like [`Vectors::index`].
    async fn forget(&self, namespace: &str, id: &str) -> Result<bool, ContextError>;
}
