//! The cloud's tokens: an endpoint that checks the assertion's signature and claims, and gives tokens that expire.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::response::Response;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::routes::{Incoming, json_answer};

/// Who the service account is.
const EMAIL: &str = "agent@fake-project.iam.gserviceaccount.com";
/// What it must ask for.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// Gives tokens to one service account.
#[derive(Debug)]
pub struct Issuer {
    token_uri: String,
    /// Made when somebody needs it: it takes a while.
    key: OnceLock<rcgen::KeyPair>,
    issued: Mutex<HashMap<String, Instant>>,
    count: AtomicU64,
    lifetime_ms: AtomicU64,
}

impl Issuer {
    pub(crate) fn new(origin: &str) -> Self {
        Self {
            token_uri: format!("{origin}/token"),
            key: OnceLock::new(),
            issued: Mutex::default(),
            count: AtomicU64::new(0),
            lifetime_ms: AtomicU64::new(3_600_000),
        }
    }

    fn key(&self) -> anyhow::Result<&rcgen::KeyPair> {
        if let Some(key) = self.key.get() {
            return Ok(key);
        }
        let made = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256)?;
        Ok(self.key.get_or_init(|| made))
    }

    /// How long tokens live from now on.
    pub fn set_lifetime(&self, lifetime: Duration) {
        self.lifetime_ms.store(u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Every token that was given is void.
    pub fn revoke_all(&self) {
        self.issued.lock().clear();
    }

    /// How many tokens were given.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    pub(crate) fn service_account(&self) -> anyhow::Result<String> {
        let account = json!({"type": "service_account", "project_id": "fake-project", "private_key_id": "fake-key-1",
            "private_key": self.key()?.serialize_pem(), "client_email": EMAIL, "client_id": "1",
            "token_uri": self.token_uri});
        Ok(account.to_string())
    }

    /// Whose token it is.
    pub(crate) fn check(&self, token: &str) -> Result<String, String> {
        match self.issued.lock().get(token) {
            Some(until) if *until > Instant::now() => Ok(EMAIL.to_owned()),
            Some(_) => Err("the token has expired".to_owned()),
            None => Err("the token is not known".to_owned()),
        }
    }

    fn issue(&self, assertion: &str) -> Result<Value, String> {
        let key = self.key().map_err(|error| error.to_string())?;
        let key = DecodingKey::from_rsa_pem(key.public_key_pem().as_bytes());
        let key = key.map_err(|error| error.to_string())?;
        let mut rules = Validation::new(Algorithm::RS256);
        rules.set_audience(&[&self.token_uri]);
        rules.set_issuer(&[EMAIL]);
        rules.set_required_spec_claims(&["exp", "iss", "aud"]);
        let claims =
            jsonwebtoken::decode::<Value>(assertion, &key, &rules).map_err(|error| error.to_string())?;
        let claims = claims.claims;
        if !claims["scope"].as_str().unwrap_or_default().split(' ').any(|scope| scope == SCOPE) {
            return Err(format!("the scope is not {SCOPE}"));
        }
        let span = claims["exp"].as_i64().zip(claims["iat"].as_i64()).map(|(until, from)| until - from);
        if span.is_none_or(|span| span > 3600) {
            return Err("an assertion lives for an hour at most".to_owned());
        }
        let token = format!("ya29.fake-{}", self.count.fetch_add(1, Ordering::Relaxed) + 1);
        let lifetime = Duration::from_millis(self.lifetime_ms.load(Ordering::Relaxed));
        self.issued.lock().insert(token.clone(), Instant::now() + lifetime);
        Ok(json!({"access_token": token, "expires_in": lifetime.as_secs(), "token_type": "Bearer"}))
    }
}

pub(crate) fn handle(issuer: &Issuer, incoming: &Incoming) -> Response {
    let form = String::from_utf8_lossy(&incoming.body).into_owned();
    let field = |name: &str| {
        let found = form.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        percent_decode_str(found.unwrap_or_default()).decode_utf8_lossy().into_owned()
    };
    let refused =
        |words: &str| json_answer(400, &json!({"error": "invalid_grant", "error_description": words}));
    if field("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
        return refused("the grant type is none that is known");
    }
    match issuer.issue(&field("assertion")) {
        Ok(token) => json_answer(200, &token),
        Err(words) => refused(&words),
    }
}
