//! Stores of vectors: what a row and a search are, and the backends that keep rows and find them.
//!
//! A backend knows neither names nor access lists nor who asks: it has collections, each known by an id that
//! nobody chose, and rows in them. What belongs together is told by generations, see [`Visibility`]. Read
//! [`Backend`] first; a backend is right when it passes `contract::every_case`.

mod backend;
#[cfg(any(test, feature = "contract"))]
pub mod contract;
pub mod embedded;
mod features;
mod filter;
#[cfg(feature = "grpc")]
mod grpc;
mod metric;
#[cfg(feature = "milvus")]
pub mod milvus;
mod model;
#[cfg(feature = "pgvector")]
pub mod pgvector;
#[cfg(feature = "pinecone")]
pub mod pinecone;
#[cfg(feature = "qdrant")]
pub mod qdrant;
pub mod splitter;

pub use backend::{Backend, BackendError};
pub use features::{FeatureError, Features, NumberKey, Tag};
pub use filter::{Bounds, Condition, ConditionError, Scalar};
pub use metric::Metric;
pub use model::{
    Collection, CollectionId, Found, Generation, MAX_DIMENSION, Query, Row, RowKey, Visibility, Wanted, best,
};
