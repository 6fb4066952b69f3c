//! The program: parses the command line, runs the command, gives its code. It is here and not in `main.rs` because a
//! future's code is generated where it is polled: in this library once, and not again for the binary.

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::args::Cli;
use crate::cli::{exit, output};
use crate::commands;

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
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
    match runtime.block_on(commands::run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(&format!("error: {}", exit::text(&error)));
            ExitCode::from(exit::code(&error) as u8)
        }
    }
}
