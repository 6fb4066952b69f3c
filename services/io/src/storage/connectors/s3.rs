//! Objects in Amazon S3 or a store that speaks its protocol.

use std::sync::Arc;

use object_store::aws::{AmazonS3, AmazonS3Builder};
use schemars::JsonSchema;
use secrecy::ExposeSecret;
use serde::Deserialize;
use sre_service::connectors::{Kind, Opening, SecretSetting};

use super::remote::RemoteObjects;
use super::{ObjectStore, client};

/// S3 and compatible.
pub(super) const KIND: Kind<dyn ObjectStore> =
    Kind { name: "s3", open: |opening| Box::pin(open(opening)), check: Opening::check::<Settings> };

/// The settings of a bucket; the first four are the reference's.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Settings {
    /// The region, `eu-central-1`.
    #[serde(default)]
    region: Option<String>,
    /// The access key. Without it credentials are found as Amazon's own tools find them: environment, web
    /// identity, container, instance.
    #[serde(default)]
    access_key_id: Option<String>,
    /// The secret of the access key.
    #[serde(default)]
    secret_access_key: Option<SecretSetting>,
    /// The bucket. It must exist.
    bucket: String,
    /// What keys begin with, so that several suites can share a bucket.
    #[serde(default)]
    prefix: String,
    /// The token of temporary credentials.
    #[serde(default)]
    session_token: Option<SecretSetting>,
    /// Where a compatible store is, `https://minio.example:9000`. `http://` is for the same machine or network.
    #[serde(default)]
    endpoint: Option<String>,
    /// Whether the bucket is a part of the host name and not of the path; yes for Amazon, where absent.
    #[serde(default)]
    virtual_hosted_style: Option<bool>,
    /// The key of AWS KMS that encrypts objects at rest; the bucket's own setting where absent.
    #[serde(default)]
    kms_key_id: Option<String>,
}

async fn open(opening: Opening) -> anyhow::Result<Arc<dyn ObjectStore>> {
    let settings: Settings = opening.settings()?;
    let store = build(&settings).await?;
    Ok(Arc::new(RemoteObjects::new(store, &settings.prefix, &opening.id)?))
}

async fn build(settings: &Settings) -> anyhow::Result<AmazonS3> {
    anyhow::ensure!(!settings.bucket.is_empty(), "bucket: is empty: name the bucket");
    let mut builder = match (&settings.access_key_id, &settings.secret_access_key) {
        (Some(id), Some(secret)) => {
            let secret = secret.reveal().await?;
            AmazonS3Builder::new().with_access_key_id(id).with_secret_access_key(secret.expose_secret())
        }
        (None, None) => AmazonS3Builder::from_env(),
        _ => anyhow::bail!("accessKeyId and secretAccessKey: set both, or none"),
    };
    builder = builder
        .with_bucket_name(&settings.bucket)
        .with_retry(client::retry())
        .with_client_options(client::options(settings.endpoint.as_deref()));
    if let Some(region) = &settings.region {
        builder = builder.with_region(region);
    }
    if let Some(token) = &settings.session_token {
        builder = builder.with_token(token.reveal().await?.expose_secret());
    }
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(key) = &settings.kms_key_id {
        builder = builder.with_sse_kms_encryption(key);
    }
    let hosted = settings.virtual_hosted_style.unwrap_or(settings.endpoint.is_none());
    Ok(builder.with_virtual_hosted_style_request(hosted).build()?)
}
