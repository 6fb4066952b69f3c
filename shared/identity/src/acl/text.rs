//! How a list is stored: canonical JSON, so that equal lists have equal texts and etags.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Acl, AclError, Level, Levels, MAX_TEXT_BYTES};
use crate::candidate::Candidate;

/// The only version there is.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    v: u32,
    entries: BTreeMap<Candidate, Vec<String>>,
}

impl Acl {
    /// The text that a store keeps: `{"v":1,"entries":{"user/alice":["owner"]}}`.
    pub fn to_text(&self) -> String {
        let entries = self
            .entries()
            .map(|(candidate, levels)| {
                (candidate.clone(), levels.iter().map(|level| level.as_str().to_owned()).collect())
            })
            .collect();
        // Serializing maps with text keys into memory has no failure; an empty text would not parse back.
        serde_json::to_string(&Stored { v: VERSION, entries }).unwrap_or_default()
    }

    /// Reads a stored text. A text that is not whole is an error, which callers treat as a refusal; it never
    /// becomes an empty list.
    pub fn from_text(text: &str) -> Result<Self, AclError> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(AclError::TooLong(MAX_TEXT_BYTES));
        }
        let stored: Stored = serde_json::from_str(text).map_err(|e| AclError::Malformed(e.to_string()))?;
        if stored.v != VERSION {
            return Err(AclError::Malformed(format!(
                "version {} is newer than this program reads",
                stored.v
            )));
        }
        let mut acl = Self::new();
        for (candidate, words) in stored.entries {
            let levels: Levels = words.iter().map(|word| word.parse::<Level>()).collect::<Result<_, _>>()?;
            acl.grant(&candidate, &levels.iter().collect::<Vec<_>>())?;
        }
        Ok(acl)
    }

    /// The list's version for compare-and-set: a digest of its text.
    pub fn etag(&self) -> String {
        let digest = blake3::hash(self.to_text().as_bytes());
        hex::encode(&digest.as_bytes()[..16])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_stored_and_read() {
        let mut acl = Acl::owned_by(&Candidate::user("alice").unwrap());
        acl.grant(&Candidate::agent("a1").unwrap(), &[Level::Write, Level::Read]).unwrap();
        let text = acl.to_text();
        assert_eq!(text, r#"{"v":1,"entries":{"agent/a1":["read","write"],"user/alice":["owner"]}}"#);
        assert_eq!(Acl::from_text(&text).unwrap(), acl);
        assert_eq!(Acl::from_text(&Acl::new().to_text()).unwrap(), Acl::new());
    }

    #[test]
    fn a_broken_text_never_becomes_an_empty_list() {
        for text in [
            "",
            "{}",
            "null",
            r#"{"v":2,"entries":{}}"#,
            r#"{"v":1,"entries":{"user/a":[]}}"#,
            r#"{"v":1,"entries":{"user/a":["all"]}}"#,
            r#"{"v":1,"entries":{"robot/a":["read"]}}"#,
            r#"{"v":1,"entries":{"public/public":["owner"]}}"#,
            r#"{"v":1,"entries":{},"x":1}"#,
            r#"{"v":1,"entries":{"user/a":["read"]}"#,
        ] {
            assert!(Acl::from_text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_etag_follows_the_content() {
        let alice = Acl::owned_by(&Candidate::user("alice").unwrap());
        let mut other = alice.clone();
        assert_eq!(alice.etag(), other.etag());
        other.grant(&Candidate::user("bob").unwrap(), &[Level::Read]).unwrap();
        assert_ne!(alice.etag(), other.etag());
    }
}
