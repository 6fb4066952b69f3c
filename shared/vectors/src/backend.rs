//! The trait behind which rows are kept.

use async_trait::async_trait;

use crate::model::{Collection, Found, Generation, Query, Row, RowKey};

/// What can go wrong in a backend.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BackendError {
    /// It cannot be reached, or does not answer: the call may succeed later.
    #[error("{0}")]
    Unavailable(String),
    /// It takes no more: later, or elsewhere.
    #[error("{0}")]
    Full(String),
    /// A row is more than it can keep.
    #[error("{0}")]
    Refused(String),
    /// Anything else: its own fault, or its configuration's.
    #[error("{0}")]
    Failed(String),
}

/// Keeps rows of vectors, and finds them by likeness.
///
/// **Durability**: what a call wrote is durable, and seen by searches that begin afterwards, when its future is
/// ready; where a remote service promises less, its page says so. A call that failed, or was dropped, may have
/// written some of its rows or all of them: callers repeat it or remove its generation.
///
/// **Isolation**: a call touches the rows of its one collection and no others.
///
/// **Order**: calls that run side by side may take effect in any order; of two puts of one row either may stay.
///
/// **Scores** are those of [`Metric::score`](crate::Metric::score), to within what 32-bit floats lose.
///
/// **Limits**: callers pass at most 1,000 rows or keys at once, vectors of the collection's dimension with finite
/// values, texts and metadata of 65,535 bytes, and a `top_k` of 1 to 100.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Makes a collection. Repeating it changes nothing, and heals what a crash left half made.
    async fn create(&self, collection: &Collection) -> Result<(), BackendError>;

    /// Removes a collection with all its rows. Repeating it changes nothing.
    async fn remove(&self, collection: &Collection) -> Result<(), BackendError>;

    /// Puts rows, over those with the same keys; of two rows with one key the later. Idempotent.
    async fn put(&self, collection: &Collection, rows: Vec<Row>) -> Result<(), BackendError>;

    /// Deletes rows; keys that are not there are passed over. Idempotent.
    async fn delete(&self, collection: &Collection, keys: Vec<RowKey>) -> Result<(), BackendError>;

    /// Deletes all rows of a generation. Idempotent.
    async fn delete_generation(
        &self,
        collection: &Collection,
        generation: Generation,
    ) -> Result<(), BackendError>;

    /// The best rows among those that are visible and for which the condition holds, best first. As many as asked
    /// for wherever there are as many: a condition that few rows meet is answered in full.
    async fn search(&self, collection: &Collection, query: Query) -> Result<Vec<Found>, BackendError>;

    /// A cheap call that tells whether the backend answers.
    async fn check(&self) -> Result<(), BackendError>;

    /// Ends what it holds. Calls afterwards fail.
    async fn close(&self) {}
}
