//! Whether a request is from who knows the secret: an HMAC over its body, compared in constant time.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

/// The hash of an HMAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha1,
    Sha256,
    Sha512,
}

impl Hash {
    pub fn parse(name: &str) -> Self {
        match name {
            "sha1" => Self::Sha1,
            "sha512" => Self::Sha512,
            _ => Self::Sha256,
        }
    }
}

/// Whether `given`, hexadecimal or base64, is the HMAC of the parts under the key.
pub(super) fn verify(hash: Hash, key: &[u8], parts: &[&[u8]], given: &str) -> bool {
    let Some(given) = bytes(hash, given) else { return false };
    match hash {
        Hash::Sha1 => verified::<Hmac<Sha1>>(key, parts, &given),
        Hash::Sha256 => verified::<Hmac<Sha256>>(key, parts, &given),
        Hash::Sha512 => verified::<Hmac<Sha512>>(key, parts, &given),
    }
}

fn verified<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]], given: &[u8]) -> bool {
    // HMAC takes keys of any length.
    let Ok(mut mac) = <M as Mac>::new_from_slice(key) else { return false };
    parts.iter().for_each(|part| mac.update(part));
    mac.verify_slice(given).is_ok()
}

fn bytes(hash: Hash, text: &str) -> Option<Vec<u8>> {
    let length = match hash {
        Hash::Sha1 => 20,
        Hash::Sha256 => 32,
        Hash::Sha512 => 64,
    };
    let text = text.trim();
    let read = if text.len() == 2 * length { hex::decode(text).ok() } else { STANDARD.decode(text).ok() };
    read.filter(|bytes| bytes.len() == length)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test case 2.
    #[test]
    fn the_signature_of_the_rfc_is_verified_and_no_other() {
        let hex = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let of = |given: &str| verify(Hash::Sha256, b"Jefe", &[b"what do ya want ", b"for nothing?"], given);
        assert!(of(hex) && of(&hex.to_uppercase()) && of("W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM="));
        for bad in ["", "5b", &hex.replace("5bd", "5be"), "not hex", &hex[2..]] {
            assert!(!of(bad), "{bad}");
        }
        assert!(!verify(Hash::Sha256, b"other", &[b"what do ya want for nothing?"], hex));
    }
}
