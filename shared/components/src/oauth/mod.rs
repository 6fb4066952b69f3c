//! OAuth for components: tokens of the managed vault, renewed before they end and once where a server refuses them.
//!
//! Of several who renew the same token, on any engine, one does ([`lock`]); the others wait and use what it got.

pub mod code;
mod lock;
mod oauth1;
pub mod record;
mod renew;
pub(crate) mod settings;

use http::HeaderValue;
use sha2::{Digest as _, Sha256};
use sre_engine::template::{self, Escape, WithSecrets};
use sre_engine::value::Map;
use url::Url;

use crate::context::managed::Kept;
use crate::context::{Call, ContextError};
use record::{Kind, Record};

pub(crate) use oauth1::BodyOf;

/// What users read whose connection has no tokens.
const NO_TOKENS: &str =
    "Retrieved OAuth tokens do not exist, invalid OR incomplete. Please authenticate: run `sre oauth login`";
const REAUTHENTICATE: &str = "Reauthentication required";

/// How one call is authorised.
pub(crate) struct Authorization {
    /// The header.
    pub header: HeaderValue,
    /// The token it carries; none where the call itself is signed.
    pub bearer: Option<String>,
}

/// A connection of a component: where its tokens are, and what it says of itself where none are.
pub(crate) struct Connection<'a> {
    call: Call<'a>,
    key: String,
    /// A record made of the component's own settings, for client credentials.
    own: Option<Record>,
}

impl<'a> Connection<'a> {
    /// The connection under this key.
    pub fn new(call: Call<'a>, key: impl Into<String>, own: Option<Record>) -> Self {
        Self { call, key: key.into(), own }
    }

    /// The record and the version it is kept under; 0 for one that is not kept yet.
    async fn read(&self) -> Result<(Record, i64), String> {
        let kept = self.call.context.managed().get(&self.key).await.map_err(|error| error.message)?;
        match kept {
            Some(Kept { value, version }) => {
                let record = Record::parse(&value)
                    .map_err(|error| format!("Failed to parse retrieved tokens: Error: {error}"))?;
                for secret in [record.primary(), record.secondary()] {
                    self.keep(secret);
                }
                Ok((record, version))
            }
            None => self.own.clone().map(|own| (own, 0)).ok_or_else(|| NO_TOKENS.to_owned()),
        }
    }

    /// Keeps a token out of what the run writes.
    fn keep(&self, secret: &str) {
        if !secret.is_empty() {
            // Each under a name of its own: one that was renewed may still be in what is written.
            let mark = hex::encode(&Sha256::digest(secret)[..4]);
            self.call.context.keep_secret(&format!("oauth:{}:{mark}", self.key), secret);
        }
    }

    /// A setting of the record with the vault keys that it names.
    async fn setting(&self, record: &Record, name: &str) -> Result<String, ContextError> {
        let text = record.setting(name);
        let secrets = crate::settings::secrets(self.call, text).await?;
        let nothing = Map::new();
        let data = WithSecrets { data: &nothing, secrets: &secrets };
        let rendered = template::render(text, &data, Escape::Prose).unwrap_or_else(|_| text.to_owned());
        Ok(rendered.trim().to_owned())
    }

    /// The header for a call of this address.
    ///
    /// # Errors
    /// In the reference's words, where there are no tokens or none can be had.
    pub async fn authorize(
        &self,
        method: &http::Method,
        url: &Url,
        body: BodyOf<'_>,
    ) -> Result<Authorization, String> {
        let (record, _) = self.read().await?;
        let kind = record.kind();
        if record.primary().is_empty() && kind != Kind::ClientCredentials {
            return Err(NO_TOKENS.to_owned());
        }
        if kind == Kind::OAuth1 {
            let header = self.signed(&record, method, url, body).await?;
            return Ok(Authorization { header, bearer: None });
        }
        let token = match renew::need(&record, chrono::Utc::now().timestamp_millis()) {
            renew::Need::None => record.primary().to_owned(),
            renew::Need::Renew => self.renewed(None).await?,
            renew::Need::Login => return Err(REAUTHENTICATE.to_owned()),
        };
        bearer(token)
    }

    /// The bearer for a server whose requests carry the same one for a while.
    ///
    /// # Errors
    /// As [`Self::authorize`], and where the connection signs each call for itself.
    #[cfg(feature = "mcp")]
    pub async fn bearer(&self, url: &Url) -> Result<Authorization, String> {
        let nothing = BodyOf { media: "", bytes: &[] };
        let authorized = self.authorize(&http::Method::POST, url, nothing).await?;
        match authorized.bearer {
            Some(_) => Ok(authorized),
            None => {
                Err("the connection is one of OAuth 1.0a, which signs each call: use one of OAuth 2"
                    .to_owned())
            }
        }
    }

    /// Another token in place of one that a server refused; none where there is no way to another.
    ///
    /// # Errors
    /// If it could be renewed and was not.
    pub async fn after_refusal(&self, refused: &str) -> Result<Option<Authorization>, String> {
        let (record, _) = self.read().await?;
        if record.kind() == Kind::OAuth2 && record.secondary().is_empty() && record.primary() == refused {
            return Ok(None);
        }
        bearer(self.renewed(Some(refused)).await?).map(Some)
    }

    async fn signed(
        &self,
        record: &Record,
        method: &http::Method,
        url: &Url,
        body: BodyOf<'_>,
    ) -> Result<HeaderValue, String> {
        let setting = async |name| self.setting(record, name).await.map_err(|error| error.message);
        let signer = oauth1::Signer {
            consumer_key: setting("consumerKey").await?,
            consumer_secret: setting("consumerSecret").await?,
            token: record.primary().to_owned(),
            token_secret: record.secondary().to_owned(),
            nonce: format!("{:032x}", rand::random::<u128>()),
            timestamp: chrono::Utc::now().timestamp().to_string(),
        };
        self.keep(&signer.consumer_secret);
        header(&signer.header(method, url, body))
    }
}

fn bearer(token: String) -> Result<Authorization, String> {
    Ok(Authorization { header: header(&format!("Bearer {token}"))?, bearer: Some(token) })
}

fn header(text: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| "the OAuth token has characters that no header can carry".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}
