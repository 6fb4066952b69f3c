//! `sre`: parses the command line, runs the command, ends with its code.

use std::process::ExitCode;

use clap::Parser as _;
use sre::cli::args::Cli;
use sre::cli::{exit, output};

/// Calls make many small, short-lived values on many threads; the system's allocator is the larger part of their
/// cost.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Before anything is opened and any thread runs: the sandbox's process is this program too.
    if let Some(ended) = sre_compute::worker::run_if_asked() {
        return ended;
    }
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::complain(&format!("error: cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(sre::commands::run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(&format!("error: {}", exit::text(&error)));
            ExitCode::from(exit::code(&error) as u8)
        }
    }
}
