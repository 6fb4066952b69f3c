//! The sandbox's process by itself, for tests: the same as `sre code-worker`.

use std::process::ExitCode;

fn main() -> ExitCode {
    sre_compute::worker::run_if_asked().unwrap_or(ExitCode::from(2))
}
