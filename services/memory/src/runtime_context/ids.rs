//! Ids of runs and sessions.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// An id that is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct IdError {
    text: String,
    expected: &'static str,
}

/// The id of a run, `<pp>-<uuid>`. Stores keep its two parts in two columns, so that ranges follow time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId {
    /// The partition.
    pub partition: u8,
    /// The UUIDv7.
    pub uuid: Uuid,
}

impl FromStr for RunId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let error = || IdError {
            text: text.chars().take(64).collect(),
            expected: "a run id: two hex digits, a hyphen and a UUID",
        };
        let (partition, uuid) = sre_proto::ids::parse(text).ok_or_else(error)?;
        let partition = u8::from_str_radix(partition, 16).map_err(|_| error())?;
        Ok(Self { partition, uuid })
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}-{}", self.partition, self.uuid)
    }
}

/// The id of an engine's session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub Uuid);

impl FromStr for SessionId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Uuid::try_parse(text)
            .map(Self)
            .map_err(|_| IdError { text: text.chars().take(64).collect(), expected: "a session id: a UUID" })
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Digest of a payload: BLAKE3, written `b3:` and 64 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl FromStr for Digest {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let error = || IdError {
            text: text.chars().take(80).collect(),
            expected: "a digest: `b3:` and 64 lower-case hex digits",
        };
        let hex = text.strip_prefix("b3:").ok_or_else(error)?;
        if hex.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(error());
        }
        blake3::Hash::from_hex(hex).map(|hash| Self(*hash.as_bytes())).map_err(|_| error())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b3:{}", self.hex())
    }
}

impl Digest {
    /// The digest of `content`.
    pub fn of(content: &[u8]) -> Self {
        Self(*blake3::hash(content).as_bytes())
    }

    /// The 64 hex digits.
    pub fn hex(&self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_written() {
        let run = sre_proto::ids::new_id();
        assert_eq!(run.parse::<RunId>().unwrap().to_string(), run);
        let digest = Digest::of(b"x");
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
    }

    #[test]
    fn paths_are_no_digests() {
        for text in ["", "b3:", "b3:../../etc", &format!("b3:{}", "A".repeat(64)), &"0".repeat(64)] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }
}
