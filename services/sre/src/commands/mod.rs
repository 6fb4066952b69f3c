//! What the commands do, one file each.

mod agent;
mod agents;
mod approvals;
mod audit;
mod authz;
mod backup;
mod certs;
mod chat;
mod check;
mod component;
mod config;
mod connectors;
mod debug;
mod docs;
mod health;
mod import;
mod import_files;
mod import_values;
mod keys;
mod logs;
mod models;
mod oauth;
mod prompt;
mod quota;
mod runs;
mod serve;
mod split;
mod teams;
mod test;
mod up;
mod usage;
mod vault;

use anyhow::Result;
use clap::CommandFactory as _;

use crate::cli::args::{Cli, Command};

pub use agents::{read_document, store as store_agent};
pub use import::{Imported, state as import_state};

/// Runs a command.
pub async fn run(cli: Cli) -> Result<()> {
    let global = cli.global;
    match cli.command {
        Command::Up(arguments) => Box::pin(up::run(&global, arguments)).await,
        Command::Serve(arguments) => Box::pin(serve::run(&global, arguments)).await,
        Command::Agent(arguments) => Box::pin(agent::run(&global, arguments)).await,
        Command::Chat(arguments) => Box::pin(chat::run(&global, arguments)).await,
        Command::Agents(command) => Box::pin(agents::run(&global, command)).await,
        Command::Runs(command) => Box::pin(runs::run(&global, command)).await,
        Command::Approvals(command) => Box::pin(approvals::run(&global, command)).await,
        Command::Logs(arguments) => Box::pin(logs::run(&global, arguments)).await,
        Command::Usage(arguments) => Box::pin(usage::run(&global, arguments)).await,
        Command::Models(command) => Box::pin(models::run(&global, command)).await,
        Command::Debug(command) => Box::pin(debug::run(&global, command)).await,
        Command::OAuth(command) => Box::pin(oauth::run(&global, command)).await,
        Command::Keys(command) => Box::pin(keys::run(&global, command)).await,
        Command::Teams(command) => Box::pin(teams::run(&global, command)).await,
        Command::Audit(command) => Box::pin(audit::run(&global, command)).await,
        Command::Certs(command) => Box::pin(certs::run(&global, command)).await,
        Command::Vault(command) => Box::pin(vault::run(&global, command)).await,
        Command::Config(command) => config::run(&global, &command),
        Command::Component(command) => Box::pin(component::run(&global, command)).await,
        Command::Connectors(command) => Box::pin(connectors::run(&global, command)).await,
        Command::Health => Box::pin(health::run(&global)).await,
        Command::Import(arguments) => Box::pin(import::run(&global, arguments)).await,
        Command::Authz(command) => Box::pin(authz::run(&global, command)).await,
        Command::Backup(arguments) => Box::pin(backup::take(&global, arguments)).await,
        Command::Restore(arguments) => Box::pin(backup::restore(&global, arguments)).await,
        Command::Test(arguments) => Box::pin(test::run(&global, arguments)).await,
        Command::Docs(command) => docs::run(&global, &command),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "sre", &mut std::io::stdout());
            Ok(())
        }
    }
}
