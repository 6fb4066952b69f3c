//! Where a value of a memory lies among the agent's cache entries.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest as _, Sha256};

use crate::context::Call;

/// What stands as it is in a segment of a key. Neither `.` nor `~` does: a segment is never `.` or `..`, and what
/// begins with `~` was made here.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');
/// Longer segments are replaced by a digest, so that keys stay within the cache's limit.
const LONGEST_SEGMENT: usize = 200;

/// Who sees a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// One run.
    Request,
    /// The runs of one session.
    Session,
    /// All runs of the agent.
    Agent,
}

impl Scope {
    /// From what only one run sees to what all see.
    pub const NARROWEST_FIRST: [Self; 3] = [Self::Request, Self::Session, Self::Agent];

    /// Reads the setting; anything but `request` and `session` is the agent's.
    pub fn parse(setting: &str) -> Self {
        match setting {
            "request" => Self::Request,
            "session" => Self::Session,
            _ => Self::Agent,
        }
    }

    /// The scopes that are looked at before this one.
    pub fn narrower(self) -> impl Iterator<Item = Self> {
        Self::NARROWEST_FIRST.into_iter().take_while(move |scope| *scope != self)
    }
}

/// Where a value lies.
#[derive(Debug)]
pub(super) struct Place(String);

impl Place {
    /// The place of a value for this run. Different names, keys and scopes never have one place.
    pub fn of(call: Call<'_>, scope: Scope, name: &str, key: &str) -> Self {
        let (name, key) = (segment(name), segment(key));
        Self(match scope {
            Scope::Request => format!("memory/request/{}/{name}/{key}", segment(call.context.run_id())),
            Scope::Session => format!("memory/session/{}/{name}/{key}", segment(call.context.session_id())),
            Scope::Agent => format!("memory/agent/{name}/{key}"),
        })
    }

    /// Below the agent's entries.
    pub fn key(&self) -> &str {
        &self.0
    }
}

/// One segment for any text.
fn segment(text: &str) -> String {
    if text.is_empty() {
        return "~".to_owned();
    }
    let plain = utf8_percent_encode(text, PLAIN).to_string();
    if plain.len() <= LONGEST_SEGMENT {
        return plain;
    }
    format!("~{}", hex::encode(Sha256::digest(text.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_texts_are_one_segment() {
        let long = "k".repeat(300);
        let texts = ["", "~", ".", "..", "a/b", "a%2Fb", "a b", "é", &long, &segment(&long)];
        let mut segments: Vec<String> = texts.iter().map(|text| segment(text)).collect();
        assert!(segments.iter().all(|segment| !segment.contains('/') && !segment.contains('.')));
        assert!(segments.iter().all(|segment| (1..=LONGEST_SEGMENT).contains(&segment.len())));
        segments.sort();
        segments.dedup();
        assert_eq!(segments.len(), texts.len());
    }

    #[test]
    fn unknown_scopes_are_the_agents() {
        assert_eq!(Scope::parse("session"), Scope::Session);
        assert_eq!(["", "ttl", "global"].map(Scope::parse), [Scope::Agent; 3]);
        assert_eq!(Scope::Agent.narrower().collect::<Vec<_>>(), [Scope::Request, Scope::Session]);
        assert_eq!(Scope::Request.narrower().count(), 0);
    }
}
