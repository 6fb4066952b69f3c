//! The text of a key: `sre_<id>_<secret>`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::vault::envelope::{self, EnvelopeError};

const PREFIX: &str = "sre_";
const ID_BYTES: usize = 10;
const SECRET_BYTES: usize = 32;
/// 256 random bits cannot be guessed, so a fast digest is enough; the id is part of it, so that a row's digest
/// is of no use under another id.
const DIGEST: &str = "sre api key digest 1";

/// A key as a client holds it. Never printed, wiped when dropped.
pub struct KeyText {
    /// The public part: names the row.
    pub id: String,
    secret: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for KeyText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyText({})", self.id)
    }
}

impl KeyText {
    /// A new key.
    pub fn generate() -> Result<Self, EnvelopeError> {
        let mut id = [0; ID_BYTES];
        envelope::fill(&mut id)?;
        let mut secret = Zeroizing::new(vec![0; SECRET_BYTES]);
        envelope::fill(&mut secret)?;
        Ok(Self { id: hex::encode(id), secret })
    }

    /// Reads what a client sent; none for anything that is not shaped like a key.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if id.len() != 2 * ID_BYTES || !id.bytes().all(hex) {
            return None;
        }
        let secret = Zeroizing::new(URL_SAFE_NO_PAD.decode(secret).ok()?);
        (secret.len() == SECRET_BYTES).then(|| Self { id: id.to_owned(), secret })
    }

    /// The text, to be shown once.
    pub fn expose(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{PREFIX}{}_{}", self.id, URL_SAFE_NO_PAD.encode(self.secret.as_slice())))
    }

    /// What is stored.
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key(DIGEST);
        hasher.update(self.id.as_bytes());
        hasher.update(&self.secret);
        *hasher.finalize().as_bytes()
    }

    /// Whether this is the key of a stored digest, in constant time.
    pub fn matches(&self, digest: &[u8]) -> bool {
        bool::from(self.digest().as_slice().ct_eq(digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_and_matches_itself_alone() {
        let key = KeyText::generate().unwrap();
        let again = KeyText::parse(&key.expose()).unwrap();
        assert_eq!(again.id, key.id);
        assert!(again.matches(&key.digest()));
        let other = KeyText::generate().unwrap();
        assert!(!other.matches(&key.digest()));
        // The same secret under another id is another key.
        let moved = KeyText { id: other.id, secret: key.secret.clone() };
        assert!(!moved.matches(&key.digest()));
    }

    #[test]
    fn other_texts_are_not_keys() {
        let key = KeyText::generate().unwrap();
        let text = key.expose();
        for wrong in [
            "",
            "sre_",
            "sre__",
            &text[4..],
            &text[..text.len() - 1],
            &format!("{}A", text.as_str()),
            &text.replace("sre_", "SRE_"),
        ] {
            assert!(KeyText::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn debug_shows_the_id_alone() {
        let key = KeyText::generate().unwrap();
        assert_eq!(format!("{key:?}"), format!("KeyText({})", key.id));
    }
}
