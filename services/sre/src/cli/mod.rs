//! The command line: what can be said, how answers are shown, how a command ends.

pub mod args;
pub mod exit;
pub mod input;
pub mod output;
pub mod progress;
