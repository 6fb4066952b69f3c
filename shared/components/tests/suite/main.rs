//! Components executed as a run executes them: through the engine, with a context of this process.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking, in what they share too")]

mod api_call;
mod approval;
mod code;
mod context;
mod driver;
mod examples;
mod flow;
mod llm;
mod mock_http;
mod pure;
mod sandbox;
mod vectors;
mod workflows;
