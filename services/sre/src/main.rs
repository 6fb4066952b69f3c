//! `sre`: the program, and what only a binary chooses.

use std::process::ExitCode;

/// Calls make many small, short-lived values on many threads; the system's allocator is the larger part of their
/// cost.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    sre::program::run()
}
