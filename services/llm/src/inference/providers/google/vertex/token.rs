//! Tokens of service accounts: an assertion signed with the account's key is exchanged for a token
//! (<https://developers.google.com/identity/protocols/oauth2/service-account>), which is kept until shortly before it
//! ends.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;

use crate::inference::error::InferenceError;
use crate::inference::http;
use crate::inference::providers::Call;
use crate::inference::providers::wire::{Exchange, broken};

const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// How long an assertion counts: the longest that Google takes.
const ASSERTION: Duration = Duration::from_secs(3600);
/// A token is not used for the last part of its time.
const MARGIN: Duration = Duration::from_secs(300);
/// Tokens that are kept: of so many accounts.
const MOST_TOKENS: usize = 1024;

/// The tokens that are kept, by a digest of the account's key: whoever has the key has its token.
#[derive(Default)]
pub struct Tokens(Mutex<HashMap<[u8; 32], Kept>>);

struct Kept {
    token: SecretString,
    until: Instant,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens")
    }
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    scope: &'a str,
    aud: &'a str,
    iat: u64,
    exp: u64,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    #[serde(default)]
    expires_in: Option<u64>,
}

/// What of a service account is needed.
struct Account<'a> {
    email: &'a str,
    private_key: &'a str,
    key_id: Option<&'a str>,
    token_uri: &'a str,
}

impl<'a> Account<'a> {
    fn of(call: &'a Call) -> Result<Self, InferenceError> {
        let field = |name: &str| {
            let field = call.key.as_ref().and_then(|key| key.field(name)).map(|value| value.expose_secret());
            field.filter(|value| !value.is_empty())
        };
        let (Some(email), Some(private_key)) = (field("client_email"), field("private_key")) else {
            let words = "its credentials are no service account: the secret must be the account's key as JSON, with \
                client_email and private_key";
            return Err(InferenceError::invalid("model", words));
        };
        let token_uri = field("token_uri").unwrap_or(TOKEN_URI);
        Ok(Self { email, private_key, key_id: field("private_key_id"), token_uri })
    }

    fn digest(&self) -> [u8; 32] {
        let mut digest = blake3::Hasher::new();
        for part in [self.email, self.private_key, self.token_uri] {
            digest.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
        }
        *digest.finalize().as_bytes()
    }

    fn assertion(&self) -> Result<String, InferenceError> {
        let unusable =
            || InferenceError::invalid("model", "the private_key of its service account is no RSA key");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let claims = Claims {
            iss: self.email,
            scope: SCOPE,
            aud: self.token_uri,
            iat: now,
            exp: now + ASSERTION.as_secs(),
        };
        let mut header = Header::new(Algorithm::RS256);
        header.kid = self.key_id.map(str::to_owned);
        let key = EncodingKey::from_rsa_pem(self.private_key.as_bytes()).map_err(|_| unusable())?;
        jsonwebtoken::encode(&header, &claims, &key).map_err(|_| unusable())
    }

    /// Where the token is asked for: Google's, or this machine's for tests and proxies. The key file is the team's,
    /// and an address in it must not reach into the network of the service.
    fn address(&self, call: &Call) -> Result<Url, InferenceError> {
        let url = Url::parse(self.token_uri).ok().filter(|url| {
            let is_googles = url.scheme() == "https"
                && url
                    .host_str()
                    .is_some_and(|host| host == "googleapis.com" || host.ends_with(".googleapis.com"));
            let is_of_the_model = call.base_url.as_ref().is_some_and(|base| base.origin() == url.origin());
            is_googles || is_of_the_model
        });
        url.ok_or_else(|| {
            let words =
                "the token_uri of its service account is neither Google's nor at the model's own address";
            InferenceError::invalid("model", words)
        })
    }
}

impl Tokens {
    /// A token for a call.
    pub async fn get(&self, exchange: &Exchange, call: &Call) -> Result<SecretString, InferenceError> {
        let account = Account::of(call)?;
        let digest = account.digest();
        {
            let kept = self.0.lock().await;
            if let Some(kept) = kept.get(&digest).filter(|kept| kept.until > Instant::now()) {
                return Ok(kept.token.clone());
            }
        }
        let asked = Instant::now();
        let granted = exchange_assertion(exchange, call, &account).await?;
        let token = SecretString::from(granted.access_token);
        let lasts = Duration::from_secs(granted.expires_in.unwrap_or(3600)).saturating_sub(MARGIN);
        let mut kept = self.0.lock().await;
        kept.retain(|_, kept| kept.until > asked);
        if kept.len() >= MOST_TOKENS {
            // The one that ends first goes.
            let first = kept.iter().min_by_key(|(_, kept)| kept.until).map(|(digest, _)| *digest);
            first.and_then(|first| kept.remove(&first));
        }
        kept.insert(digest, Kept { token: token.clone(), until: asked + lasts });
        Ok(token)
    }
}

async fn exchange_assertion(
    exchange: &Exchange,
    call: &Call,
    account: &Account<'_>,
) -> Result<Granted, InferenceError> {
    let url = account.address(call)?;
    let form = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", GRANT)
        .append_pair("assertion", &account.assertion()?)
        .finish();
    let request = exchange
        .http()
        .client_of(&call.model.origin, &url)?
        .post(url.clone())
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form);
    let response = request.send().await.map_err(|error| InferenceError::Unreachable {
        provider: call.model.provider.clone(),
        message: http::causes(&error),
    })?;
    if !response.status().is_success() {
        return Err(http::refusal(&call.model.provider, response).await);
    }
    let body = exchange.read_whole(call, response).await?;
    // What cannot be read is not shown: it may hold a token.
    serde_json::from_slice(&body).map_err(|_| broken(call, "what its token service answered is no token"))
}
