//! `sre oauth`.

use clap::{Args, Subcommand};
use url::Url;

/// `sre oauth`.
#[derive(Debug, Subcommand)]
pub enum OAuth {
    /// Has a person grant an agent access to an account, and keeps the tokens in the agent's managed vault. The
    /// provider must know `http://127.0.0.1:PORT/callback` as a redirect of the application.
    Login(Box<Login>),
    /// Says whether a connection has tokens. They are not shown.
    Status {
        /// The connection.
        #[command(flatten)]
        connection: Connection,
    },
    /// Forgets the tokens of a connection. The provider is not told.
    Forget {
        /// The connection.
        #[command(flatten)]
        connection: Connection,
    },
}

/// A connection of an agent.
#[derive(Debug, Args)]
pub struct Connection {
    /// The agent.
    pub agent: String,
    /// The connection: what the component has as `oauth_con_id` or `oauth_cred_id`.
    pub connection: String,
}

/// `sre oauth login`.
#[derive(Debug, Args)]
pub struct Login {
    /// The connection.
    #[command(flatten)]
    pub connection: Connection,
    /// Where people grant access.
    #[arg(long, value_name = "URL")]
    pub authorize_url: Url,
    /// Where codes become tokens.
    #[arg(long, value_name = "URL")]
    pub token_url: Url,
    /// The application's id.
    #[arg(long, value_name = "ID")]
    pub client_id: String,
    /// The key of the team's vault that holds the application's secret [default: it has none].
    #[arg(long, value_name = "KEY")]
    pub client_secret_key: Option<String>,
    /// What is asked for, between spaces.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub scope: String,
    /// The service's name, for editors.
    #[arg(long, default_value = "oauth2")]
    pub service: String,
    /// The port on this machine that the provider sends the person back to [default: a free one].
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    pub port: u16,
    /// How long the person has, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub patience: u64,
}
