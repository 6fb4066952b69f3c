//! `sre connectors`.

use clap::{Args, Subcommand};

/// `sre connectors`.
#[derive(Debug, Subcommand)]
pub enum Connectors {
    /// Lists the backends of services: of the suite that runs, else as they are configured.
    List(Which),
    /// Probes backends, and says what is wrong and what to do; ends with 1 where something is. Where no suite
    /// runs, opens what the configuration names, and closes it again.
    Check(Which),
}

/// Which backends are meant.
#[derive(Debug, Clone, Default, Args)]
pub struct Which {
    /// Only this service: storage, vectordb, nkv, cache, vault or managedvault.
    #[arg(long, value_name = "SERVICE")]
    pub service: Option<String>,
    /// Only the instance of this id.
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// Goes by the configuration, although a suite runs: for one that it does not have yet.
    #[arg(long)]
    pub offline: bool,
}
