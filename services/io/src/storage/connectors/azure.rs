//! Objects in Azure Blob Storage.

use std::sync::Arc;

use object_store::azure::{MicrosoftAzure, MicrosoftAzureBuilder, split_sas};
use schemars::JsonSchema;
use secrecy::ExposeSecret;
use serde::Deserialize;
use sre_service::connectors::{Kind, Opening, SecretSetting};

use super::remote::RemoteObjects;
use super::{ObjectStore, client};

/// Azure Blob Storage.
pub(super) const KIND: Kind<dyn ObjectStore> =
    Kind { name: "azure", open: |opening| Box::pin(open(opening)), check: Opening::check::<Settings> };

/// The settings of a container.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Settings {
    /// The storage account.
    account: String,
    /// The container. It must exist.
    container: String,
    /// What keys begin with, so that several suites can share a container.
    #[serde(default)]
    prefix: String,
    /// The account's key. Without it and the others, credentials are found as Azure's own tools find them:
    /// environment, workload identity, managed identity.
    #[serde(default)]
    access_key: Option<SecretSetting>,
    /// A shared access signature, as Azure shows it.
    #[serde(default)]
    sas_token: Option<SecretSetting>,
    /// An application's id, with `clientSecret` and `tenantId`.
    #[serde(default)]
    client_id: Option<String>,
    /// The application's secret.
    #[serde(default)]
    client_secret: Option<SecretSetting>,
    /// The application's tenant.
    #[serde(default)]
    tenant_id: Option<String>,
    /// Where another store of the same protocol is, with the account in its path.
    #[serde(default)]
    endpoint: Option<String>,
}

async fn open(opening: Opening) -> anyhow::Result<Arc<dyn ObjectStore>> {
    let settings: Settings = opening.settings()?;
    let store = build(&settings).await?;
    Ok(Arc::new(RemoteObjects::new(store, &settings.prefix, &opening.id)?))
}

async fn build(settings: &Settings) -> anyhow::Result<MicrosoftAzure> {
    anyhow::ensure!(!settings.container.is_empty(), "container: is empty: name the container");
    let app = (&settings.client_id, &settings.client_secret, &settings.tenant_id);
    let mut builder = match (&settings.access_key, &settings.sas_token, app) {
        (Some(key), None, (None, None, None)) => {
            let key = key.reveal().await?;
            MicrosoftAzureBuilder::new().with_access_key(key.expose_secret())
        }
        (None, Some(sas), (None, None, None)) => {
            let sas = sas.reveal().await?;
            MicrosoftAzureBuilder::new().with_sas_authorization(split_sas(sas.expose_secret())?)
        }
        (None, None, (Some(id), Some(secret), Some(tenant))) => {
            let secret = secret.reveal().await?;
            MicrosoftAzureBuilder::new().with_client_secret_authorization(id, secret.expose_secret(), tenant)
        }
        (None, None, (None, None, None)) => MicrosoftAzureBuilder::from_env(),
        _ => anyhow::bail!(
            "accessKey, sasToken, and clientId with clientSecret and tenantId: set one of the three"
        ),
    };
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_endpoint(endpoint.clone());
    }
    let builder = builder
        .with_account(&settings.account)
        .with_container_name(&settings.container)
        .with_retry(client::retry())
        .with_client_options(client::options(settings.endpoint.as_deref()));
    Ok(builder.build()?)
}
