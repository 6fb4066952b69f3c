//! `sre vault`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `sre vault`.
#[derive(Debug, Subcommand)]
pub enum Vault {
    /// Lists the secrets that a team can use: its own, and those granted to it. Values are not shown.
    List {
        /// The backend [default: the team's].
        #[arg(long, default_value = "")]
        instance: String,
    },
    /// Sets a secret; its value is read from standard input or a file, never from the command line.
    Put {
        /// The secret.
        #[command(flatten)]
        secret: Secret,
        /// Reads the value from this file, as it is [default: standard input without the line end after it].
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Lists the versions of a secret that are kept.
    Versions {
        /// The secret.
        #[command(flatten)]
        secret: Secret,
    },
    /// Deletes a secret with all its versions and grants.
    Delete {
        /// The secret.
        #[command(flatten)]
        secret: Secret,
    },
    /// Lets another team use a secret under the same name, where it has none of its own.
    Grant {
        /// The secret's key.
        // `key` is the client certificate's key, an option of every command.
        #[arg(id = "secret", value_name = "KEY")]
        key: String,
        /// To whom.
        #[command(flatten)]
        grantee: Grantee,
    },
    /// Takes a grant back.
    Revoke {
        /// The secret's key.
        // `key` is the client certificate's key, an option of every command.
        #[arg(id = "secret", value_name = "KEY")]
        key: String,
        /// From whom.
        #[command(flatten)]
        grantee: Grantee,
    },
    /// Lists what a team has granted.
    Grants,
    /// Makes new keys that seal all secrets, while the suite runs. Values are not touched.
    Rotate {
        /// Makes no new keys: takes those that you put into the key files.
        #[arg(long)]
        keep_keys: bool,
        /// Forgets the older keys: backups made before cannot be read any more.
        #[arg(long)]
        forget_old: bool,
    },
}

/// A secret of a team.
#[derive(Debug, Args)]
pub struct Secret {
    /// The secret's key.
    // `key` is the client certificate's key, an option of every command.
    #[arg(id = "secret", value_name = "KEY")]
    pub key: String,
    /// The backend [default: the team's].
    #[arg(long, default_value = "")]
    pub instance: String,
}

/// A team, or all.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Grantee {
    /// This team.
    #[arg(long, value_name = "TEAM")]
    pub to: Option<String>,
    /// All teams.
    #[arg(long)]
    pub all: bool,
}

impl Grantee {
    /// As the contract names it.
    pub fn name(&self) -> String {
        format!("teams/{}", self.to.as_deref().unwrap_or("*"))
    }
}
