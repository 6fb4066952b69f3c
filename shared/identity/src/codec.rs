//! The one signed format: a compact JWS with EdDSA. Small on purpose: one algorithm, no options, no unknown header.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Longer texts are refused unread.
pub(crate) const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Base64 characters of an Ed25519 signature.
pub(crate) const SIGNATURE_CHARS: usize = 86;

const ALGORITHM: &str = "EdDSA";

/// Unknown members (`jku`, `x5u`, `crit`, ...) make a token malformed: nothing in it may say how to verify it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    typ: String,
    kid: String,
}

/// What is wrong with a text before anything in it is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CodecError {
    #[error("the text is not a token")]
    Malformed,
    #[error("the token's algorithm or type is not ours")]
    Header,
    #[error("the token's signature is wrong")]
    Signature,
}

/// A split text whose signature is not verified yet.
pub(crate) struct Unverified<'a> {
    pub kid: String,
    signed: &'a str,
    payload: &'a str,
    signature: Vec<u8>,
}

impl<'a> Unverified<'a> {
    /// Splits a text of the given type.
    pub fn parse(text: &'a str, typ: &str) -> Result<Self, CodecError> {
        if text.len() > MAX_TOKEN_BYTES {
            return Err(CodecError::Malformed);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(CodecError::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(CodecError::Malformed)?;
        let header: Header = read(header)?;
        if header.alg != ALGORITHM || header.typ != typ {
            return Err(CodecError::Header);
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| CodecError::Malformed)?;
        Ok(Self { kid: header.kid, signed, payload, signature })
    }

    /// Verifies the signature, and only then reads the content.
    pub fn verify<T: DeserializeOwned>(&self, public_key: &[u8]) -> Result<T, CodecError> {
        UnparsedPublicKey::new(&ED25519, public_key)
            .verify(self.signed.as_bytes(), &self.signature)
            .map_err(|_| CodecError::Signature)?;
        read(self.payload)
    }
}

/// Signs a content.
pub(crate) fn sign<T: Serialize>(
    key: &Ed25519KeyPair,
    kid: &str,
    typ: &str,
    content: &T,
) -> Result<String, serde_json::Error> {
    let header = Header { alg: ALGORITHM.to_owned(), typ: typ.to_owned(), kid: kid.to_owned() };
    let mut text = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&header)?);
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(serde_json::to_vec(content)?, &mut text);
    let signature = key.sign(text.as_bytes());
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut text);
    Ok(text)
}

fn read<T: DeserializeOwned>(part: &str) -> Result<T, CodecError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| CodecError::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| CodecError::Malformed)
}
