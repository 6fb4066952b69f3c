//! The configuration: one typed tree for every role, with the origin of each value.
//!
//! Layers, lowest first: defaults, `sre.toml`, environment (`SRE__SECTION__KEY`), flags. Tables merge key
//! by key, lists and values replace. A key that no section knows is an error naming the nearest known one.

mod agents;
mod by_role;
mod certs;
mod check;
mod components;
mod compute;
mod connectors;
mod egress;
mod env;
mod explain;
mod files;
mod gateway;
mod issuer;
mod journal;
pub(crate) mod keys;
mod limits;
mod listen;
mod load;
mod mcp;
mod models;
mod reference;
mod security;
mod store;
mod substitute;
mod team_limits;
mod telemetry;
mod web;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use agents::Agents;
pub use certs::{Certs, PatternEntry, RoleCerts};
pub use components::{Components, FixedComponent};
pub use compute::Compute;
pub use connectors::{ConnectorEntry, Connectors};
pub use egress::{Egress, EgressOf};
pub use explain::{Explained, Origin, Origins};
pub use files::FilesDoor;
pub use gateway::Gateway;
pub use issuer::{Issuer, SignatureAlgorithm, UserId};
pub use journal::{Cache, Journal};
pub use limits::{Deadlines, Limits};
pub use listen::{Admin, Endpoints, Http, HttpTls, Listen};
pub use load::LoadOptions;
pub use mcp::{Mcp, McpCommand};
pub use models::{Models, ModelsMode};
pub use reference::reference_markdown;
pub use security::{Security, Vault};
pub use store::{Backend, StoreSection, Synchronous};
pub use team_limits::{Quotas, SubjectRate, TeamLimit, TeamRate};
pub use telemetry::{AgentLog, Content, LogFormat, Telemetry};
pub use web::{Scraper, Web};

/// The one unary method that lasts as long as what it runs.
const RUN_SKILL: &str = "/sre.gateway.v1.Runs/RunSkill";
const DEBUGGER: &str = "/sre.gateway.v1.Debugger/";
/// Runs code, which may take so long by itself.
const EXECUTE_CODE: &str = "/sre.compute.v1.Code/ExecuteCode";
const CODE_TIME: Duration = Duration::from_secs(60);

/// A mistake in the configuration. The message names key, origin and way out.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file that cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file that is not TOML.
    #[error("{}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What the parser found, with line and column.
        message: String,
    },
    /// A key that no section knows.
    #[error("{origin}: unknown key `{key}`{}", nearest.as_ref().map(|near| format!(", did you mean `{near}`?")).unwrap_or_default())]
    UnknownKey {
        /// The key, dotted.
        key: String,
        /// Where it was set.
        origin: Origin,
        /// The known key it resembles most.
        nearest: Option<String>,
    },
    /// A value that its key cannot take.
    #[error("{origin}: `{key}`: {message}")]
    Value {
        /// The key, dotted.
        key: String,
        /// Where it was set.
        origin: Origin,
        /// What is wrong and what to do.
        message: String,
    },
}

/// What kind of deployment this is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// A developer's machine: embedded stores, certificates made at first start, reflection.
    #[default]
    Dev,
    /// A deployment: nothing is made up, what is not durable is refused, no reflection.
    Production,
}

/// The whole configuration, validated.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// What kind of deployment this is.
    pub profile: Profile,
    /// The trust domain of every identity.
    pub trust_domain: String,
    /// Where certificates, keys, stores and run files live.
    pub data_dir: PathBuf,
    /// Addresses that roles listen on, by role: `edge = "0.0.0.0:7443"`. Port 0 takes a free one, or the one
    /// the role had before. The edge always listens; in a process that is the whole suite other roles listen
    /// only when they are named here, in a smaller one each does, on 127.0.0.1 unless named.
    pub listen: Listen,
    /// The HTTP door, for clients with a bearer.
    pub http: Http,
    /// The door of the role `io` that serves signed links to files. It must have an origin (host name and port)
    /// of its own: what agents stored is served from it.
    pub files: FilesDoor,
    /// The admin port: plain HTTP with `/livez`, `/readyz`, `/startupz` and `/metrics`, nothing else.
    pub admin: Admin,
    /// Where other processes' roles are found, by role: `llm = ["llm.sre.svc:7443"]`. Names are resolved again
    /// and again, and all their addresses are used. A role that is not named here is looked up in
    /// `run/endpoints.toml` of the data folder, which the processes of a suite on one machine write.
    pub endpoints: Endpoints,
    /// Certificates and identity patterns.
    pub certs: Certs,
    /// Sizes and counts.
    pub limits: Limits,
    /// Times.
    pub deadlines: Deadlines,
    /// Logs, traces, metrics.
    pub telemetry: Telemetry,
    /// The gateway: hosts, plans, runs.
    pub gateway: Gateway,
    /// Where components may connect to. Public addresses are open; private, loopback and link-local ones are
    /// refused unless listed.
    pub egress: Egress,
    /// Programs that agents may use as servers of the Model Context Protocol. An agent names one by the key that it
    /// has here; nothing that is not listed is started.
    pub mcp: Mcp,
    /// Where the services are that components of the web use. An inner address must be listed in `[egress] allow`
    /// too.
    pub web: Web,
    /// Components out of process.
    pub components: Components,
    /// Agents loaded at start.
    pub agents: Agents,
    /// Model catalogues.
    pub models: Models,
    /// Secrets.
    pub vault: Vault,
    /// The run journal.
    pub journal: Journal,
    /// The cache.
    pub cache: Cache,
    /// Stores.
    pub store: StoreSection,
    /// Code that nobody trusts.
    pub compute: Compute,
    /// Tokens and administrators.
    pub security: Security,
    /// Backends of services, several per service, in the reference's shape: `[[connectors.storage]]` with
    /// `Connector`, `Id`, `Settings` and `Default`. The reference's names of connectors are known too.
    pub connectors: Connectors,
    /// Where each value came from.
    #[serde(skip)]
    #[schemars(skip)]
    origins: Origins,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            profile: Profile::default(),
            trust_domain: "sre.local".to_owned(),
            data_dir: PathBuf::from(".sre"),
            listen: Listen::default(),
            http: Http::default(),
            files: FilesDoor::default(),
            admin: Admin::default(),
            endpoints: Endpoints::default(),
            certs: Certs::default(),
            limits: Limits::default(),
            deadlines: Deadlines::default(),
            telemetry: Telemetry::default(),
            gateway: Gateway::default(),
            egress: Egress::default(),
            mcp: Mcp::default(),
            web: Web::default(),
            components: Components::default(),
            agents: Agents::default(),
            models: Models::default(),
            vault: Vault::default(),
            journal: Journal::default(),
            cache: Cache::default(),
            store: StoreSection::default(),
            compute: Compute::default(),
            security: Security::default(),
            connectors: Connectors::default(),
            origins: Origins::default(),
        }
    }
}

impl Config {
    /// Reads and merges all layers, and checks the result.
    pub fn load(options: LoadOptions) -> Result<Self, ConfigError> {
        let config = load::load(options)?;
        config.check()?;
        Ok(config)
    }

    /// The defaults with a data folder of its own, for tests and one-shot suites.
    pub fn in_dir(data_dir: impl Into<PathBuf>) -> Self {
        Self { data_dir: data_dir.into(), ..Self::default() }
    }

    /// Checks what types cannot say: addresses, combinations, the production profile's rules.
    pub fn check(&self) -> Result<(), ConfigError> {
        check::check(self)
    }

    /// Every key with its value (secrets masked) and its origin, in order.
    pub fn explain(&self) -> Vec<Explained> {
        explain::explain(self)
    }

    /// Whether this is a production deployment.
    pub fn is_production(&self) -> bool {
        self.profile == Profile::Production
    }

    /// A path of the configuration; relative ones are under the data folder.
    pub fn in_data_dir(&self, path: impl AsRef<Path>) -> PathBuf {
        self.data_dir.join(path)
    }

    /// The folder of embedded stores.
    pub fn store_dir(&self) -> PathBuf {
        self.in_data_dir(&self.store.dir)
    }

    /// Where a value came from.
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.of(key)
    }

    /// How long a unary call may take that states no deadline. A call that runs a skill, or components of one
    /// by hand, takes as long as runs may, and a little for the way; code as long as code may.
    pub fn unary_deadline(&self, path: &str) -> Duration {
        match path {
            EXECUTE_CODE => CODE_TIME + self.deadlines.unary(),
            _ if path == RUN_SKILL || path.starts_with(DEBUGGER) => {
                self.gateway.run_deadline() + self.deadlines.unary()
            }
            _ => self.deadlines.unary(),
        }
    }

    /// Shares the configuration.
    pub fn shared(self) -> Arc<Self> {
        Arc::new(self)
    }
}

#[cfg(test)]
mod tests;
