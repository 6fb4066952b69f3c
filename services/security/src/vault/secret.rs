//! The type of a secret value: it cannot be printed, and its memory is wiped.

use bytes::Bytes;
use zeroize::Zeroizing;

/// A secret's value. An empty value is a value.
#[derive(Clone)]
pub struct SecretValue(Zeroizing<Vec<u8>>);

impl SecretValue {
    /// Takes the bytes over. The caller keeps no copy.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for the one call that needs them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// For the answer's message: the bytes are wiped when the last reference to them ends.
    pub fn into_bytes(self) -> Bytes {
        Bytes::from_owner(Owned(self.0))
    }
}

impl From<Zeroizing<Vec<u8>>> for SecretValue {
    fn from(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }
}

struct Owned(Zeroizing<Vec<u8>>);

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretValue(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_never_prints_the_value() {
        let value = SecretValue::new(b"sk-canary".to_vec());
        assert_eq!(format!("{value:?}"), "SecretValue(..)");
        assert_eq!(value.into_bytes(), Bytes::from_static(b"sk-canary"));
    }
}
