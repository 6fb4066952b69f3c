//! The role `compute` from outside: real processes of the sandbox, the service over its store.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

#[cfg(feature = "aws")]
mod accounts;
#[cfg(feature = "wasm")]
mod components;
mod escape;
mod fairness;
mod http;
mod process;
mod service;
mod support;
