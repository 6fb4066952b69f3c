//! A provider's keys, kept. An unknown key makes us look for it, but not more often than now and then, whatever
//! tokens arrive.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use parking_lot::RwLock;
use serde_json::Value;
use sre_proto::error::Reason;
use sre_service::config::{Issuer, SignatureAlgorithm};

use super::fetch::Source;
use super::refused;
use crate::error::Error;

/// Keys are believed for so long after the provider was last heard of: a provider that is away a while must not
/// lock everybody out, and one that is away for good must not be believed for good.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// A key with what it may be used for.
#[derive(Clone)]
struct Key {
    id: Option<String>,
    algorithm: SignatureAlgorithm,
    key: DecodingKey,
}

struct Set {
    keys: Vec<Key>,
    fetched: Instant,
}

/// The keys of one provider.
pub struct Keys {
    name: String,
    source: Source,
    current: RwLock<Option<Arc<Set>>>,
    /// When they were last asked for, successfully or not. Held while they are: one look at a time.
    asked: tokio::sync::Mutex<Option<Instant>>,
    pause: Duration,
}

impl Keys {
    /// Not fetched yet.
    pub fn new(config: &Issuer) -> anyhow::Result<Self> {
        Ok(Self {
            name: config.issuer.clone(),
            source: Source::new(config)?,
            current: RwLock::new(None),
            asked: tokio::sync::Mutex::default(),
            pause: Duration::from_millis(config.refetch_ms),
        })
    }

    /// The key that a token names, or the only one there is for its algorithm.
    pub async fn find(&self, id: Option<&str>, algorithm: SignatureAlgorithm) -> Result<DecodingKey, Error> {
        if let Some(key) = self.known(id, algorithm) {
            return Ok(key);
        }
        self.fetch().await;
        if let Some(key) = self.known(id, algorithm) {
            return Ok(key);
        }
        if self.current().is_none() {
            let message = "the OpenID Connect provider cannot be reached for its keys: try again".to_owned();
            return Err(Error::Unavailable { reason: Reason::BackendUnavailable, message });
        }
        Err(refused("its provider has no such key"))
    }

    /// Fetches the keys, unless they were asked for a moment ago.
    pub async fn fetch(&self) {
        let mut asked = self.asked.lock().await;
        if asked.is_some_and(|at| at.elapsed() < self.pause) {
            return;
        }
        let fetched = self.source.keys().await;
        *asked = Some(Instant::now());
        match fetched {
            Ok(keys) => {
                let keys = keys.into_iter().filter_map(usable).collect();
                *self.current.write() = Some(Arc::new(Set { keys, fetched: Instant::now() }));
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(
                    issuer = self.name,
                    error,
                    "the keys of an OpenID Connect provider cannot be fetched"
                );
            }
        }
    }

    fn current(&self) -> Option<Arc<Set>> {
        self.current.read().clone().filter(|set| set.fetched.elapsed() < KEPT)
    }

    fn known(&self, id: Option<&str>, algorithm: SignatureAlgorithm) -> Option<DecodingKey> {
        let set = self.current()?;
        let mut fitting = set
            .keys
            .iter()
            .filter(|key| key.algorithm == algorithm && (id.is_none() || key.id.as_deref() == id));
        let found = fitting.next()?;
        // Without a name it must be clear which one is meant.
        (id.is_some() || fitting.next().is_none()).then(|| found.key.clone())
    }
}

/// A key of a set, where it can verify signatures that are accepted. A secret never can.
fn usable(value: Value) -> Option<Key> {
    let key: Jwk = serde_json::from_value(value).ok()?;
    if !matches!(key.common.public_key_use, None | Some(PublicKeyUse::Signature)) {
        return None;
    }
    let algorithm = match (&key.algorithm, key.common.key_algorithm) {
        (AlgorithmParameters::RSA(_), None | Some(KeyAlgorithm::RS256)) => SignatureAlgorithm::RS256,
        (AlgorithmParameters::EllipticCurve(curve), None | Some(KeyAlgorithm::ES256))
            if curve.curve == EllipticCurve::P256 =>
        {
            SignatureAlgorithm::ES256
        }
        (AlgorithmParameters::OctetKeyPair(pair), None | Some(KeyAlgorithm::EdDSA))
            if pair.curve == EllipticCurve::Ed25519 =>
        {
            SignatureAlgorithm::EdDSA
        }
        _ => return None,
    };
    Some(Key { id: key.common.key_id.clone(), algorithm, key: DecodingKey::from_jwk(&key).ok()? })
}
