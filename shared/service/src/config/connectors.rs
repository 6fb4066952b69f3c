//! `[[connectors.<service>]]`: backends, in the reference's shape.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::BUILT_IN;

/// Backends by service, for example `storage`, `nkv`, `vectordb`, `cache`, `vault`, `log`. One entry or a
/// list of them.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Connectors {
    services: BTreeMap<String, OneOrMany>,
}

/// The reference writes a single entry without a list.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum OneOrMany {
    One(ConnectorEntry),
    Many(Vec<ConnectorEntry>),
}

/// One backend of a service.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ConnectorEntry {
    /// Which backend: our name or the reference's.
    #[serde(alias = "connector")]
    pub connector: String,
    /// The name it is known by; the connector's where absent.
    #[serde(default, alias = "id", skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What the backend needs, see its page.
    #[serde(default, alias = "settings")]
    pub settings: serde_json::Map<String, serde_json::Value>,
    /// Whether it is the service's default.
    #[serde(default, alias = "default")]
    pub default: bool,
    /// Whether the service starts without it.
    #[serde(default, alias = "optional")]
    pub optional: bool,
}

impl ConnectorEntry {
    /// The backend's name in this project: reference names are aliases.
    pub fn canonical(&self) -> &str {
        canonical(&self.connector)
    }

    /// The name it is known by.
    pub fn id(&self) -> &str {
        match self.id.as_deref() {
            Some(id) if !id.is_empty() => id,
            _ => &self.connector,
        }
    }
}

impl Connectors {
    /// The entries of a service, in order; none where it is not configured and takes its built-in default.
    pub fn of(&self, service: &str) -> &[ConnectorEntry] {
        let found = self.services.iter().find(|(name, _)| name.eq_ignore_ascii_case(service));
        match found {
            Some((_, OneOrMany::One(entry))) => std::slice::from_ref(entry),
            Some((_, OneOrMany::Many(entries))) => entries,
            None => &[],
        }
    }

    /// The default entry of a service: the one marked, else the first that the service cannot start without.
    pub fn default_of(&self, service: &str) -> Option<&ConnectorEntry> {
        let entries = self.of(service);
        entries.iter().find(|entry| entry.default).or_else(|| entries.iter().find(|entry| !entry.optional))
    }

    /// Services that have entries which change nothing: in SRE they have no choice of backends.
    pub fn without_effect(&self) -> Vec<&str> {
        let built_in = |name: &&str| BUILT_IN.iter().any(|known| known.eq_ignore_ascii_case(name));
        self.services().filter(built_in).collect()
    }

    /// Services that have entries.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        self.services.keys().map(String::as_str)
    }
}

/// Our name of a backend. Names that are not the reference's are returned as they are.
fn canonical(name: &str) -> &str {
    match name {
        "LocalStorage" | "LocalStorageCache" | "LocalComponent" | "LocalScheduler" => "local",
        "S3" | "S3Storage" | "S3Cache" => "s3",
        "GCS" | "GoogleCloudStorage" => "gcs",
        "AzureBlobStorage" => "azure",
        "RAM" | "RAMCache" | "RAMVec" => "memory",
        "Redis" | "RedisCache" => "redis",
        "Pinecone" => "pinecone",
        "Milvus" => "milvus",
        "JSONFileVault" | "JSONVault" => "file",
        "HashicorpVault" => "hashicorp",
        "SecretsManager" | "AWSSecretsManager" | "SecretManagerManagedVault" => "aws-secrets-manager",
        "NullVault" | "NullManagedVault" | "NullAgentData" | "NullRouter" | "DummyConnector" => "none",
        "DummyAccount" | "JSONFileAccount" | "MySQLAccount" => "embedded",
        "JSONModelsProvider" => "files",
        "ECMASandbox" => "sandbox",
        "AWSLambda" => "lambda",
        "ConsoleLog" => "console",
        "OTel" | "OTEL" => "otlp",
        other => other,
    }
}
