//! Components executed as a run executes them: through the engine, with a context of this process.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking, in what they share too")]

mod api_call;
mod approval;
mod bombs;
mod calls;
mod code;
mod context;
mod driver;
mod examples;
mod fake;
mod file_store;
mod flow;
mod llm;
mod llm_family;
mod mcp;
mod mcp_oauth;
mod memory;
mod mock_http;
mod oauth;
mod oauth_provider;
mod open_api;
mod proxies;
mod pure;
mod rag;
mod rag_double;
mod sandbox;
mod security;
mod serverless_code;
mod shapes;
mod tools;
mod triggers;
mod triggers_register;
mod vectors;
mod web;
mod workflows;
mod world;
