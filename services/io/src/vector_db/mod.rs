//! Vectors: texts found by likeness.

mod service;

pub use service::VectorDbService;
