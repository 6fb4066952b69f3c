//! Keys and revocations in memory: what signs, what verifies proofs here, and what is published.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use sre_identity::token::issuer;
use sre_identity::{AuthError, Claims, Peer, TokenVerifier, TrustDomain, grant};
use sre_proto::security::v1 as proto;
use sre_store::sql::Connection;
use tonic::Status;

use super::revocations::{self, Revocation};
use super::signing_keys::{self, MAX_PUBLISHED, PublicKey, SigningKey};
use crate::error::Error;
use crate::moment::Moment;
use crate::vault::keks::Keks;

/// What has ended is dropped from the set so often, though nothing changed.
const REBUILD_AFTER: Duration = Duration::from_secs(60);

/// Clones share it.
#[derive(Clone)]
pub struct KeyRing(Arc<Inner>);

struct Inner {
    trust_domain: TrustDomain,
    issuer: String,
    /// Verifies tokens that are proofs. Kept over changes, with its cache.
    tokens: TokenVerifier,
    current: RwLock<Option<Arc<Current>>>,
}

struct Current {
    built: Moment,
    signing: SigningKey,
    published: proto::KeySet,
    /// Verify resume grants. A verifier takes few keys, and a month has many.
    grants: Vec<TokenVerifier>,
}

/// What the store holds.
pub struct Loaded {
    version: i64,
    /// None where the version is the one that is known already.
    content: Option<Content>,
}

struct Content {
    signing: SigningKey,
    keys: Vec<PublicKey>,
    revocations: Vec<Revocation>,
}

impl KeyRing {
    /// An empty ring: it signs and believes nothing before its first update.
    pub fn new(trust_domain: &TrustDomain) -> Self {
        Self(Arc::new(Inner {
            trust_domain: trust_domain.clone(),
            issuer: issuer(trust_domain),
            tokens: TokenVerifier::new(trust_domain),
            current: RwLock::new(None),
        }))
    }

    /// Reads what is needed to get from `known` to the store's version.
    pub fn load(
        conn: &Connection<'_>,
        keks: &Keks,
        now: Moment,
        known: (i64, Moment),
    ) -> Result<Loaded, Error> {
        let version = revocations::version(conn)?;
        if known.0 == version && known.1.plus(REBUILD_AFTER) > now {
            return Ok(Loaded { version, content: None });
        }
        let signing = signing_keys::signing(conn, keks)?
            .ok_or_else(|| Error::Internal("the store has no signing key".to_owned()))?;
        let keys = signing_keys::live(conn, now)?;
        let revocations = revocations::live(conn, now)?;
        Ok(Loaded { version, content: Some(Content { signing, keys, revocations }) })
    }

    /// Version and age of what is in use.
    pub fn known(&self) -> (i64, Moment) {
        self.0
            .current
            .read()
            .as_ref()
            .map_or((0, Moment(0)), |current| (current.published.version, current.built))
    }

    /// Takes what was read.
    pub fn update(&self, loaded: Loaded, now: Moment) -> Result<(), Error> {
        let Some(content) = loaded.content else { return self.confirm(loaded.version) };
        let tokens_end = |key: &PublicKey| key.tokens_end();
        let alive: Vec<PublicKey> =
            content.keys.iter().filter(|key| key.tokens_end().is_none_or(|end| end > now)).cloned().collect();
        let published = content.revocations.iter().filter(|one| one.is_published(now));
        let published = self.message(loaded.version, &alive, tokens_end, published);
        let whole = self.message(loaded.version, &alive, tokens_end, content.revocations.iter());
        self.0.tokens.update(&whole).map_err(|error| Error::Internal(error.to_string()))?;
        let mut grants = Vec::new();
        for keys in content.keys.chunks(MAX_PUBLISHED) {
            let verifier = TokenVerifier::new(&self.0.trust_domain);
            let set = self.message(loaded.version, keys, PublicKey::grants_end, content.revocations.iter());
            verifier.update(&set).map_err(|error| Error::Internal(error.to_string()))?;
            grants.push(verifier);
        }
        let current = Current { built: now, signing: content.signing, published, grants };
        *self.0.current.write() = Some(Arc::new(current));
        Ok(())
    }

    /// The set that services verify tokens with; without its content where they have it.
    pub fn published(&self, known_version: i64) -> Result<proto::KeySet, Error> {
        let current = self.current()?;
        if known_version == current.published.version {
            return Ok(proto::KeySet { version: known_version, unchanged: true, ..proto::KeySet::default() });
        }
        Ok(current.published.clone())
    }

    /// When the signing key was made.
    pub fn signing_since(&self) -> Result<Moment, Error> {
        Ok(self.current()?.signing.created)
    }

    /// Who signs, as tokens name it.
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// Signs a token.
    pub fn sign_token(&self, claims: &Claims) -> Result<String, Error> {
        self.current()?.signing.signer.sign(claims).map_err(|error| Error::Internal(error.to_string()))
    }

    /// Signs a resume grant.
    pub fn sign_grant(&self, grant: &grant::Grant) -> Result<String, Error> {
        self.current()?.signing.signer.sign_grant(grant).map_err(|error| Error::Internal(error.to_string()))
    }

    /// Signs other bytes, which must not be those of a token: give them a prefix of their own.
    pub fn sign(&self, message: &[u8]) -> Result<(String, Vec<u8>), Error> {
        let current = self.current()?;
        let signature = current.signing.pair.sign(message);
        Ok((current.signing.signer.key_id().to_owned(), signature.as_ref().to_vec()))
    }

    /// Verifies a token that `caller` brings as its proof.
    pub fn verify_proof(&self, token: &str, caller: &Peer) -> Result<Arc<Claims>, Error> {
        Ok(self.0.tokens.verify_proof(token, caller).map_err(Status::from)?)
    }

    /// Verifies a resume grant that `caller` brings as its proof.
    pub fn verify_grant(&self, text: &str, caller: &Peer) -> Result<grant::Grant, Error> {
        let current = self.current()?;
        let mut refusal = AuthError::NoKeySet;
        for verifier in &current.grants {
            match verifier.verify_grant(text, caller) {
                Ok(grant) => return Ok(grant),
                Err(unknown @ AuthError::UnknownKey(_)) => refusal = unknown,
                Err(other) => return Err(Status::from(other).into()),
            }
        }
        Err(Status::from(refusal).into())
    }

    /// Renews the belief in what is known: verifiers forget a set that nobody confirms.
    fn confirm(&self, version: i64) -> Result<(), Error> {
        let current = self.current()?;
        let unchanged = proto::KeySet { version, unchanged: true, ..proto::KeySet::default() };
        for verifier in current.grants.iter().chain([&self.0.tokens]) {
            verifier.update(&unchanged).map_err(|error| Error::Internal(error.to_string()))?;
        }
        Ok(())
    }

    fn current(&self) -> Result<Arc<Current>, Error> {
        let current = self.0.current.read().clone();
        current.ok_or_else(|| Error::Internal("the signing keys are not loaded yet".to_owned()))
    }

    fn message<'a>(
        &self,
        version: i64,
        keys: &[PublicKey],
        end: impl Fn(&PublicKey) -> Option<Moment>,
        revoked: impl Iterator<Item = &'a Revocation>,
    ) -> proto::KeySet {
        let key = |key: &PublicKey| proto::PublicKey {
            key_id: key.id.clone(),
            ed25519: key.bytes.clone().into(),
            expire_time: end(key).map(Into::into),
        };
        proto::KeySet {
            version,
            unchanged: false,
            issuer: self.0.issuer.clone(),
            keys: keys.iter().map(key).collect(),
            revocations: revoked.map(Revocation::to_proto).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use sre_identity::ca::Authority;
    use sre_identity::{PatternTable, Principal, Svid};

    use super::*;
    use crate::rows::testing::database;

    fn peer(authority: &Authority, principal: &str) -> Peer {
        let principal: Principal = principal.parse().unwrap();
        let issued = authority.issue(&principal, &[], Duration::from_secs(3600)).unwrap();
        let patterns = PatternTable::new(authority.trust_domain().clone());
        Svid::from_pem(&issued.cert_pem, &issued.key_pem, &patterns).unwrap().peer()
    }

    #[test]
    fn grants_outlive_many_rotations_and_tokens_one() {
        let trust_domain = TrustDomain::new("sre.local").unwrap();
        let authority = Authority::create(&trust_domain).unwrap();
        let engine = peer(&authority, "service/engine");
        let (conn, keks, ring, now) =
            (database(), Keks::in_memory().unwrap(), KeyRing::new(&trust_domain), Moment::now());
        let day = Duration::from_secs(24 * 3600);
        assert!(ring.sign(b"x").is_err(), "an empty ring signs nothing");

        let load = |known| ring.update(KeyRing::load(&conn, &keks, now, known).unwrap(), now).unwrap();
        signing_keys::rotate(&conn, &keks, now.minus(day * 20)).unwrap();
        load((0, Moment(0)));
        let grant = grant::Grant {
            iss: ring.issuer().to_owned(),
            sub: "spiffe://sre.local/agent/a".into(),
            via: Vec::new(),
            root: "spiffe://sre.local/user/u".into(),
            ceil: Vec::new(),
            jti: "j".into(),
            iat: now.minus(day * 20).secs(),
            exp: now.plus(day * 9).secs(),
            agent: "teams/t/agents/a".into(),
            team: None,
            txn: "t".into(),
        };
        let text = ring.sign_grant(&grant).unwrap();
        for n in 1..=19 {
            signing_keys::rotate(&conn, &keks, now.minus(day * (20 - n))).unwrap();
        }
        load(ring.known());
        assert_eq!(ring.verify_grant(&text, &engine).unwrap(), grant);
        assert_eq!(ring.published(0).unwrap().keys.len(), 1, "tokens of the old keys have ended");
        // Nothing changed: what is known is confirmed.
        load(ring.known());
        assert_eq!(ring.verify_grant(&text, &engine).unwrap(), grant);
    }
}
