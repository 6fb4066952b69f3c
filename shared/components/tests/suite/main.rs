//! Components executed as a run executes them: through the engine, with a context of this process.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking, in what they share too")]

mod api_call;
mod approval;
mod bombs;
mod context;
mod driver;
mod fake;
mod llm;
mod mock_http;
mod oauth;
mod oauth_provider;
mod proxies;
mod security;
mod triggers;
mod vectors;
mod web;
mod workflows;
mod world;
