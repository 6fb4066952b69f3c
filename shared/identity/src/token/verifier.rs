//! Verifies tokens: the signature once, everything else each time.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use moka::sync::Cache;
use sre_proto::error::{self, Reason};
use sre_proto::security::v1 as proto;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tonic::{Code, Status};

use super::keyset::unix_seconds;
use super::{CLOCK_SKEW, Claims, KeySet, KeySetError, MAX_KEY_SET_AGE, MAX_LIFETIME, MAX_VIA, TYP};
use crate::candidate::Candidate;
use crate::codec::{CodecError, SIGNATURE_CHARS, Unverified};
use crate::grant::{self, Grant};
use crate::peer::Peer;
use crate::spiffe::TrustDomain;

/// The most verified tokens kept; past it the least used are verified again.
const CACHE_ENTRIES: u64 = 20_000;

/// How long a call with an unknown key waits for a newer key set.
const REFRESH_WAIT: Duration = Duration::from_secs(2);

/// Why a caller is not believed, or not allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No identity or token where one is needed.
    #[error("{0}")]
    Missing(&'static str),
    /// Not a token.
    #[error("the delegation token is malformed")]
    Malformed,
    /// Another algorithm or type.
    #[error("the delegation token has another algorithm or type than this deployment's")]
    Header,
    /// No such key.
    #[error("the delegation token is signed with the unknown key {0:?}")]
    UnknownKey(String),
    /// Forged or damaged.
    #[error("the delegation token's signature is wrong")]
    Signature,
    /// Signed by somebody else.
    #[error("the delegation token has another issuer")]
    Issuer,
    /// Over, not valid yet, or valid for too long.
    #[error("the delegation token has expired or is not valid yet: exchange again")]
    Time,
    /// For another service.
    #[error("the delegation token is for {0}, not for this service")]
    Audience(String),
    /// For another presenter.
    #[error("the delegation token may be presented by {0} only")]
    WrongPresenter(String),
    /// Revoked.
    #[error("the credential was revoked")]
    Revoked,
    /// Too many agents.
    #[error("the chain has more than {MAX_VIA} agents before its last")]
    ChainTooDeep,
    /// The scope lacks it.
    #[error("the delegation token's scope does not cover {service}:{level}")]
    Scope {
        /// The proto service called.
        service: &'static str,
        /// The level needed.
        level: &'static str,
    },
    /// The method is not for this peer.
    #[error("{0}")]
    NotAllowed(String),
    /// The peer's certificate ended during the connection.
    #[error("the peer's certificate has expired: connect again with a new one")]
    PeerExpired,
    /// No recent key set.
    #[error("no key set from the token service for {} s: tokens cannot be verified", MAX_KEY_SET_AGE.as_secs())]
    NoKeySet,
}

impl AuthError {
    /// The stable reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Missing(_) => Reason::CredentialsMissing,
            Self::Malformed
            | Self::Header
            | Self::UnknownKey(_)
            | Self::Signature
            | Self::Issuer
            | Self::Time
            | Self::Audience(_)
            | Self::PeerExpired => Reason::CredentialsInvalid,
            Self::WrongPresenter(_) => Reason::WrongPresenter,
            Self::Revoked => Reason::CredentialsRevoked,
            Self::ChainTooDeep => Reason::ChainTooDeep,
            Self::Scope { .. } => Reason::ScopeExceeded,
            Self::NotAllowed(_) => Reason::MethodNotAllowed,
            Self::NoKeySet => Reason::RoleUnavailable,
        }
    }

    /// The gRPC code.
    pub fn code(&self) -> Code {
        match self.reason() {
            Reason::RoleUnavailable => Code::Unavailable,
            Reason::WrongPresenter
            | Reason::ChainTooDeep
            | Reason::ScopeExceeded
            | Reason::MethodNotAllowed => Code::PermissionDenied,
            _ => Code::Unauthenticated,
        }
    }
}

impl From<AuthError> for Status {
    fn from(error: AuthError) -> Self {
        match &error {
            AuthError::NoKeySet => error::with_metadata(
                error.code(),
                error.reason(),
                error.to_string(),
                [("role", "security".to_owned())],
            ),
            _ => error::status(error.code(), error.reason(), error.to_string()),
        }
    }
}

impl From<CodecError> for AuthError {
    fn from(error: CodecError) -> Self {
        match error {
            CodecError::Malformed => Self::Malformed,
            CodecError::Header => Self::Header,
            CodecError::Signature => Self::Signature,
        }
    }
}

/// A token whose signature was verified.
#[derive(Debug)]
pub(crate) struct Verified {
    /// The whole text: the cache finds by signature and compares all of it.
    pub text: Arc<str>,
    pub claims: Arc<Claims>,
    pub candidate: Candidate,
    key_id: String,
}

struct Believed {
    keys: KeySet,
    since: Instant,
}

struct Shared {
    issuer: String,
    believed: ArcSwapOption<Believed>,
    cache: Cache<[u8; SIGNATURE_CHARS], Arc<Verified>>,
    wanted: Notify,
    updates: watch::Sender<u64>,
}

/// Verifies delegation tokens and resume grants against the key set that a poller brings by [`Self::update`]. One
/// per process and role; cheap to clone.
#[derive(Clone)]
pub struct TokenVerifier(Arc<Shared>);

impl TokenVerifier {
    /// A verifier that believes nothing until its first [`Self::update`].
    pub fn new(trust_domain: &TrustDomain) -> Self {
        let cache =
            Cache::builder().max_capacity(CACHE_ENTRIES).time_to_live(MAX_LIFETIME + CLOCK_SKEW).build();
        Self(Arc::new(Shared {
            issuer: issuer(trust_domain),
            believed: ArcSwapOption::empty(),
            cache,
            wanted: Notify::new(),
            updates: watch::Sender::new(0),
        }))
    }

    /// Takes the token service's answer. Call every 5 seconds: an answer without change renews the belief.
    pub fn update(&self, message: &proto::KeySet) -> Result<(), KeySetError> {
        let known = self.0.believed.load_full();
        let keys = if message.unchanged {
            let known = known.as_ref().ok_or(KeySetError::NothingKnown)?;
            if known.keys.version() != message.version {
                return Err(KeySetError::Malformed("it is unchanged with another version"));
            }
            known.keys.clone()
        } else {
            let keys = KeySet::try_from(message)?;
            if keys.issuer() != self.0.issuer {
                return Err(KeySetError::Issuer(keys.issuer().to_owned()));
            }
            if let Some(known) = known.as_ref().filter(|known| keys.version() < known.keys.version()) {
                return Err(KeySetError::Older { got: keys.version(), known: known.keys.version() });
            }
            keys
        };
        self.0.believed.store(Some(Arc::new(Believed { keys, since: Instant::now() })));
        self.0.updates.send_modify(|count| *count += 1);
        Ok(())
    }

    /// The version to ask the token service with; 0 where nothing is known.
    pub fn known_version(&self) -> i64 {
        self.0.believed.load().as_ref().map_or(0, |believed| believed.keys.version())
    }

    /// Whether a newer key set is needed to verify tokens of this key.
    pub fn needs_refresh(&self, kid: &str) -> bool {
        match self.believed() {
            Ok(believed) => believed.keys.key(kid, unix_seconds()).is_none(),
            Err(_) => true,
        }
    }

    /// Returns when a call met an unknown key: the poller then asks at once, at most once a second.
    pub async fn refresh_wanted(&self) {
        self.0.wanted.notified().await;
    }

    /// Verifies a token for this service: signature, time, audience, presenter, revocation.
    pub fn verify(&self, token: &str, presenter: &Peer, role: &str) -> Result<Arc<Claims>, AuthError> {
        self.verify_for_layer(token, presenter, role).map(|verified| verified.claims.clone())
    }

    /// Like [`Self::verify`], but a token of an unknown key waits, for 2 seconds at most, for a newer key set: the
    /// service that minted it may be ahead of the poller.
    pub(crate) async fn verify_fresh(
        &self,
        token: &str,
        presenter: &Peer,
        role: &str,
    ) -> Result<Arc<Verified>, AuthError> {
        let mut updates = self.0.updates.subscribe();
        let result = self.verify_for_layer(token, presenter, role);
        let Err(AuthError::UnknownKey(kid)) = result else {
            return result;
        };
        self.0.wanted.notify_one();
        let newer = async {
            while updates.changed().await.is_ok() {
                if !self.needs_refresh(&kid) {
                    return;
                }
            }
        };
        // Whether it came or not: the second answer stands.
        let _ = tokio::time::timeout(REFRESH_WAIT, newer).await;
        self.verify_for_layer(token, presenter, role)
    }

    /// Verifies a token that `caller` brings to the token service as its proof: it was presented *to* the caller,
    /// so the caller must be in its audience.
    pub fn verify_proof(&self, token: &str, caller: &Peer) -> Result<Arc<Claims>, AuthError> {
        let now = unix_seconds();
        let verified = self.verified(token, now)?;
        let role = caller.principal().name();
        if !caller.is_service(role) || !verified.claims.aud.iter().any(|audience| audience == role) {
            return Err(AuthError::Audience(verified.claims.aud.join(", ")));
        }
        Ok(verified.claims.clone())
    }

    /// Verifies a resume grant. Usable by `service/engine` alone.
    pub fn verify_grant(&self, text: &str, caller: &Peer) -> Result<Grant, AuthError> {
        if !caller.is_service(grant::PRESENTER) {
            return Err(AuthError::WrongPresenter(format!("service/{}", grant::PRESENTER)));
        }
        let believed = self.believed()?;
        let now = unix_seconds();
        let unverified = Unverified::parse(text, grant::TYP)?;
        let key = believed
            .keys
            .key(&unverified.kid, now)
            .ok_or_else(|| AuthError::UnknownKey(unverified.kid.clone()))?;
        let grant: Grant = unverified.verify(key)?;
        if grant.iss != self.0.issuer {
            return Err(AuthError::Issuer);
        }
        check_time(grant.iat, grant.exp, grant::MAX_LIFETIME, now)?;
        if grant.via.len() > MAX_VIA {
            return Err(AuthError::ChainTooDeep);
        }
        let presenter = caller.spiffe_id().as_str();
        if believed.keys.is_revoked_grant(
            &grant.jti,
            &grant.sub,
            &grant.root,
            presenter,
            &grant.via,
            grant.iat,
        ) {
            return Err(AuthError::Revoked);
        }
        Ok(grant)
    }

    /// Whether claims that were accepted earlier still are, but for their expiry: for streams, which are checked
    /// against revocation every 15 seconds and not cut by the token's end.
    pub fn still_valid(&self, claims: &Claims) -> Result<(), AuthError> {
        if self.believed()?.keys.is_revoked(claims) { Err(AuthError::Revoked) } else { Ok(()) }
    }

    pub(crate) fn verify_for_layer(
        &self,
        token: &str,
        presenter: &Peer,
        role: &str,
    ) -> Result<Arc<Verified>, AuthError> {
        let verified = self.verified(token, unix_seconds())?;
        let claims = &verified.claims;
        if !claims.aud.iter().any(|audience| audience == role) {
            return Err(AuthError::Audience(claims.aud.join(", ")));
        }
        if claims.act != presenter.spiffe_id().as_str() {
            return Err(AuthError::WrongPresenter(claims.act.clone()));
        }
        Ok(verified)
    }

    /// Signature, time and revocation.
    fn verified(&self, token: &str, now: i64) -> Result<Arc<Verified>, AuthError> {
        let believed = self.believed()?;
        let verified = match self.cached(token) {
            // Its key may have been withdrawn since.
            Some(verified) if believed.keys.key(&verified.key_id, now).is_some() => verified,
            _ => self.verify_signature(token, &believed.keys, now)?,
        };
        check_time(verified.claims.iat, verified.claims.exp, MAX_LIFETIME, now)?;
        if believed.keys.is_revoked(&verified.claims) {
            return Err(AuthError::Revoked);
        }
        Ok(verified)
    }

    /// Looks up by signature, which is short and random, and compares the whole text.
    fn cached(&self, token: &str) -> Option<Arc<Verified>> {
        let signature = token.as_bytes().last_chunk::<SIGNATURE_CHARS>()?;
        self.0.cache.get(signature).filter(|verified| *verified.text == *token)
    }

    fn verify_signature(&self, token: &str, keys: &KeySet, now: i64) -> Result<Arc<Verified>, AuthError> {
        let unverified = Unverified::parse(token, TYP)?;
        let key =
            keys.key(&unverified.kid, now).ok_or_else(|| AuthError::UnknownKey(unverified.kid.clone()))?;
        let claims: Claims = unverified.verify(key)?;
        if claims.iss != self.0.issuer {
            return Err(AuthError::Issuer);
        }
        if claims.via.len() > MAX_VIA {
            return Err(AuthError::ChainTooDeep);
        }
        let candidate = claims.candidate().map_err(|_| AuthError::Malformed)?;
        let verified = Arc::new(Verified {
            text: token.into(),
            claims: Arc::new(claims),
            candidate,
            key_id: unverified.kid,
        });
        if let Some(signature) = token.as_bytes().last_chunk::<SIGNATURE_CHARS>() {
            self.0.cache.insert(*signature, verified.clone());
        }
        Ok(verified)
    }

    fn believed(&self) -> Result<Arc<Believed>, AuthError> {
        match self.0.believed.load_full() {
            Some(believed) if believed.since.elapsed() <= MAX_KEY_SET_AGE => Ok(believed),
            _ => Err(AuthError::NoKeySet),
        }
    }
}

/// The token service of a trust domain, as tokens and key sets name it.
pub fn issuer(trust_domain: &TrustDomain) -> String {
    format!("spiffe://{trust_domain}/service/security")
}

fn check_time(issued: i64, ends: i64, longest: Duration, now: i64) -> Result<(), AuthError> {
    let skew = CLOCK_SKEW.as_secs() as i64;
    let longest = longest.as_secs() as i64;
    let lifetime = ends.checked_sub(issued).ok_or(AuthError::Time)?;
    if issued > now + skew || ends <= now - skew || lifetime <= 0 || lifetime > longest {
        return Err(AuthError::Time);
    }
    Ok(())
}
