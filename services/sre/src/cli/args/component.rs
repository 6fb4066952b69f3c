//! `sre component`.

use clap::{Args, Subcommand};

/// `sre component`.
#[derive(Debug, Subcommand)]
pub enum Component {
    /// Lists the registered component types that you may use.
    List,
    /// Asks what is served somewhere what it is.
    Describe(Target),
    /// Holds an implementation of `sre.component.v1.Component` to its contract, and says what is wrong; ends with 1
    /// where something is. Nothing of a suite has to run. Examples are executed: an effect has its effect.
    Test(Test),
    /// Registers what is served somewhere as a type of the team; adds a version where the type is registered.
    Register(Register),
    /// Removes a type, or one version of it.
    Remove {
        /// The type.
        name: String,
        /// The version; the whole type where none is named.
        #[arg(long)]
        version: Option<String>,
    },
    /// Lets others use a type, or change it.
    Share {
        /// The type.
        name: String,
        /// Who: `team/blue`, `agent/clerk`, `user/alice`, or `public/public`.
        #[arg(long = "with", value_name = "WHO")]
        with: String,
        /// What they may: `read` uses it, `write` changes its versions, `owner` all of it, `none` takes it away.
        #[arg(long, default_value = "read")]
        level: String,
    },
}

/// Where a component is served.
#[derive(Debug, Clone, Args)]
pub struct Target {
    /// `unix:/path/of/socket`, `https://host:port` or `http://127.0.0.1:port`.
    #[arg(long, value_name = "ADDR")]
    pub target: String,
    /// For https: the server proves to be this service of the suite's trust domain, `service/my-component`. The
    /// certificate that is shown to it is that of --cert and --key, else the engine's of an embedded suite.
    #[arg(long, value_name = "SERVICE")]
    pub identity: Option<String>,
}

/// What is tested, and how patiently.
#[derive(Debug, Clone, Args)]
pub struct Test {
    /// Where it is served.
    #[command(flatten)]
    pub target: Target,
    /// How long one activation may take, in seconds.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub limit: u64,
    /// How many streams are opened at the same time.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub streams: u64,
}

/// What is registered.
#[derive(Debug, Clone, Args)]
pub struct Register {
    /// Where it is served; it is asked there what it is.
    #[command(flatten)]
    pub target: Target,
    /// Where engines find it, if that is elsewhere or in several places.
    #[arg(long = "endpoint", value_name = "ADDR")]
    pub endpoints: Vec<String>,
    /// Adds the version without making it the default.
    #[arg(long)]
    pub keep_default: bool,
}
