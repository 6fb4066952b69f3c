//! A client of the HTTP API of HashiCorp Vault and what speaks it, as far as secrets and key files need it.
//!
//! Own code over reqwest, of about five endpoints: what matters here is who may be talked to (no redirects, no
//! proxies, no plain HTTP), that every call ends, and that one renewal serves all calls.

mod auth;
#[cfg(test)]
pub(crate) mod fake;
pub mod settings;
#[cfg(test)]
mod tests;
pub mod transit;

use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::Context;
use parking_lot::RwLock;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Certificate, Method, StatusCode, redirect};
use secrecy::ExposeSecret;
use serde_json::Value;
use sre_service::Host;
use tokio::sync::Mutex;
use url::Url;
use zeroize::Zeroizing;

use crate::vault::connectors::SecretStoreError;
use crate::vault::secret::SecretValue;
use auth::Token;
use settings::{Login, Settings};

/// The largest answer that is read.
const MAX_ANSWER: usize = 8 << 20;
/// How much of an error's own words goes to the log.
const MAX_WORDS: usize = 300;

/// A client. It keeps one token for all calls.
pub struct Client {
    http: reqwest::Client,
    address: Url,
    namespace: Option<String>,
    login: Login,
    token: RwLock<Option<Arc<Token>>>,
    /// Whoever logs in or renews: the others wait for what it gets.
    turn: Mutex<()>,
}

impl Client {
    /// A client that has logged in.
    pub async fn open(settings: &Settings, data_dir: &Path) -> anyhow::Result<Arc<Self>> {
        settings.check()?;
        let mut http = reqwest::Client::builder()
            .timeout(settings.timeout())
            .connect_timeout(settings.timeout())
            .redirect(redirect::Policy::none())
            .no_proxy();
        if let Some(ca) = &settings.ca {
            let path = data_dir.join(ca);
            let pem = tokio::fs::read(&path).await.with_context(|| path.display().to_string())?;
            let roots = Certificate::from_pem_bundle(&pem).with_context(|| path.display().to_string())?;
            http = http.tls_certs_only(roots);
        }
        let client = Self {
            http: http.build()?,
            address: settings.address()?,
            namespace: settings.namespace.clone(),
            login: settings.login()?,
            token: RwLock::new(None),
            turn: Mutex::default(),
        };
        client.token().await?;
        Ok(Arc::new(client))
    }

    /// Renews the token in time also while nobody calls.
    pub fn keep_fresh(self: &Arc<Self>, host: &Host) {
        host.spawn("vault-token", keep_fresh(Arc::downgrade(self)));
    }

    /// Calls a path below `/v1/`; none where there is nothing. A token that is not taken any more is replaced
    /// once.
    pub async fn call(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Option<Value>, SecretStoreError> {
        let token = self.token().await?;
        match self.send(method.clone(), path, query, body, Some(&token)).await {
            Err(SecretStoreError::Refused(_)) => {
                self.forget(&token);
                let token = self.token().await?;
                self.send(method, path, query, body, Some(&token)).await
            }
            other => other,
        }
    }

    /// Whether the server answers and is unsealed.
    pub async fn health(&self) -> Result<(), SecretStoreError> {
        let standby = [("standbyok", "true"), ("perfstandbyok", "true")];
        self.send(Method::GET, &["sys", "health"], &standby, None, None).await.map(drop)
    }

    /// Whether the token is taken.
    pub async fn logged_in(&self) -> Result<(), SecretStoreError> {
        self.call(Method::GET, &["auth", "token", "lookup-self"], &[], None).await.map(drop)
    }

    async fn send(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&Value>,
        token: Option<&Token>,
    ) -> Result<Option<Value>, SecretStoreError> {
        let mut request = self.http.request(method, self.url(path, query)?).header("X-Vault-Request", "true");
        if let Some(namespace) = &self.namespace {
            request = request.header("X-Vault-Namespace", namespace);
        }
        if let Some(token) = token {
            let mut value =
                reqwest::header::HeaderValue::from_str(token.secret.expose_secret()).map_err(|_| {
                    SecretStoreError::Refused("the token cannot be sent: it is no ASCII text".into())
                })?;
            value.set_sensitive(true);
            request = request.header("X-Vault-Token", value);
        }
        if let Some(body) = body {
            // Wiped when it was sent: it may hold a secret.
            let bytes =
                serde_json::to_vec(body).map_err(|error| SecretStoreError::Damaged(error.to_string()))?;
            request =
                request.header(CONTENT_TYPE, "application/json").body(SecretValue::new(bytes).into_bytes());
        }
        // The URL names keys of secrets: it is not in the message.
        let failed = |error: reqwest::Error| SecretStoreError::Unavailable(error.without_url().to_string());
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status();
        let mut bytes = Zeroizing::new(Vec::new());
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if bytes.len() + chunk.len() > MAX_ANSWER {
                return Err(SecretStoreError::Damaged(format!(
                    "the answer is larger than {MAX_ANSWER} bytes"
                )));
            }
            bytes.extend_from_slice(&chunk);
        }
        read(status, &bytes)
    }

    /// Segments are encoded, each for itself: a key with a slash or a dot leads nowhere else.
    fn url(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Url, SecretStoreError> {
        let mut url = self.address.clone();
        {
            let mut segments = url
                .path_segments_mut()
                .map_err(|()| SecretStoreError::Unavailable("the address has no path".into()))?;
            segments.pop_if_empty().push("v1");
            for part in path {
                segments.push(part);
            }
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }
}

async fn keep_fresh(client: Weak<Client>) {
    loop {
        let wait = {
            let Some(client) = client.upgrade() else { return };
            match client.token().await {
                Ok(token) => token.until_renewal(),
                Err(error) => {
                    tracing::warn!(%error, "the token of the vault's backend could not be renewed");
                    Duration::from_secs(10)
                }
            }
        };
        tokio::time::sleep(wait.clamp(Duration::from_secs(1), Duration::from_secs(600))).await;
    }
}

/// What an answer says. Its words are for the log, never for the caller.
fn read(status: StatusCode, bytes: &[u8]) -> Result<Option<Value>, SecretStoreError> {
    if status.is_success() {
        if bytes.is_empty() {
            return Ok(Some(Value::Null));
        }
        let json = serde_json::from_slice(bytes)
            .map_err(|_| SecretStoreError::Damaged("the backend answered something else than JSON".into()))?;
        return Ok(Some(json));
    }
    let words = words(bytes);
    let text = format!("the backend answered {}: {words}", status.as_u16());
    Err(match status.as_u16() {
        404 => return Ok(None),
        400 => SecretStoreError::Damaged(text),
        401 | 403 => SecretStoreError::Refused(text),
        412 | 429 => SecretStoreError::Busy(text),
        307 => SecretStoreError::Unavailable(
            "the backend is a standby that sends elsewhere: name the active node, or let it forward".into(),
        ),
        _ => SecretStoreError::Unavailable(text),
    })
}

/// What the server itself says is wrong: `{"errors": [..]}` and nothing else of the body.
fn words(bytes: &[u8]) -> String {
    let json: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let errors = json.get("errors").and_then(Value::as_array).cloned().unwrap_or_default();
    let text = errors.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("; ");
    text.chars().take(MAX_WORDS).collect()
}
