//! `sre agents`.

use std::path::PathBuf;

use clap::Subcommand;

/// `sre agents`.
#[derive(Debug, Subcommand)]
pub enum Agents {
    /// Stores an agent file: creates the agent, or makes a new version of it.
    Put {
        /// A `.smyth` file.
        file: PathBuf,
        /// The agent's id [default: the document's].
        #[arg(long)]
        id: Option<String>,
        /// Deploy the new version.
        #[arg(long)]
        deploy: bool,
    },
    /// Shows an agent, or (--document) prints its document.
    Get {
        /// The agent's id.
        id: String,
        /// The version: an id, or `deployed`.
        #[arg(long, default_value = "", hide_default_value = true)]
        version: String,
        /// Print the document alone.
        #[arg(long)]
        document: bool,
    },
    /// Lists the agents of the team.
    List,
    /// Deletes an agent with all its versions.
    Delete {
        /// The agent's id.
        id: String,
    },
    /// Lists an agent's versions.
    Versions {
        /// The agent's id.
        id: String,
    },
    /// Deploys a version; an older one is a roll-back.
    Deploy {
        /// The agent's id.
        id: String,
        /// The version [default: the latest].
        #[arg(default_value = "", hide_default_value = true)]
        version: String,
    },
    /// Checks agent files without storing them. Needs no suite; where one runs, it says which secrets and
    /// models are missing too.
    Check {
        /// `.smyth` files.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Prints an agent's skills as a proto file, for typed clients.
    Proto {
        /// The agent's id.
        id: String,
        /// The package of the file [default: agents.<agent>.v1].
        #[arg(long, default_value = "", hide_default_value = true)]
        package: String,
    },
}
