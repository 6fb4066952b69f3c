//! What an address of a link carries: `base64url(claims).base64url(mac)`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::LinkRow;
use crate::clock::Millis;

/// The longest token that is looked at: a name has 1024 characters at most, of four bytes.
const MAX_CHARS: usize = 12_000;
/// Keeps these codes apart from any other use of a key.
const CONTEXT: &[u8] = b"sre-file-link-v1\0";

/// What is signed. The names are short, for they are part of every address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The key that signed.
    #[serde(rename = "k")]
    pub key: String,
    /// The link.
    #[serde(rename = "i")]
    pub id: String,
    /// The file.
    #[serde(rename = "f")]
    pub file: String,
    /// On whose behalf.
    #[serde(rename = "s")]
    pub subject: String,
    /// When this address ends.
    #[serde(rename = "e")]
    pub expires_ms: Millis,
    /// The version that it is for; any where empty.
    #[serde(rename = "v", default, skip_serializing_if = "String::is_empty")]
    pub etag: String,
}

impl Claims {
    /// The claims of a link, without the key.
    pub fn of(row: &LinkRow) -> Self {
        Self {
            key: String::new(),
            id: row.id.clone(),
            file: row.file.clone(),
            subject: row.subject.clone(),
            expires_ms: row.expires_ms,
            etag: row.etag.clone(),
        }
    }

    /// Whether they were made for this link.
    pub fn are_of(&self, row: &LinkRow) -> bool {
        (&self.id, &self.file, &self.subject, &self.etag) == (&row.id, &row.file, &row.subject, &row.etag)
            && self.expires_ms <= row.expires_ms
    }

    /// Signs with a key's secret.
    pub fn sign(&self, secret: &[u8]) -> String {
        let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default());
        let mac = URL_SAFE_NO_PAD.encode(mac(secret, &payload).finalize().into_bytes());
        format!("{payload}.{mac}")
    }

    /// Reads a token and checks it with the secret that `secret` gives for its key. Nothing in it is believed
    /// before.
    pub fn verify(token: &str, secret: impl FnOnce(&str) -> Option<Vec<u8>>) -> Option<Self> {
        let claims = Self::unverified(token)?;
        let (payload, code) = token.split_once('.')?;
        let code = URL_SAFE_NO_PAD.decode(code).ok()?;
        mac(&secret(&claims.key)?, payload).verify_slice(&code).ok()?;
        Some(claims)
    }

    /// What a token says, to find its key.
    pub fn unverified(token: &str) -> Option<Self> {
        if token.len() > MAX_CHARS {
            return None;
        }
        let (payload, _) = token.split_once('.')?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
    }
}

fn mac(secret: &[u8], payload: &str) -> Hmac<Sha256> {
    // HMAC takes keys of any length.
    #[expect(clippy::expect_used, reason = "cannot fail: HMAC takes keys of any length")]
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(secret).expect("any length");
    mac.update(CONTEXT);
    mac.update(payload.as_bytes());
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        Claims {
            key: "k1".into(),
            id: "l1".into(),
            file: "teams/t/files/a b".into(),
            subject: "agent/a".into(),
            expires_ms: 5,
            etag: String::new(),
        }
    }

    #[test]
    fn what_was_signed_is_read() {
        let token = claims().sign(b"secret");
        assert_eq!(Claims::verify(&token, |key| (key == "k1").then(|| b"secret".to_vec())), Some(claims()));
        assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)), "{token}");
    }

    #[test]
    fn h21_every_changed_bit_is_noticed() {
        let token = claims().sign(b"secret");
        let verify = |token: &str| Claims::verify(token, |_| Some(b"secret".to_vec()));
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            // The last character of a code has bits that mean nothing; strict decoding refuses those that are set.
            assert_eq!(verify(&changed), None, "{at}: {changed}");
        }
        assert_eq!(Claims::verify(&token, |_| Some(b"other".to_vec())), None);
        assert_eq!(Claims::verify(&token, |_| None), None);
        for bad in ["", ".", "a.b", token.split('.').next().unwrap(), &"x".repeat(20_000)] {
            assert_eq!(verify(bad), None);
        }
    }
}
