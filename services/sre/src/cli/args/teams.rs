//! `sre teams`.

use clap::{Subcommand, ValueEnum};

/// `sre teams`.
#[derive(Debug, Subcommand)]
pub enum Teams {
    /// Lists the teams you are a member of.
    List,
    /// Creates a team with you as its admin; for administrators of the deployment.
    Create {
        /// The team's id.
        // `team` is the team meant, an option of every command.
        #[arg(id = "created", value_name = "TEAM")]
        team: String,
        /// What a person sees [default: the id].
        #[arg(long, default_value = "", hide_default_value = true)]
        name: String,
        /// The organisation it belongs to.
        #[arg(long, default_value = "", hide_default_value = true)]
        organization: String,
    },
    /// Lists the members of the team (--team).
    Members,
    /// Adds a member to the team, or changes its role.
    Add {
        /// Who: user/alice or agent/greeter.
        principal: String,
        /// What it may do: use what the team shares, or also steer the team.
        #[arg(long, value_enum, default_value_t = Role::Member)]
        role: Role,
    },
    /// Removes a member from the team.
    Remove {
        /// Who: user/alice or agent/greeter.
        principal: String,
    },
    /// What the team holds and how much it may; sets its limits, for administrators of the deployment.
    Quota {
        /// Sets a limit, as in `[limits.teams]`; without a number it is the configuration's again. May be given
        /// several times.
        #[arg(long = "limit", value_name = "NAME=NUMBER")]
        limits: Vec<String>,
    },
    /// Settings of the team, or of a user or an agent.
    #[command(subcommand)]
    Settings(Settings),
}

/// What a member may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Uses what the team shares.
    Member,
    /// Also steers the team.
    Admin,
}

/// `sre teams settings`.
#[derive(Debug, Subcommand)]
pub enum Settings {
    /// Lists settings.
    List {
        /// Whose: user/alice or agent/greeter [default: the team's].
        #[arg(long = "for", value_name = "PRINCIPAL")]
        principal: Option<String>,
    },
    /// Shows one setting's value.
    Get {
        /// The setting's key.
        // `key` is the client certificate's key, an option of every command.
        #[arg(id = "setting", value_name = "KEY")]
        key: String,
        /// Whose: user/alice or agent/greeter [default: the team's].
        #[arg(long = "for", value_name = "PRINCIPAL")]
        principal: Option<String>,
    },
    /// Sets a setting.
    Set {
        /// The setting's key.
        // `key` is the client certificate's key, an option of every command.
        #[arg(id = "setting", value_name = "KEY")]
        key: String,
        /// Its value; structured values are JSON texts.
        value: String,
        /// Whose: user/alice or agent/greeter [default: the team's].
        #[arg(long = "for", value_name = "PRINCIPAL")]
        principal: Option<String>,
        /// Of a user's setting: agents of the user's teams may read it when they run for the user.
        #[arg(long)]
        inherit: bool,
    },
    /// Deletes a setting.
    Unset {
        /// The setting's key.
        // `key` is the client certificate's key, an option of every command.
        #[arg(id = "setting", value_name = "KEY")]
        key: String,
        /// Whose: user/alice or agent/greeter [default: the team's].
        #[arg(long = "for", value_name = "PRINCIPAL")]
        principal: Option<String>,
    },
}
