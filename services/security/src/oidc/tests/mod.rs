//! Providers that speak the real protocol on loopback, with keys of their own. A provider of another make is in
//! the end-to-end tests.

mod attacks;
mod keys;
mod mapping;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Json;
use axum::routing::get;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use parking_lot::Mutex;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::{Value, json};
use sre_proto::error::{Reason, reason};
use sre_service::config::Issuer;
use tonic::{Code, Status};

use super::*;

/// A key of a provider.
pub struct Pair {
    pub id: String,
    pub algorithm: Algorithm,
    pub key: EncodingKey,
    pub pem: String,
}

impl Pair {
    pub fn new(id: &str, algorithm: Algorithm) -> Self {
        let pair = match algorithm {
            Algorithm::RS256 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
            Algorithm::ES256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
            _ => KeyPair::generate_for(&PKCS_ED25519),
        }
        .unwrap();
        let pem = pair.serialize_pem();
        let key = match algorithm {
            Algorithm::RS256 => EncodingKey::from_rsa_pem(pem.as_bytes()),
            Algorithm::ES256 => EncodingKey::from_ec_pem(pem.as_bytes()),
            _ => EncodingKey::from_ed_pem(pem.as_bytes()),
        };
        Self { id: id.into(), algorithm, key: key.unwrap(), pem: pair.public_key_pem() }
    }

    pub fn jwk(&self) -> Value {
        let mut key = match self.algorithm {
            Algorithm::EdDSA => {
                // The last 32 bytes of the public key's encoding are the key itself.
                let der = pem_bytes(&self.pem);
                let x = URL_SAFE_NO_PAD.encode(&der[der.len() - 32..]);
                json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "x": x})
            }
            algorithm => serde_json::to_value(Jwk::from_encoding_key(&self.key, algorithm).unwrap()).unwrap(),
        };
        key["kid"] = json!(self.id);
        key["use"] = json!("sig");
        key
    }

    pub fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.id.clone()), ..Header::new(self.algorithm) };
        jsonwebtoken::encode(&header, claims, &self.key).unwrap()
    }
}

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

fn pem_bytes(pem: &str) -> Vec<u8> {
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    base64::engine::general_purpose::STANDARD.decode(body).unwrap()
}

/// What a provider answers.
#[derive(Default)]
pub struct Served {
    pub keys: Mutex<Vec<Value>>,
    pub configuration: Mutex<Option<Value>>,
    pub asked: AtomicUsize,
    pub down: Mutex<bool>,
}

/// A provider on loopback.
pub struct Fake {
    pub url: String,
    pub served: Arc<Served>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fake {
    pub async fn start(keys: Vec<Value>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let served = Arc::new(Served { keys: Mutex::new(keys), ..Served::default() });
        let (own, of_keys) = (url.clone(), Arc::clone(&served));
        let configuration = {
            let served = Arc::clone(&served);
            move || {
                let (served, own) = (Arc::clone(&served), own.clone());
                async move {
                    let fixed = served.configuration.lock().clone();
                    Json(fixed.unwrap_or_else(|| json!({"issuer": own, "jwks_uri": format!("{own}/keys")})))
                }
            }
        };
        let key_set = move || {
            let served = Arc::clone(&of_keys);
            async move {
                served.asked.fetch_add(1, Ordering::AcqRel);
                if *served.down.lock() {
                    return Err(http::StatusCode::SERVICE_UNAVAILABLE);
                }
                Ok(Json(json!({"keys": served.keys.lock().clone()})))
            }
        };
        let router = axum::Router::new()
            .route("/.well-known/openid-configuration", get(configuration))
            .route("/keys", get(key_set));
        #[expect(clippy::disallowed_methods, reason = "a server of the test alone")]
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, served, task }
    }

    pub fn config(&self) -> Issuer {
        Issuer {
            issuer: self.url.clone(),
            audiences: vec!["sre".into()],
            refetch_ms: 60_000,
            ..Issuer::default()
        }
    }

    /// Claims that are right.
    pub fn claims(&self) -> Value {
        let now = Moment::now().secs();
        json!({"iss": self.url, "aud": "sre", "sub": "alice", "iat": now, "exp": now + 300})
    }

    pub fn providers(&self) -> Providers {
        Providers::new(&[self.config()]).unwrap()
    }
}

/// Claims with some of them changed; null removes one.
pub fn with(mut claims: Value, changes: Value) -> Value {
    let object = claims.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            object.remove(name);
        } else {
            object.insert(name.clone(), value.clone());
        }
    }
    claims
}

/// Asserts that a token is refused, and gives the message.
pub async fn refusal(providers: &Providers, token: &str) -> String {
    let status = Status::from(providers.verify(token).await.unwrap_err());
    assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
    assert_eq!(reason(&status), Some(Reason::CredentialsInvalid));
    status.message().to_owned()
}
