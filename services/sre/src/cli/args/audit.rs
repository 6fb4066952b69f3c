//! `sre audit`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// `sre audit`.
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Lists records of the team, newest first; for its admins.
    List {
        /// Which.
        #[command(flatten)]
        filter: Filter,
        /// At most so many.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Writes records as JSON, one a line, newest first.
    Export {
        /// Which.
        #[command(flatten)]
        filter: Filter,
        /// The file to write [default: standard output].
        #[arg(short = 'o', long = "file", value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Verifies every record, chain and checkpoint; for administrators of the deployment. Ends with 1 where
    /// something is wrong.
    Verify {
        /// Checkpoints that were kept elsewhere, as `sre audit checkpoints` writes them: each must be in the log.
        #[arg(long, value_name = "FILE")]
        witness: Option<PathBuf>,
    },
    /// Writes the newest signed checkpoint of each writer, one a line: keep them where the suite cannot write.
    Checkpoints {
        /// The file to write [default: standard output].
        #[arg(short = 'o', long = "file", value_name = "FILE")]
        file: Option<PathBuf>,
        /// All checkpoints instead.
        #[arg(long)]
        all: bool,
    },
}

/// Which records.
#[derive(Debug, Clone, Args)]
pub struct Filter {
    /// Records of all teams and of none; for administrators of the deployment.
    #[arg(long)]
    pub all_teams: bool,
    /// At this time and later: 2026-11-29T10:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Before this time.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// What a principal did, or was acted for in: user/alice, agent/greeter or service/llm.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "PRINCIPAL")]
    pub principal: String,
    /// What a role wrote, for example io.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "ROLE")]
    pub service: String,
    /// A method, or a proto service, for example sre.io.v1.Nkv.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub method: String,
    /// A resource and what is below it, for example teams/default/agents/greeter.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub resource: String,
    /// How it was decided.
    #[arg(long, value_enum)]
    pub decision: Option<Decision>,
}

/// How a call was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Decision {
    /// It was allowed.
    Allowed,
    /// It was refused.
    Denied,
}
