//! Objects in Google Cloud Storage.

use std::path::PathBuf;
use std::sync::Arc;

use object_store::gcp::{GoogleCloudStorage, GoogleCloudStorageBuilder};
use schemars::JsonSchema;
use secrecy::ExposeSecret;
use serde::Deserialize;
use sre_service::connectors::{Kind, Opening, SecretSetting};

use super::remote::RemoteObjects;
use super::{ObjectStore, client};

/// Google Cloud Storage.
pub(super) const KIND: Kind<dyn ObjectStore> =
    Kind { name: "gcs", open: |opening| Box::pin(open(opening)), check: Opening::check::<Settings> };

/// The settings of a bucket.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Settings {
    /// The bucket. It must exist.
    bucket: String,
    /// What keys begin with, so that several suites can share a bucket.
    #[serde(default)]
    prefix: String,
    /// The service account's key, as JSON text. Without this and the next, credentials are found as Google's own
    /// tools find them: application default credentials, instance metadata.
    #[serde(default)]
    service_account_key: Option<SecretSetting>,
    /// The file of the service account's key.
    #[serde(default)]
    service_account_path: Option<PathBuf>,
    /// Where another store of the same protocol is.
    #[serde(default)]
    endpoint: Option<String>,
}

async fn open(opening: Opening) -> anyhow::Result<Arc<dyn ObjectStore>> {
    let settings: Settings = opening.settings()?;
    let store = build(&settings).await?;
    Ok(Arc::new(RemoteObjects::new(store, &settings.prefix, &opening.id)?))
}

async fn build(settings: &Settings) -> anyhow::Result<GoogleCloudStorage> {
    anyhow::ensure!(!settings.bucket.is_empty(), "bucket: is empty: name the bucket");
    let mut builder = match (&settings.service_account_key, &settings.service_account_path) {
        (Some(key), None) => {
            let key = key.reveal().await?;
            GoogleCloudStorageBuilder::new().with_service_account_key(key.expose_secret())
        }
        (None, Some(path)) => {
            GoogleCloudStorageBuilder::new().with_service_account_path(path.to_string_lossy())
        }
        (None, None) => GoogleCloudStorageBuilder::from_env(),
        _ => anyhow::bail!("serviceAccountKey and serviceAccountPath: set one of them"),
    };
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_base_url(endpoint);
    }
    let builder = builder
        .with_bucket_name(&settings.bucket)
        .with_retry(client::retry())
        .with_client_options(client::options(settings.endpoint.as_deref()));
    Ok(builder.build()?)
}
