//! Envelope encryption: each version of a secret has a key of its own, wrapped by the key-encryption key.
//!
//! Both layers are XChaCha20-Poly1305 with random nonces and bind the same associated data, which names the
//! place that the value belongs to: a sealed value moved to another team, key or version does not open.

use std::sync::Arc;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use rand::TryRngCore;
use rand::rngs::OsRng;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Why sealing or opening failed. Says nothing about the content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// It was sealed with a key that is in no key file.
    #[error("a value is sealed with key {0}, which is not among the key files: restore that key")]
    UnknownKey(String),
    /// The key is not the one it was sealed with, or the bytes or their place were changed.
    #[error("a sealed value does not open: the key is another one, or the value was changed or moved")]
    NotAuthentic,
    /// The operating system gave no random bytes.
    #[error("no random bytes from the operating system")]
    NoRandom,
}

/// A key-encryption key. Never printed, wiped when dropped.
#[derive(Clone)]
pub struct Kek {
    bytes: Zeroizing<[u8; 32]>,
    id: Arc<str>,
}

impl std::fmt::Debug for Kek {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kek({})", self.id)
    }
}

/// A sealed value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// The key-encryption key's id; values of older releases do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kek: Option<String>,
    /// The algorithm, so that another one can follow.
    alg: Algorithm,
    #[serde(with = "base64_bytes")]
    nonce: Vec<u8>,
    #[serde(with = "base64_bytes")]
    ciphertext: Vec<u8>,
    #[serde(with = "base64_bytes")]
    wrap_nonce: Vec<u8>,
    #[serde(with = "base64_bytes")]
    wrapped_key: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Algorithm {
    #[serde(rename = "XC20P")]
    XChaCha20Poly1305,
}

impl Sealed {
    /// The id of the key-encryption key, where it is known.
    pub fn kek(&self) -> Option<&str> {
        self.kek.as_deref()
    }
}

impl Kek {
    /// From 32 bytes.
    pub fn new(bytes: Zeroizing<[u8; 32]>) -> Self {
        let digest = blake3::derive_key("sre vault key id 1", bytes.as_slice());
        Self { bytes, id: hex::encode(&digest[..8]).into() }
    }

    /// A new random key.
    pub fn generate() -> Result<Self, EnvelopeError> {
        let mut bytes = Zeroizing::new([0; 32]);
        fill(bytes.as_mut_slice())?;
        Ok(Self::new(bytes))
    }

    /// Names the key without telling it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The bytes, for the key's file alone.
    pub(super) fn expose(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// Seals a value for the place that `place` names.
    pub fn seal(&self, place: &str, value: &[u8]) -> Result<Sealed, EnvelopeError> {
        let mut key = Zeroizing::new([0; 32]);
        fill(key.as_mut_slice())?;
        let (nonce, ciphertext) = encrypt(&key, place.as_bytes(), value)?;
        let (wrap_nonce, wrapped_key) = encrypt(&self.bytes, place.as_bytes(), key.as_slice())?;
        let kek = Some(self.id.to_string());
        Ok(Sealed { kek, alg: Algorithm::XChaCha20Poly1305, nonce, ciphertext, wrap_nonce, wrapped_key })
    }

    /// Opens a value that was sealed for the same place.
    pub fn open(&self, place: &str, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
        let key = self.unwrap_key(place, sealed)?;
        decrypt(&key, place.as_bytes(), &sealed.nonce, &sealed.ciphertext)
    }

    /// The same value with its key wrapped by this key instead of `from`; the value itself is not touched.
    pub fn rewrap(&self, place: &str, sealed: &Sealed, from: &Self) -> Result<Sealed, EnvelopeError> {
        let key = from.unwrap_key(place, sealed)?;
        let (wrap_nonce, wrapped_key) = encrypt(&self.bytes, place.as_bytes(), key.as_slice())?;
        Ok(Sealed { kek: Some(self.id.to_string()), wrap_nonce, wrapped_key, ..sealed.clone() })
    }

    fn unwrap_key(&self, place: &str, sealed: &Sealed) -> Result<Zeroizing<[u8; 32]>, EnvelopeError> {
        let key = decrypt(&self.bytes, place.as_bytes(), &sealed.wrap_nonce, &sealed.wrapped_key)?;
        let key = <[u8; 32]>::try_from(key.as_slice()).map_err(|_| EnvelopeError::NotAuthentic)?;
        Ok(Zeroizing::new(key))
    }

    /// A key for another use, so that no two uses share one.
    pub fn derive(&self, context: &'static str) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(blake3::derive_key(context, self.bytes.as_slice()))
    }
}

/// Random bytes from the operating system.
pub fn fill(bytes: &mut [u8]) -> Result<(), EnvelopeError> {
    OsRng.try_fill_bytes(bytes).map_err(|_| EnvelopeError::NoRandom)
}

/// Encrypts under a random nonce, which comes first in the answer.
pub(super) fn encrypt(key: &[u8; 32], aad: &[u8], msg: &[u8]) -> Result<(Vec<u8>, Vec<u8>), EnvelopeError> {
    let mut nonce = [0; 24];
    fill(&mut nonce)?;
    let cipher = XChaCha20Poly1305::new(Key::from_slice(key));
    let ciphertext = cipher
        .encrypt(XNonce::from_slice(&nonce), Payload { msg, aad })
        .map_err(|_| EnvelopeError::NotAuthentic)?;
    Ok((nonce.to_vec(), ciphertext))
}

pub(super) fn decrypt(
    key: &[u8; 32],
    aad: &[u8],
    nonce: &[u8],
    msg: &[u8],
) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
    if nonce.len() != 24 {
        return Err(EnvelopeError::NotAuthentic);
    }
    let cipher = XChaCha20Poly1305::new(Key::from_slice(key));
    let plain = cipher.decrypt(XNonce::from_slice(nonce), Payload { msg, aad });
    plain.map(Zeroizing::new).map_err(|_| EnvelopeError::NotAuthentic)
}

mod base64_bytes {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_opens_only_in_its_place_and_with_its_key() {
        let kek = Kek::generate().unwrap();
        let sealed = kek.seal("sre-vault|1|t|k|1", b"value").unwrap();
        assert_eq!(kek.open("sre-vault|1|t|k|1", &sealed).unwrap().as_slice(), b"value");
        assert_eq!(kek.open("sre-vault|1|t|k|2", &sealed), Err(EnvelopeError::NotAuthentic));
        let other = Kek::generate().unwrap();
        assert_eq!(other.open("sre-vault|1|t|k|1", &sealed), Err(EnvelopeError::NotAuthentic));
    }

    #[test]
    fn a_changed_byte_does_not_open() {
        let kek = Kek::generate().unwrap();
        let sealed = kek.seal("p", b"value").unwrap();
        for part in 0..4 {
            let mut changed = sealed.clone();
            let bytes = match part {
                0 => &mut changed.nonce,
                1 => &mut changed.ciphertext,
                2 => &mut changed.wrap_nonce,
                _ => &mut changed.wrapped_key,
            };
            bytes[0] ^= 1;
            assert_eq!(kek.open("p", &changed), Err(EnvelopeError::NotAuthentic), "part {part}");
        }
    }

    #[test]
    fn two_versions_of_a_value_share_neither_key_nor_nonce() {
        let kek = Kek::generate().unwrap();
        let (one, two) = (kek.seal("p", b"value").unwrap(), kek.seal("p", b"value").unwrap());
        assert_ne!(one.ciphertext, two.ciphertext);
        assert_ne!(one.wrapped_key, two.wrapped_key);
    }

    #[test]
    fn debug_does_not_print_the_key() {
        let kek = Kek::new(Zeroizing::new([7; 32]));
        assert!(!format!("{kek:?}").contains("07070707"));
    }
}
