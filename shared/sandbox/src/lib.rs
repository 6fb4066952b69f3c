//! What runs code that nobody trusts: a process that gives up everything but two pipes ([`jail`]), and an
//! interpreter in it that sees JSON and nothing else ([`interpreter`]).
//!
//! Read in this order: [`limits`] (what a call may take), [`protocol`] (what goes over the pipes), [`worker`]
//! (the process), [`jail`] (what it gives up before it reads any code), [`contract`] (what code must look like),
//! [`interpreter`] (how it runs), and, with the feature `wasm`, `components` (how WebAssembly runs).
//!
//! The other end of the pipes, which starts, bounds and ends such processes, is the role `compute`. This crate
//! is a leaf of its own because QuickJS is C and takes its time to build.

#[cfg(feature = "wasm")]
pub mod components;
pub mod contract;
pub mod interpreter;
pub mod jail;
pub mod limits;
pub mod protocol;
pub mod worker;

pub use limits::{Limit, Limits};

/// Whether this build runs WebAssembly components.
pub const COMPONENTS: bool = cfg!(feature = "wasm");
