//! `sre logs` and `sre usage`.

use clap::{Args, ValueEnum};
use prost_types::Timestamp;

use crate::dates;

/// `sre logs`.
#[derive(Debug, Args)]
pub struct Logs {
    /// The agent's id.
    pub agent: String,
    /// Goes on with new lines as they come.
    #[arg(short = 'f', long)]
    pub follow: bool,
    /// Only lines of this run: its id, or its name.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub run: String,
    /// Only lines of this component, by its id.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub component: String,
    /// Only lines of this level and worse.
    #[arg(long, value_enum)]
    pub level: Option<Level>,
    /// Only lines from this moment on: 15m, 2h, 7d, or a date and time.
    #[arg(long, value_name = "WHEN", value_parser = dates::since)]
    pub since: Option<Timestamp>,
    /// Only lines before this moment.
    #[arg(long, value_name = "WHEN", value_parser = dates::since, conflicts_with = "follow")]
    pub until: Option<Timestamp>,
    /// Only lines that hold this text.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    pub grep: String,
    /// The newest so many lines.
    #[arg(long, default_value_t = 100, conflicts_with = "follow")]
    pub limit: usize,
}

/// How bad a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Level {
    /// For whoever wrote the agent.
    Debug,
    /// Normal.
    Info,
    /// Doubtful.
    Warn,
    /// Failed.
    Error,
}

/// `sre usage`.
#[derive(Debug, Args)]
pub struct UsageOf {
    /// What sums are made by.
    #[arg(long, value_enum, default_value_t = UsageBy::Team)]
    pub by: UsageBy,
    /// From this moment on, in whole hours: 2h, 7d, or a date and time [default: everything].
    #[arg(long, value_name = "WHEN", value_parser = dates::since)]
    pub since: Option<Timestamp>,
    /// Before this moment.
    #[arg(long, value_name = "WHEN", value_parser = dates::since)]
    pub until: Option<Timestamp>,
    /// Only of this agent, by its id.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub agent: String,
    /// At most so many rows.
    #[arg(long, default_value_t = 100)]
    pub limit: usize,
}

/// What sums are made by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum UsageBy {
    /// One row.
    Team,
    /// Agents.
    Agent,
    /// Who is at the beginning of the chain.
    User,
    /// Models.
    Model,
    /// Runs.
    Run,
}
