//! The key that signs tokens, and its safe keeping.

use std::fmt;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};

use crate::codec;
use crate::grant::{self, Grant};
use crate::token::{self, Claims, MAX_LIFETIME};

/// What is wrong with a key or with what it is to sign.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The random generator or the key is unusable.
    #[error("the signing key cannot be {0}")]
    Key(&'static str),
    /// The claims break a rule that every verifier checks.
    #[error("refusing to sign: {0}")]
    Refused(&'static str),
    /// The claims do not serialize.
    #[error("the claims do not serialize: {0}")]
    Serialize(#[from] serde_json::Error),
}

/// An Ed25519 key of the token service. Only `service/security` has one.
pub struct Signer {
    pair: Ed25519KeyPair,
    key_id: String,
}

impl Signer {
    /// Makes a new key.
    pub fn generate() -> Result<Self, SignError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| SignError::Key("generated"))?;
        Ok(Self::of(pair))
    }

    /// Reads a key as [`Self::to_pkcs8`] wrote it.
    pub fn from_pkcs8(bytes: &[u8]) -> Result<Self, SignError> {
        let pair =
            Ed25519KeyPair::from_pkcs8(bytes).map_err(|_| SignError::Key("read: it is not PKCS #8"))?;
        Ok(Self::of(pair))
    }

    /// The private key, for the vault or a file of mode 0600.
    pub fn to_pkcs8(&self) -> Result<Vec<u8>, SignError> {
        let document = self.pair.to_pkcs8().map_err(|_| SignError::Key("written"))?;
        Ok(document.as_ref().to_vec())
    }

    /// The key's id: a digest of the public key, so that an id never stands for two keys.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The public key, 32 bytes.
    pub fn public_key(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    /// Signs a token. Refuses claims that no verifier would accept.
    pub fn sign(&self, claims: &Claims) -> Result<String, SignError> {
        if claims.exp <= claims.iat || claims.exp - claims.iat > MAX_LIFETIME.as_secs() as i64 {
            return Err(SignError::Refused("a token lives 5 minutes at most"));
        }
        if claims.aud.is_empty() || claims.scope.is_empty() {
            return Err(SignError::Refused("a token names its audience and its scope"));
        }
        if claims.via.len() > token::MAX_VIA {
            return Err(SignError::Refused("the chain of agents is too deep"));
        }
        self.checked(codec::sign(&self.pair, &self.key_id, token::TYP, claims)?)
    }

    /// Signs a resume grant.
    pub fn sign_grant(&self, grant: &Grant) -> Result<String, SignError> {
        if grant.exp <= grant.iat || grant.exp - grant.iat > grant::MAX_LIFETIME.as_secs() as i64 {
            return Err(SignError::Refused("a resume grant lives 30 days at most"));
        }
        self.checked(codec::sign(&self.pair, &self.key_id, grant::TYP, grant)?)
    }

    /// Signs what [`Self::sign`] refuses, to test that verifiers refuse it too.
    #[cfg(test)]
    pub(crate) fn sign_unchecked<T: serde::Serialize>(
        &self,
        typ: &str,
        content: &T,
    ) -> Result<String, serde_json::Error> {
        codec::sign(&self.pair, &self.key_id, typ, content)
    }

    fn of(pair: Ed25519KeyPair) -> Self {
        let digest = blake3::hash(pair.public_key().as_ref());
        let key_id = hex::encode(&digest.as_bytes()[..8]);
        Self { pair, key_id }
    }

    fn checked(&self, text: String) -> Result<String, SignError> {
        if text.len() > codec::MAX_TOKEN_BYTES {
            return Err(SignError::Refused("the token is longer than 8 KiB: ask for fewer scopes"));
        }
        Ok(text)
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.key_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_kept_and_read() {
        let signer = Signer::generate().unwrap();
        let again = Signer::from_pkcs8(&signer.to_pkcs8().unwrap()).unwrap();
        assert_eq!(again.key_id(), signer.key_id());
        assert_eq!(again.public_key(), signer.public_key());
        assert!(Signer::from_pkcs8(b"not a key").is_err());
    }

    #[test]
    fn nothing_secret_is_shown() {
        let signer = Signer::generate().unwrap();
        assert_eq!(format!("{signer:?}"), format!("Signer({})", signer.key_id()));
    }
}
