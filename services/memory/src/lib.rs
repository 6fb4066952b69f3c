//! Memory: the run journal, conversations, and the cache.

pub mod cache;
pub mod llm_context;
pub mod runtime_context;
