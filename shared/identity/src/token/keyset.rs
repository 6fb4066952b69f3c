//! What verifies tokens: public keys and what was revoked.

use std::collections::{HashMap, HashSet};
use std::time::{SystemTime, UNIX_EPOCH};

use sre_proto::security::v1 as proto;
use sre_proto::security::v1::revocation::Target;

use super::Claims;

/// Length of an Ed25519 public key.
const KEY_BYTES: usize = 32;

/// The most keys of one set: the signing one, and those whose tokens still live.
const MAX_KEYS: usize = 8;

/// Why a key set is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// The message lacks something.
    #[error("the key set is malformed: {0}")]
    Malformed(&'static str),
    /// It says "unchanged" of a set that is not here.
    #[error("the token service says the key set is unchanged, but there is none yet: ask with version 0")]
    NothingKnown,
    /// Versions only grow.
    #[error("the key set has version {got}, older than {known}")]
    Older {
        /// The version offered.
        got: i64,
        /// The version in use.
        known: i64,
    },
    /// Another issuer than the one this deployment has.
    #[error("the key set is of {0:?}, not of this deployment's token service")]
    Issuer(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    id: String,
    ed25519: [u8; KEY_BYTES],
    /// Seconds since 1970; none: no end yet.
    not_after: Option<i64>,
}

/// A whole set, as the token service publishes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeySet {
    version: i64,
    issuer: String,
    keys: Vec<Key>,
    revoked: Revocations,
}

/// Revocations by kind; the times are those before which tokens are void, in seconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Revocations {
    any: bool,
    token_ids: HashSet<String>,
    subjects: HashMap<String, i64>,
    roots: HashMap<String, i64>,
    presenters: HashMap<String, i64>,
}

impl KeySet {
    /// Grows with every change.
    pub fn version(&self) -> i64 {
        self.version
    }

    /// Who signs.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The public key of an id, where it may be used at `now`.
    pub(crate) fn key(&self, id: &str, now: i64) -> Option<&[u8]> {
        let key = self.keys.iter().find(|key| key.id == id)?;
        key.not_after.is_none_or(|end| now <= end).then_some(key.ed25519.as_slice())
    }

    /// Whether a token with these claims was revoked.
    pub fn is_revoked(&self, claims: &Claims) -> bool {
        self.is_revoked_grant(&claims.jti, &claims.sub, &claims.root, &claims.act, &claims.via, claims.iat)
    }

    /// Whether a grant of this content was revoked. One that passed through a revoked agent is void too.
    pub(crate) fn is_revoked_grant(
        &self,
        id: &str,
        subject: &str,
        root: &str,
        presenter: &str,
        via: &[String],
        issued: i64,
    ) -> bool {
        let revoked = &self.revoked;
        let before =
            |times: &HashMap<String, i64>, who: &str| times.get(who).is_some_and(|time| issued <= *time);
        revoked.any
            && (revoked.token_ids.contains(id)
                || before(&revoked.subjects, subject)
                || before(&revoked.roots, root)
                || before(&revoked.presenters, presenter)
                || via.iter().any(|agent| before(&revoked.subjects, agent)))
    }
}

impl TryFrom<&proto::KeySet> for KeySet {
    type Error = KeySetError;

    fn try_from(message: &proto::KeySet) -> Result<Self, Self::Error> {
        if message.keys.is_empty() || message.keys.len() > MAX_KEYS {
            return Err(KeySetError::Malformed("it has no key, or too many"));
        }
        let mut keys = Vec::with_capacity(message.keys.len());
        for key in &message.keys {
            let ed25519 = <[u8; KEY_BYTES]>::try_from(key.ed25519.as_ref())
                .map_err(|_| KeySetError::Malformed("a key has not 32 bytes"))?;
            if key.key_id.is_empty() || keys.iter().any(|known: &Key| known.id == key.key_id) {
                return Err(KeySetError::Malformed("a key id is empty or there twice"));
            }
            let not_after = key.expire_time.as_ref().map(|time| time.seconds);
            keys.push(Key { id: key.key_id.clone(), ed25519, not_after });
        }
        let mut revoked = Revocations { any: !message.revocations.is_empty(), ..Revocations::default() };
        for revocation in &message.revocations {
            // Without a time everything issued so far and from now on is void.
            let time = revocation.time.as_ref().map_or(i64::MAX, |time| time.seconds);
            let later = |times: &mut HashMap<String, i64>, who: &String| {
                let known = times.entry(who.clone()).or_insert(time);
                *known = time.max(*known);
            };
            match &revocation.target {
                Some(Target::TokenId(id)) => {
                    revoked.token_ids.insert(id.clone());
                }
                Some(Target::Subject(who)) => later(&mut revoked.subjects, who),
                Some(Target::RootCaller(who)) => later(&mut revoked.roots, who),
                Some(Target::Presenter(who)) => later(&mut revoked.presenters, who),
                // A kind this program does not know yet: refuse the set rather than overlook a revocation.
                None => return Err(KeySetError::Malformed("a revocation of an unknown kind")),
            }
        }
        Ok(Self { version: message.version, issuer: message.issuer.clone(), keys, revoked })
    }
}

/// Seconds since 1970.
pub(crate) fn unix_seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
