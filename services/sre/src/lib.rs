//! The one binary, `sre`: every role of the suite, and the command line. As a library it is what tests and
//! tools start suites with.

pub mod authz;
mod backends;
pub mod backup;
pub mod cli;
pub mod client;
pub mod commands;
pub mod component_kit;
mod dates;
pub mod golden;
pub mod program;
pub mod ready_file;
pub mod settings;
pub mod suite;
