//! The caller's vault, through a token for the next hop: never the caller's own token.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use moka::sync::Cache;
use secrecy::SecretString;
use sre_identity::Caller;
use sre_proto::security::v1::vault_client::VaultClient;
use sre_proto::security::v1::{AccessSecretRequest, ListSecretsRequest};
use sre_service::{ExchangeKey, Host, Link, Role};
use tonic::{Code, Request, Status};

use super::credentials::Secrets;

const SCOPE: &str = "sre.security.v1.Vault:read";
/// Keys in one answer, and answers read of a list.
const PAGE: i32 = 1000;
const PAGES: usize = 10;
/// A vault that does not answer must not hold a call for longer.
const DEADLINE: Duration = Duration::from_secs(5);

/// A secret is found again without asking for so long, for the same token: with the token's own checks at each call
/// this stays well below the 30 s in which a revocation takes effect.
const KEEP: Duration = Duration::from_secs(15);
/// Secrets that are kept so.
const MOST_KEPT: u64 = 1_000;

/// Secrets that were found a moment ago. Clones share them.
#[derive(Clone)]
pub struct RecentSecrets(Cache<[u8; 32], SecretString>);

impl Default for RecentSecrets {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(MOST_KEPT).time_to_live(KEEP).build())
    }
}

/// The secrets that a caller may use.
pub struct VaultSecrets {
    host: Host,
    token: Option<String>,
    recent: Option<RecentSecrets>,
}

impl VaultSecrets {
    /// The secrets of this caller's team. One that presented no token has none: there is nothing to exchange.
    pub fn of(host: &Host, caller: &Caller) -> Self {
        let token = caller.presented_token().map(|token| token.to_string());
        Self { host: host.clone(), token, recent: None }
    }

    /// The same, where what was found a moment ago need not be asked for again.
    #[must_use]
    pub fn recent(self, recent: &RecentSecrets) -> Self {
        Self { recent: Some(recent.clone()), ..self }
    }

    /// Where a secret is kept: whoever presents another token does not find it.
    fn place(&self, key: &str) -> Option<[u8; 32]> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.token.as_ref()?.as_bytes()).update(&[0]).update(key.as_bytes());
        Some(*hasher.finalize().as_bytes())
    }

    async fn client(&self) -> Result<Option<VaultClient<Link>>, Status> {
        let Some(token) = &self.token else { return Ok(None) };
        let key = ExchangeKey::next_hop(token.clone(), Role::Security, &[SCOPE]);
        match self.host.tokens().exchange(key).await {
            Ok(token) => Ok(Some(VaultClient::new(self.host.link(Role::Security).with_token(&token)))),
            // The caller's own token does not cover keys.
            Err(status) if status.code() == Code::PermissionDenied => Ok(None),
            Err(status) => Err(status),
        }
    }
}

fn in_time<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    request
}

#[async_trait]
impl Secrets for VaultSecrets {
    async fn access(&self, key: &str) -> Result<Option<SecretString>, Status> {
        let recent = self.recent.as_ref().zip(self.place(key));
        if let Some(found) = recent.as_ref().and_then(|(recent, place)| recent.0.get(place)) {
            return Ok(Some(found));
        }
        let found = self.ask(key).await?;
        // What is absent is asked for again: it may be set at any moment.
        if let (Some((recent, place)), Some(found)) = (recent, &found) {
            recent.0.insert(place, found.clone());
        }
        Ok(found)
    }

    async fn keys(&self) -> Result<BTreeSet<String>, Status> {
        self.list().await
    }
}

impl VaultSecrets {
    async fn ask(&self, key: &str) -> Result<Option<SecretString>, Status> {
        let Some(mut client) = self.client().await? else { return Ok(None) };
        let name = format!("teams/-/secrets/{key}");
        let request = in_time(AccessSecretRequest { name, ..AccessSecretRequest::default() });
        match client.access_secret(request).await {
            Ok(answer) => {
                let value = answer.into_inner().value;
                let text = std::str::from_utf8(&value).unwrap_or_default().trim();
                Ok((!text.is_empty()).then(|| text.into()))
            }
            // Absent and forbidden are the same: no key.
            Err(status) if matches!(status.code(), Code::NotFound | Code::PermissionDenied) => Ok(None),
            Err(status) => Err(status),
        }
    }

    async fn list(&self) -> Result<BTreeSet<String>, Status> {
        let mut keys = BTreeSet::new();
        let Some(mut client) = self.client().await? else { return Ok(keys) };
        let mut page_token = String::new();
        for _ in 0..PAGES {
            let parent = "teams/-".to_owned();
            let message =
                ListSecretsRequest { parent, page_size: PAGE, page_token, ..ListSecretsRequest::default() };
            let page = match client.list_secrets(in_time(message)).await {
                Ok(page) => page.into_inner(),
                Err(status) if status.code() == Code::PermissionDenied => return Ok(keys),
                Err(status) => return Err(status),
            };
            let names = page
                .secrets
                .into_iter()
                .filter_map(|secret| secret.name.split_once("/secrets/").map(|(_, key)| key.to_owned()));
            keys.extend(names);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        Ok(keys)
    }
}
