//! What can be said on the command line.

mod agents;
mod audit;
mod authz;
mod backup;
mod component;
mod connectors;
mod debug;
mod models;
mod oauth;
mod observe;
mod runs;
mod teams;
mod vault;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use agents::Agents;
pub use audit::{Audit, Decision as AuditDecision, Filter as AuditFilter};
pub use authz::Authz;
pub use backup::{Backup, Restore};
pub use component::{Component, Register as ComponentRegister, Target, Test as ComponentTest};
pub use connectors::{Connectors, Which};
pub use debug::Debug;
pub use models::Models;
pub use oauth::{Connection, Login, OAuth};
pub use observe::{Level as LogLevel, Logs, UsageBy, UsageOf};
pub use runs::{Approvals, Runs};
pub use teams::{Role as TeamMemberRole, Settings as TeamSettings, Teams};
pub use vault::Vault;

/// An operating system for AI agents: the whole suite and its client in one command.
#[derive(Debug, Parser)]
#[command(name = "sre", version, max_term_width = 110)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// The configuration file [default: sre.toml, where there is one].
    #[arg(long, global = true, env = "SRE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Sets one key of the configuration; may be given several times.
    #[arg(long = "set", global = true, value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
    /// Where an embedded suite keeps everything [default: .sre].
    #[arg(long, global = true, env = "SRE_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// How answers are shown.
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    pub output: Format,
    /// Short for --output json.
    #[arg(long, global = true)]
    pub json: bool,
    /// The suite's address [default: the one that runs on the data folder].
    #[arg(long, global = true, env = "SRE_ADDRESS", value_name = "HOST:PORT")]
    pub address: Option<String>,
    /// The client certificate, PEM [default: that of user/dev].
    #[arg(long, global = true, env = "SRE_CERT", value_name = "FILE")]
    pub cert: Option<PathBuf>,
    /// Its private key, PEM.
    #[arg(long, global = true, env = "SRE_KEY", value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// The certificates that vouch for the suite, PEM.
    #[arg(long, global = true, env = "SRE_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// The team meant [default: your home team].
    #[arg(
        long,
        global = true,
        env = "SRE_TEAM",
        value_name = "TEAM",
        default_value = "-",
        hide_default_value = true
    )]
    pub team: String,
}

impl Global {
    /// How answers are shown.
    pub fn format(&self) -> Format {
        if self.json { Format::Json } else { self.output }
    }

    /// The options of a client of an embedded suite on this folder.
    pub fn embedded(data_dir: &std::path::Path) -> Self {
        Self {
            config: None,
            set: Vec::new(),
            data_dir: Some(data_dir.to_owned()),
            output: Format::Table,
            json: false,
            address: None,
            cert: None,
            key: None,
            ca: None,
            team: "-".to_owned(),
        }
    }
}

/// How answers are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For scripts.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs the whole suite, in one process or (--split) each role in its own.
    Up(Up),
    /// Runs roles in this process: edge, engine, gateway (both), agent, memory, llm, io, security, compute, observability.
    Serve(Serve),
    /// Runs one skill of an agent file, or prompts it.
    Agent(Agent),
    /// Talks with an agent, in the terminal or from a pipe: one prompt a line.
    Chat(Chat),
    /// Stores agents.
    #[command(subcommand)]
    Agents(Agents),
    /// Follows, steers, forks and replays runs.
    #[command(subcommand)]
    Runs(Runs),
    /// Questions that runs put to people.
    #[command(subcommand)]
    Approvals(Approvals),
    /// Log lines of an agent.
    Logs(Logs),
    /// What a team used: tokens, money, component time, storage.
    Usage(UsageOf),
    /// Models that the team may use, and what they cost.
    #[command(subcommand)]
    Models(Models),
    /// Debug sessions: runs an agent step by step.
    #[command(subcommand)]
    Debug(Debug),
    /// Access that people grant agents to their accounts.
    #[command(subcommand, name = "oauth")]
    OAuth(OAuth),
    /// API keys for the HTTP doors.
    #[command(subcommand)]
    Keys(Keys),
    /// Teams, their members and settings.
    #[command(subcommand)]
    Teams(Teams),
    /// The audit log: what was done and refused, and whether the log is whole.
    #[command(subcommand)]
    Audit(Audit),
    /// Secrets of a team, and the keys that seal them.
    #[command(subcommand)]
    Vault(Vault),
    /// Certificates.
    #[command(subcommand)]
    Certs(Certs),
    /// The configuration.
    #[command(subcommand)]
    Config(Config),
    /// Component types that are served out of process: tests, registers and shares them.
    #[command(subcommand)]
    Component(Component),
    /// Backends of services: storage, vectors, values, cache, secrets.
    #[command(subcommand)]
    Connectors(Connectors),
    /// Whether every role of a running suite is well.
    Health,
    /// Takes over a `.smyth` folder: vault, models, accounts, agents.
    Import(Import),
    /// Who may do what: the matrix, and random calls against a model.
    #[command(subcommand)]
    Authz(Authz),
    /// Copies everything a suite keeps, while it works or is stopped, with digests.
    Backup(Backup),
    /// Brings a backup back, after comparing it with its digests.
    Restore(Restore),
    /// Golden tests for agents: sends vectors and compares the answers.
    Test(Test),
    /// References that are made from the sources.
    #[command(subcommand)]
    Docs(Docs),
    /// Completions for a shell, on standard output.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// `sre up`.
#[derive(Debug, Args)]
pub struct Up {
    /// Each role as its own process on loopback.
    #[arg(long)]
    pub split: bool,
    /// With --split: start a role again when it dies.
    #[arg(long, requires = "split")]
    pub restart: bool,
    /// Loads this agent file (or every agent file of this folder) once the suite is ready.
    #[arg(long, value_name = "FILE|DIR")]
    pub agent: Option<PathBuf>,
    /// Runs this skill of the agent and shows its answer.
    #[arg(long, requires = "agent")]
    pub skill: Option<String>,
    /// Input of the skill: key=value; values that are JSON are taken as such.
    #[arg(last = true, value_name = "KEY=VALUE")]
    pub input: Vec<String>,
}

/// `sre serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// The roles.
    #[arg(required = true, value_name = "ROLE")]
    pub roles: Vec<String>,
}

/// `sre agent`.
#[derive(Debug, Args)]
pub struct Agent {
    /// A `.smyth` file.
    pub file: PathBuf,
    /// Runs this skill.
    #[arg(long, required_unless_present = "prompt", conflicts_with = "prompt")]
    pub skill: Option<String>,
    /// Prompts the agent's model, which may call its skills.
    #[arg(long, value_name = "TEXT")]
    pub prompt: Option<String>,
    /// Session of the run.
    #[arg(long, default_value = "")]
    pub session: String,
    /// Input of the skill: key=value; values that are JSON are taken as such.
    #[arg(value_name = "KEY=VALUE")]
    pub input: Vec<String>,
}

/// `sre chat`.
#[derive(Debug, Args)]
pub struct Chat {
    /// The agent: its id, or its name.
    pub agent: Option<String>,
    /// Takes this conversation up again, in place of a new one.
    #[arg(long, value_name = "NAME", conflicts_with = "agent")]
    pub conversation: Option<String>,
    /// The model, in place of the agent's own.
    #[arg(long)]
    pub model: Option<String>,
    /// Title of a new conversation.
    #[arg(long, default_value = "")]
    pub title: String,
    /// The model of a new conversation makes a plan first and works by it.
    #[arg(long, conflicts_with = "conversation")]
    pub planner: bool,
}

/// `sre keys`.
#[derive(Debug, Subcommand)]
pub enum Keys {
    /// Creates a key and prints it once.
    Create {
        /// Whom it acts as: user/alice, agent/greeter or team/sales [default: yourself].
        #[arg(long = "for", value_name = "PRINCIPAL")]
        principal: Option<String>,
        /// What a person sees.
        #[arg(long, default_value = "")]
        name: String,
        /// How many days it lives [default: it does not end].
        #[arg(long)]
        days: Option<u32>,
    },
    /// Lists keys.
    List {
        /// Whose: user/alice, agent/greeter or team/sales [default: your own].
        #[arg(long = "for", value_name = "PRINCIPAL")]
        principal: Option<String>,
    },
    /// Revokes a key.
    Revoke {
        /// The key's name.
        name: String,
    },
}

/// `sre certs`.
#[derive(Debug, Subcommand)]
pub enum Certs {
    /// Makes a certificate authority and a certificate for every role.
    Init {
        /// The folder [default: certs in the data folder].
        #[arg(long)]
        out: Option<PathBuf>,
        /// Names for the roles' certificates, beside localhost.
        #[arg(long = "name", value_name = "DNS|IP")]
        names: Vec<String>,
    },
    /// Makes new certificates for every role and user/dev, of the folder's own authority.
    Renew,
    /// Takes one step of replacing the authority: stage, activate, retire. Wait after each until every role has
    /// taken the files over.
    RotateAuthority {
        /// stage (trusted beside the present one), activate (issues from now on) or retire (the old one).
        step: String,
    },
    /// Makes a new key that signs tokens; for administrators of the deployment.
    RotateSigningKey,
    /// Issues a certificate for a principal: user/alice, agent/greeter, team/sales or service/edge.
    Issue {
        /// The principal.
        principal: String,
        /// How many hours it lives.
        #[arg(long, default_value_t = 24)]
        hours: u32,
        /// The folder [default: certs in the data folder].
        #[arg(long)]
        out: Option<PathBuf>,
    },
}

/// `sre config`.
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Checks the configuration without starting anything.
    Check,
    /// Shows every value and where it comes from; secrets are masked.
    Print,
    /// Prints the reference of all keys in Markdown.
    Reference,
    /// Prints the list of all metrics in Markdown.
    Metrics,
}

/// `sre docs`.
#[derive(Debug, Subcommand)]
pub enum Docs {
    /// Writes a page for every component type, and their index, into docs/components.
    Components {
        /// Writes nothing: fails where a page is stale, or a type lacks a description, an example or a test.
        #[arg(long)]
        check: bool,
        /// The project's folder.
        #[arg(long, value_name = "DIR", default_value = ".")]
        root: PathBuf,
    },
}

/// `sre import`.
#[derive(Debug, Args)]
pub struct Import {
    /// The folder: vault.json, account.json or teams.json, models, storage, `.smyth` files, and datasources among
    /// its values.
    pub folder: PathBuf,
    /// The model that embeds the texts of datasources again.
    #[arg(long, value_name = "MODEL", default_value = "text-embedding-3-large")]
    pub embedding_model: String,
}

/// `sre test`.
#[derive(Debug, Args)]
pub struct Test {
    /// The folder of agent files.
    #[arg(long, value_name = "DIR")]
    pub agents: PathBuf,
    /// The vectors: one JSON object a line.
    #[arg(long, value_name = "FILE")]
    pub vectors: PathBuf,
    /// A folder that is imported first: vault.json, models.json, teams.json.
    #[arg(long, value_name = "DIR")]
    pub fixtures: Option<PathBuf>,
    /// Deliberate differences: one JSON object a line.
    #[arg(long, value_name = "FILE")]
    pub differences: Option<PathBuf>,
    /// Writes the answers into the vectors file instead of comparing.
    #[arg(long)]
    pub record: bool,
    /// Only vectors whose id begins so.
    #[arg(long, value_name = "PREFIX")]
    pub only: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        // Built with every subcommand, as completions need it.
        Cli::command().build();
    }

    /// An argument with the id of one of every command's would be taken for it, or end the command.
    #[test]
    fn no_argument_has_the_id_of_an_option_of_every_command() {
        fn check(command: &clap::Command, global: &[clap::Id]) {
            for subcommand in command.get_subcommands() {
                // The `--set` of a fork hides the other on purpose.
                let hides = |id: &clap::Id| subcommand.get_name() == "fork" && id == "set";
                let mut ids = subcommand.get_arguments().map(clap::Arg::get_id);
                let taken = ids.find(|id| global.contains(id) && !hides(id));
                assert_eq!(taken, None, "{}", subcommand.get_name());
                check(subcommand, global);
            }
        }
        let command = Cli::command();
        let global: Vec<clap::Id> =
            command.get_arguments().map(|argument| argument.get_id().clone()).collect();
        assert!(global.len() > 5);
        check(&command, &global);
    }

    #[test]
    fn a_settings_key_is_not_the_certificates() {
        for words in [["get", "color", ""], ["set", "color", "blue"], ["unset", "color", ""]] {
            let words = ["sre", "teams", "settings"].into_iter().chain(words).filter(|word| !word.is_empty());
            let global = Cli::try_parse_from(words).unwrap().global;
            assert_eq!(global.key, None);
        }
    }

    #[test]
    fn an_input_of_a_fork_is_no_setting_of_the_suite() {
        let words = ["sre", "runs", "fork", "teams/-/agents/a/runs/r", "--at", "c", "--set", "k=v"];
        let Command::Runs(Runs::Fork { set, .. }) = Cli::try_parse_from(words).unwrap().command else {
            panic!("another command")
        };
        assert_eq!(set, ["k=v"]);
        let words = ["sre", "runs", "list", "a", "--set", "gateway.max_running=5", "--json"];
        let global = Cli::try_parse_from(words).unwrap().global;
        assert_eq!((global.set, global.output), (vec!["gateway.max_running=5".to_owned()], Format::Table));
        assert!(global.json);
    }

    #[test]
    fn a_cursor_has_a_sequence_and_perhaps_a_place_in_it() {
        let after = |cursor: &str| {
            let words = ["sre", "runs", "watch", "r", "--after", cursor];
            Cli::try_parse_from(words).map(|cli| match cli.command {
                Command::Runs(Runs::Watch { after, .. }) => after,
                _ => None,
            })
        };
        assert_eq!(after("12").unwrap(), Some((12, 0)));
        assert_eq!(after("12.3").unwrap(), Some((12, 3)));
        assert!(after("x").is_err());
    }
}
