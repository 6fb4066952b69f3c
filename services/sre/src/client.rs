//! The command line's way into a suite: mTLS to the edge, under the user's own certificate.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use sre_identity::{Kind, Principal, Svid, SvidSource, TrustRoots};
use sre_proto::agent::v1::agent_data_client::AgentDataClient;
use sre_proto::agent::v1::components_client::ComponentsClient;
use sre_proto::gateway::v1::approvals_client::ApprovalsClient;
use sre_proto::gateway::v1::conversations_client::ConversationsClient;
use sre_proto::gateway::v1::debugger_client::DebuggerClient;
use sre_proto::gateway::v1::runs_client::RunsClient;
use sre_proto::llm::v1::inference_client::InferenceClient;
use sre_proto::llm::v1::models_client::ModelsClient;
use sre_proto::observability::v1::log_client::LogClient;
use sre_proto::observability::v1::telemetry_client::TelemetryClient;
use sre_proto::observability::v1::usage_client::UsageClient;
use sre_proto::security::v1::account_client::AccountClient;
use sre_proto::security::v1::api_keys_client::ApiKeysClient;
use sre_proto::security::v1::audit_client::AuditClient;
use sre_proto::security::v1::identity_client::IdentityClient;
use sre_proto::security::v1::vault_client::VaultClient;
use sre_proto::{compute, io, memory, security};
use sre_service::first_start::{DEV_USER, Identities};
use sre_service::{Config, Link, Role};

use crate::cli::args::Global;
use crate::cli::exit::Failure;
use crate::settings;

/// How long a connection may take that a command needs.
const PATIENCE_MS: u64 = 3_000;

/// A client of a running suite.
pub struct Client {
    link: Link,
    team: String,
}

impl Client {
    /// A client as the options of the command say.
    pub async fn connect(global: &Global) -> Result<Self> {
        let mut config = settings::load(global, Vec::new())?;
        if let Some(address) = &global.address {
            config.endpoints.0.insert(Role::Edge, vec![address.clone()]);
        }
        let known = !config.endpoints.of(Role::Edge).is_empty()
            || config.data_dir.join("run/endpoints.toml").exists();
        if !known {
            return Err(Failure::unavailable(format!(
                "no suite runs on {}: start one with `sre up`, or name one with --address",
                config.data_dir.display()
            )));
        }
        Self::with_config(global, config)
    }

    /// A client of a suite that this process knows.
    pub fn with_config(global: &Global, mut config: Config) -> Result<Self> {
        be_patient(&mut config);
        let config = Arc::new(config);
        let identity = identity(global, &config)?;
        Ok(Self { link: Link::client(config, &identity, Role::Edge), team: global.team.clone() })
    }

    /// The team meant: `teams/{team}`.
    pub fn team_name(&self) -> String {
        format!("teams/{}", self.team)
    }

    /// An agent's name: what is a resource name already stays.
    pub fn agent_name(&self, id: &str) -> String {
        if id.contains('/') { id.to_owned() } else { format!("teams/{}/agents/{id}", self.team) }
    }

    /// Agents.
    pub fn agents(&self) -> AgentDataClient<Link> {
        AgentDataClient::new(self.link.clone())
    }

    /// Component types.
    pub fn components(&self) -> ComponentsClient<Link> {
        ComponentsClient::new(self.link.clone())
    }

    /// Runs.
    pub fn runs(&self) -> RunsClient<Link> {
        RunsClient::new(self.link.clone())
    }

    /// Conversations.
    pub fn conversations(&self) -> ConversationsClient<Link> {
        ConversationsClient::new(self.link.clone())
    }

    /// Questions that runs put to people.
    pub fn approvals(&self) -> ApprovalsClient<Link> {
        ApprovalsClient::new(self.link.clone())
    }

    /// Debug sessions.
    pub fn debugger(&self) -> DebuggerClient<Link> {
        DebuggerClient::new(self.link.clone())
    }

    /// API keys.
    pub fn keys(&self) -> ApiKeysClient<Link> {
        ApiKeysClient::new(self.link.clone())
    }

    /// Secrets.
    pub fn vault(&self) -> VaultClient<Link> {
        VaultClient::new(self.link.clone())
    }

    /// Tokens of agents.
    pub fn managed_vault(&self) -> security::v1::managed_vault_client::ManagedVaultClient<Link> {
        security::v1::managed_vault_client::ManagedVaultClient::new(self.link.clone())
    }

    /// Teams and settings.
    pub fn account(&self) -> AccountClient<Link> {
        AccountClient::new(self.link.clone())
    }

    /// The token service.
    pub fn identity(&self) -> IdentityClient<Link> {
        IdentityClient::new(self.link.clone())
    }

    /// The audit log.
    pub fn audit(&self) -> AuditClient<Link> {
        AuditClient::new(self.link.clone())
    }

    /// What teams hold of files, values and vectors.
    pub fn file_quotas(&self) -> io::v1::quotas_client::QuotasClient<Link> {
        io::v1::quotas_client::QuotasClient::new(self.link.clone())
    }

    /// What teams hold of the cache.
    pub fn cache_quotas(&self) -> memory::v1::quotas_client::QuotasClient<Link> {
        memory::v1::quotas_client::QuotasClient::new(self.link.clone())
    }

    /// Models.
    pub fn models(&self) -> ModelsClient<Link> {
        ModelsClient::new(self.link.clone())
    }

    /// Values.
    pub fn nkv(&self) -> io::v1::nkv_client::NkvClient<Link> {
        io::v1::nkv_client::NkvClient::new(self.link.clone())
    }

    /// Files.
    pub fn storage(&self) -> io::v1::storage_client::StorageClient<Link> {
        io::v1::storage_client::StorageClient::new(self.link.clone())
    }

    /// Backends of files, vectors and values.
    pub fn io_connectors(&self) -> io::v1::connectors_client::ConnectorsClient<Link> {
        io::v1::connectors_client::ConnectorsClient::new(self.link.clone())
    }

    /// Backends of the cache.
    pub fn memory_connectors(&self) -> memory::v1::connectors_client::ConnectorsClient<Link> {
        memory::v1::connectors_client::ConnectorsClient::new(self.link.clone())
    }

    /// Places where deployments of code run.
    pub fn compute_connectors(&self) -> compute::v1::connectors_client::ConnectorsClient<Link> {
        compute::v1::connectors_client::ConnectorsClient::new(self.link.clone())
    }

    /// Backends of secrets.
    pub fn security_connectors(&self) -> security::v1::connectors_client::ConnectorsClient<Link> {
        security::v1::connectors_client::ConnectorsClient::new(self.link.clone())
    }

    /// Namespaces of vectors.
    pub fn vectors(&self) -> io::v1::vector_db_client::VectorDbClient<Link> {
        io::v1::vector_db_client::VectorDbClient::new(self.link.clone())
    }

    /// Log lines of agents.
    pub fn logs(&self) -> LogClient<Link> {
        LogClient::new(self.link.clone())
    }

    /// The ledger.
    pub fn usage(&self) -> UsageClient<Link> {
        UsageClient::new(self.link.clone())
    }

    /// Traces of runs.
    pub fn traces(&self) -> TelemetryClient<Link> {
        TelemetryClient::new(self.link.clone())
    }

    /// Inference.
    pub fn inference(&self) -> InferenceClient<Link> {
        InferenceClient::new(self.link.clone())
    }
}

/// A person would rather wait for a busy machine than read within a second that it is busy.
pub fn be_patient(config: &mut Config) {
    config.deadlines.connect_ms = PATIENCE_MS;
    config.deadlines.unavailable_ms = PATIENCE_MS;
}

/// Who the client is: the certificate given, or that of user/dev.
pub fn identity(global: &Global, config: &Arc<Config>) -> Result<Arc<SvidSource>> {
    let identities = Identities::new(config);
    let (Some(cert), Some(key)) = (&global.cert, &global.key) else {
        if global.cert.is_some() || global.key.is_some() {
            return Err(Failure::usage("--cert and --key go together"));
        }
        let source = identities.source(&Principal::new(Kind::User, DEV_USER)?);
        return source.map_err(|e| {
            Failure::usage(format!("{e:#}: or name another certificate with --cert and --key"))
        });
    };
    let patterns = identities.patterns()?;
    let svid = Svid::load(cert, key, &patterns).with_context(|| cert.display().to_string())?;
    let roots = TrustRoots::load(global.ca.as_deref().unwrap_or(identities.bundle()))?;
    Ok(SvidSource::new(svid, roots, patterns)?)
}
