//! Components executed as a run executes them: through the engine, with a context of this process.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking, in what they share too")]

mod api_call;
mod approval;
mod calls;
mod context;
mod driver;
mod file_store;
mod fake;
mod llm;
mod llm_family;
mod memory;
mod mock_http;
mod rag;
mod rag_double;
mod shapes;
mod oauth;
mod proxies;
mod security;
mod vectors;
mod web;
mod workflows;
mod world;
