//! Fetching a provider's keys: from the place that the configuration names, or that the provider itself does, at
//! its own origin. No redirects, no proxies, bounded in time and size.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use reqwest::{Certificate, Client, Url, redirect};
use serde::Deserialize;
use serde_json::Value;
use sre_service::config::Issuer;

const CONNECT: Duration = Duration::from_secs(2);
const TOTAL: Duration = Duration::from_secs(5);
const MAX_BODY_BYTES: usize = 512 << 10;
const MAX_KEYS: usize = 100;

/// Where a provider's keys come from.
pub struct Source {
    issuer: Url,
    name: String,
    jwks_uri: Option<Url>,
    client: Client,
}

#[derive(Deserialize)]
struct Discovered {
    issuer: String,
    jwks_uri: String,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

impl Source {
    /// Connects to nothing yet.
    pub fn new(config: &Issuer) -> anyhow::Result<Self> {
        let name = config.issuer.clone();
        let issuer: Url = name.parse().with_context(|| format!("security.issuers: {name}"))?;
        let mut builder = Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT)
            .timeout(TOTAL)
            .https_only(issuer.scheme() == "https");
        if let Some(path) = &config.ca {
            let pem =
                std::fs::read(path).with_context(|| format!("security.issuers.ca: {}", path.display()))?;
            let authorities = Certificate::from_pem_bundle(&pem)
                .with_context(|| format!("security.issuers.ca: {} holds no certificate", path.display()))?;
            builder = builder.tls_certs_merge(authorities);
        }
        let jwks_uri =
            config.jwks_uri.as_deref().map(Url::parse).transpose().context("security.issuers.jwks_uri")?;
        Ok(Self { issuer, name, jwks_uri, client: builder.build()? })
    }

    /// The keys, as JSON Web Keys that nobody has looked at.
    pub async fn keys(&self) -> anyhow::Result<Vec<Value>> {
        let place = match &self.jwks_uri {
            Some(place) => place.clone(),
            None => self.discover().await?,
        };
        let body = self.get(place).await.context("its keys")?;
        let set: KeySet = serde_json::from_slice(&body).context("its keys are not a key set")?;
        ensure!(set.keys.len() <= MAX_KEYS, "it has {} keys, more than {MAX_KEYS}", set.keys.len());
        Ok(set.keys)
    }

    async fn discover(&self) -> anyhow::Result<Url> {
        let place = format!("{}/.well-known/openid-configuration", self.name.trim_end_matches('/'));
        let body = self.get(place.parse()?).await.context("its configuration")?;
        let found: Discovered = serde_json::from_slice(&body).context("its configuration is malformed")?;
        ensure!(found.issuer == self.name, "its configuration is of another issuer, {:?}", found.issuer);
        let keys: Url = found.jwks_uri.parse().context("its jwks_uri is no URL")?;
        // Who runs the provider could send us anywhere inside otherwise.
        ensure!(
            keys.origin() == self.issuer.origin(),
            "its keys are at another origin, {}: set jwks_uri where that is right",
            keys.origin().ascii_serialization()
        );
        Ok(keys)
    }

    async fn get(&self, place: Url) -> anyhow::Result<Vec<u8>> {
        let mut response = self.client.get(place).header("accept", "application/json").send().await?;
        ensure!(response.status().is_success(), "it answered {}", response.status());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > MAX_BODY_BYTES {
                bail!("it answered more than {MAX_BODY_BYTES} bytes");
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}
