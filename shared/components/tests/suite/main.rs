//! Components executed as a run executes them: through the engine, with a context of this process.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking, in what they share too")]

mod api_call;
mod approval;
mod calls;
mod context;
mod driver;
mod llm;
mod mcp;
mod mock_http;
mod open_api;
mod tools;
mod vectors;
mod workflows;
