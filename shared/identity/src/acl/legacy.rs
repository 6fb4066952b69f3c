//! The reference's text form of access lists, `h:xxh3|u:63edb0950fc8c927/o`, for import and export only.
//!
//! Its label `xxh3` in fact stands for XXH64 with seed 0, written in hexadecimal without padding. Ids cannot be
//! read back from that, so an import names the Candidates it knows and is told what is left. Nothing of ours
//! hashes ids (ruling 5; hole H15: such keys can be enumerated and made to collide).

use std::collections::{BTreeMap, HashMap};

use twox_hash::XxHash64;

use super::{Acl, AclError, Level, Levels, MAX_ENTRIES};
use crate::candidate::{Candidate, CandidateError, Role, is_valid_id};

/// The longest text that is read.
pub const MAX_LEGACY_BYTES: usize = 64 * 1024;

/// How ids are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// Hashed; labelled `xxh3`.
    Xxh3,
    /// As they are; labelled `none`.
    Plain,
}

/// What is wrong with a text. A text that is wrong is refused whole; it never becomes an empty list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LegacyError {
    /// Longer than anything the reference wrote.
    #[error("the legacy access list is longer than {MAX_LEGACY_BYTES} bytes")]
    TooLong,
    /// More entries than a list may have.
    #[error("the legacy access list has more than {MAX_ENTRIES} entries")]
    TooManyEntries,
    /// Another label.
    #[error("hash algorithm {0} not supported: expected xxh3 or none")]
    Algorithm(String),
    /// Not of the grammar.
    #[error("the legacy access list is malformed at {0:?}")]
    Malformed(String),
    /// An entry that our lists cannot hold.
    #[error(transparent)]
    Acl(#[from] AclError),
    /// An id that our lists cannot hold.
    #[error(transparent)]
    Candidate(#[from] CandidateError),
}

/// A text that was read, with its keys as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegacyAcl {
    /// How the keys are written.
    pub algorithm: Algorithm,
    entries: BTreeMap<(Role, String), Levels>,
}

/// What an import made of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The entries whose Candidates are known.
    pub acl: Acl,
    /// The entries whose keys nobody known has; they give nothing.
    pub unknown: Vec<(Role, String, Levels)>,
}

impl LegacyAcl {
    /// Reads a text strictly. Entries of one key are merged; a public entry keeps `read` alone.
    pub fn parse(text: &str) -> Result<Self, LegacyError> {
        if text.len() > MAX_LEGACY_BYTES {
            return Err(LegacyError::TooLong);
        }
        let (head, sections) = match text.split_once('|') {
            Some((head, sections)) => (head, Some(sections)),
            None => (text, None),
        };
        let algorithm = match head.strip_prefix("h:") {
            Some("xxh3") => Algorithm::Xxh3,
            Some("none") => Algorithm::Plain,
            Some(other) => return Err(LegacyError::Algorithm(other.to_owned())),
            None if head.is_empty() => Algorithm::Xxh3,
            None => return Err(LegacyError::Malformed(head.to_owned())),
        };
        let mut read = Self { algorithm, entries: BTreeMap::new() };
        for section in sections.into_iter().flat_map(|sections| sections.split('|')) {
            read.section(section)?;
        }
        Ok(read)
    }

    fn section(&mut self, section: &str) -> Result<(), LegacyError> {
        let malformed = |text: &str| LegacyError::Malformed(text.to_owned());
        let (role, entries) = section.split_once(':').ok_or_else(|| malformed(section))?;
        let role = match role {
            "u" => Role::User,
            "a" => Role::Agent,
            "t" => Role::Team,
            "p" => Role::Public,
            _ => return Err(malformed(section)),
        };
        for entry in entries.split(',') {
            let (key, letters) = entry.split_once('/').ok_or_else(|| malformed(entry))?;
            if !is_key(self.algorithm, key) {
                return Err(malformed(entry));
            }
            let levels: Levels = letters
                .chars()
                .map(|letter| level_of(letter).ok_or_else(|| malformed(entry)))
                .collect::<Result<_, _>>()?;
            let known = self.entries.entry((role, key.to_owned())).or_default();
            *known = known.union(levels);
            if self.entries.len() > MAX_ENTRIES {
                return Err(LegacyError::TooManyEntries);
            }
        }
        Ok(())
    }

    /// Turns the text into a list of ours. Only Candidates among `known` can be recognised by a hashed key; the
    /// public always is. Ids can be made to share a key (H15): where two of those known do, nobody is recognised
    /// by it.
    pub fn import<'c>(
        &self,
        known: impl IntoIterator<Item = &'c Candidate>,
    ) -> Result<Imported, LegacyError> {
        let mut by_key: HashMap<(Role, String), Option<Candidate>> = HashMap::new();
        if self.algorithm == Algorithm::Xxh3 {
            for candidate in known.into_iter().cloned().chain([Candidate::public()]) {
                let key = (candidate.role(), xxh3_key(candidate.id()));
                let held = by_key.entry(key).or_insert_with(|| Some(candidate.clone()));
                if held.as_ref() != Some(&candidate) {
                    *held = None;
                }
            }
        }
        let mut imported = Imported { acl: Acl::new(), unknown: Vec::new() };
        for ((role, key), levels) in &self.entries {
            let candidate = match self.algorithm {
                Algorithm::Plain => Some(Candidate::new(*role, key)?),
                Algorithm::Xxh3 => by_key.get(&(*role, key.clone())).cloned().flatten(),
            };
            let Some(candidate) = candidate else {
                imported.unknown.push((*role, key.clone(), *levels));
                continue;
            };
            let levels: Vec<Level> =
                levels.iter().filter(|level| *role != Role::Public || *level == Level::Read).collect();
            // An entry without a level gave nothing there and gives nothing here.
            if !levels.is_empty() {
                imported.acl.grant(&candidate, &levels)?;
            }
        }
        Ok(imported)
    }
}

/// Writes a list in the legacy form: sections u, a, t, p, keys ascending, levels in the order n, r, w, o.
pub fn export(acl: &Acl, algorithm: Algorithm) -> String {
    let mut text = String::from(match algorithm {
        Algorithm::Xxh3 => "h:xxh3",
        Algorithm::Plain => "h:none",
    });
    for (role, letter) in [(Role::User, 'u'), (Role::Agent, 'a'), (Role::Team, 't'), (Role::Public, 'p')] {
        let entries: BTreeMap<String, Levels> = acl
            .entries()
            .filter(|(candidate, _)| candidate.role() == role)
            .map(|(candidate, levels)| {
                let key = match algorithm {
                    Algorithm::Xxh3 => xxh3_key(candidate.id()),
                    Algorithm::Plain => candidate.id().to_owned(),
                };
                (key, levels)
            })
            .collect();
        let mut separator = format!("|{letter}:");
        for (key, levels) in entries {
            text.push_str(&separator);
            text.push_str(&key);
            text.push('/');
            text.extend(levels.iter().map(letter_of));
            separator = ",".to_owned();
        }
    }
    text
}

/// The key of an id under the label `xxh3`.
pub fn xxh3_key(id: &str) -> String {
    format!("{:x}", XxHash64::oneshot(0, id.as_bytes()))
}

fn is_key(algorithm: Algorithm, key: &str) -> bool {
    match algorithm {
        Algorithm::Xxh3 => {
            (1..=16).contains(&key.len()) && key.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        }
        Algorithm::Plain => is_valid_id(key),
    }
}

fn level_of(letter: char) -> Option<Level> {
    Level::ALL.into_iter().find(|level| letter_of(*level) == letter)
}

fn letter_of(level: Level) -> char {
    match level {
        Level::None => 'n',
        Level::Read => 'r',
        Level::Write => 'w',
        Level::Owner => 'o',
    }
}

#[cfg(test)]
#[path = "legacy_tests.rs"]
mod tests;
