//! `sre runs` and `sre approvals`.

use std::path::PathBuf;

use clap::Subcommand;

/// `sre runs`.
#[derive(Debug, Subcommand)]
pub enum Runs {
    /// Lists an agent's runs, newest first.
    List {
        /// The agent's id.
        agent: String,
        /// At most so many.
        #[arg(long, default_value_t = 20)]
        limit: i32,
    },
    /// Shows a run with its result: what failed, and what waited for inputs that never came.
    Get {
        /// The run's name.
        run: String,
    },
    /// Follows a run's events until it ends.
    Watch {
        /// The run's name.
        run: String,
        /// Only events after this cursor: SEQUENCE or SEQUENCE.SUB, as this command shows them.
        #[arg(long, value_name = "CURSOR", value_parser = cursor)]
        after: Option<(i64, i32)>,
    },
    /// Lists what a run's components did, in the order of the journal.
    Steps {
        /// The run's name.
        run: String,
    },
    /// Shows a run's span tree with times, tokens and cost.
    Trace {
        /// The run's name.
        run: String,
    },
    /// Cancels a run.
    Cancel {
        /// The run's name.
        run: String,
        /// Why.
        #[arg(long, default_value = "cancelled from the command line")]
        reason: String,
    },
    /// Pauses a run after the components in flight.
    Pause {
        /// The run's name.
        run: String,
    },
    /// Resumes a paused run.
    Resume {
        /// The run's name.
        run: String,
    },
    /// Starts a new run from a step of an ended one, with changed input, and shows its answer.
    Fork {
        /// The run's name.
        run: String,
        /// Where: a component's id, or an activation that `sre runs steps` shows.
        #[arg(long, value_name = "COMPONENT")]
        at: String,
        /// An input of that component: key=value; a value that is JSON is taken as such.
        // The id of the global option, which it hides here.
        #[arg(long = "set", value_name = "KEY=VALUE")]
        set: Vec<String>,
        /// The version to run [default: that of the run].
        #[arg(long, default_value = "", hide_default_value = true)]
        version: String,
        /// Do not wait for the answer.
        #[arg(long)]
        detach: bool,
    },
    /// Exports all that is needed to replay an ended run: document, request, recorded outputs, answer.
    Export {
        /// The run's name.
        run: String,
        /// The file to write [default: standard output].
        #[arg(short = 'o', long = "file", value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Runs an ended run again from its recorded outputs, without any service, and compares the answers.
    Replay {
        /// The run's name, or a file that `sre runs export` wrote.
        #[arg(value_name = "RUN|FILE")]
        run: String,
    },
    /// Deletes an ended run with its journal.
    Delete {
        /// The run's name.
        run: String,
    },
}

/// `sre approvals`.
#[derive(Debug, Subcommand)]
pub enum Approvals {
    /// Lists the approvals of the team or of an agent, newest first.
    List {
        /// The agent's id [default: the whole team].
        #[arg(long)]
        agent: Option<String>,
        /// All of them, decided and expired ones too.
        #[arg(long)]
        all: bool,
        /// At most so many.
        #[arg(long, default_value_t = 50)]
        limit: i32,
    },
    /// Shows an approval with what is to be decided about.
    Get {
        /// The approval's name.
        name: String,
    },
    /// Approves: the run goes on.
    Approve {
        /// The approval's name.
        name: String,
        /// What to tell the run and the audit log.
        #[arg(long, default_value = "", hide_default_value = true)]
        comment: String,
    },
    /// Rejects.
    Reject {
        /// The approval's name.
        name: String,
        /// What to tell the run and the audit log.
        #[arg(long, default_value = "", hide_default_value = true)]
        comment: String,
        /// Of an effect of which nobody knows whether it happened: the output to go on with.
        #[arg(long, value_name = "JSON")]
        result: Option<String>,
    },
}

fn cursor(text: &str) -> Result<(i64, i32), String> {
    let (sequence, sub) = text.split_once('.').unwrap_or((text, "0"));
    match (sequence.parse(), sub.parse()) {
        (Ok(sequence), Ok(sub)) => Ok((sequence, sub)),
        _ => Err("write for example 12 or 12.3".to_owned()),
    }
}
