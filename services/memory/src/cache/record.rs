//! A record of the cache, and what can be done to it. The rules are here once; backends that cannot hold a
//! record still while they are applied say them again in their own language, and the contract suite compares.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use sre_identity::acl::AclError;
use sre_identity::acl::legacy::LegacyAcl;
use sre_identity::{Acl, Candidate};

use super::clock::Millis;

/// What a writer notes of an entry.
pub type Notes = BTreeMap<String, String>;

/// Version of a value: fresh with every change of it, never used again, and not to be guessed (H36).
pub type Etag = u128;

/// What the text of a list of the reference's begins with; none of ours does.
const LEGACY: &str = "legacy ";

/// An access list as backends keep it: a text that means nothing to them. Read once, and kept with the record.
#[derive(Debug)]
pub struct Guard {
    text: Box<str>,
    acl: OnceLock<Result<Acl, AclError>>,
}

impl Guard {
    /// A stored text.
    pub fn from_text(text: impl Into<Box<str>>) -> Arc<Self> {
        Arc::new(Self { text: text.into(), acl: OnceLock::new() })
    }

    /// A list.
    pub fn of(acl: Acl) -> Arc<Self> {
        let text = acl.to_text().into();
        Arc::new(Self { text, acl: OnceLock::from(Ok(acl)) })
    }

    /// A list in the reference's text form, whose entries are told by hashes.
    pub fn from_legacy_text(text: &str) -> Arc<Self> {
        Self::from_text(format!("{LEGACY}{text}"))
    }

    /// Whether it is the reference's: it can be decided by, and not be kept.
    pub fn is_legacy(&self) -> bool {
        self.text.starts_with(LEGACY)
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The list. Of one of the reference's, what it gives to those `known`.
    pub fn acl(&self, known: &[Candidate]) -> Result<Cow<'_, Acl>, String> {
        if let Some(legacy) = self.text.strip_prefix(LEGACY) {
            let imported = LegacyAcl::parse(legacy).and_then(|list| list.import(known));
            return imported.map(|imported| Cow::Owned(imported.acl)).map_err(|error| error.to_string());
        }
        let acl = self.acl.get_or_init(|| Acl::from_text(&self.text));
        acl.as_ref().map(Cow::Borrowed).map_err(ToString::to_string)
    }
}

impl PartialEq for Guard {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Guard {}

/// All of a record but its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Version of the value.
    pub etag: Etag,
    /// When it ends; none where it does not.
    pub expires_ms: Option<Millis>,
    /// Bytes of the value.
    pub size_bytes: u64,
    /// What its writer noted.
    pub notes: Arc<Notes>,
    /// Its access list.
    pub guard: Arc<Guard>,
}

/// A record: value, version, end, notes and access list come and go together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// All but the value.
    pub head: Head,
    /// The value.
    pub value: Bytes,
}

impl Head {
    /// Whether it still exists.
    pub fn is_live(&self, now: Millis) -> bool {
        self.expires_ms.is_none_or(|expires| now < expires)
    }

    /// What is left, in milliseconds; -1 for no end.
    pub fn ttl_ms(&self, now: Millis) -> i64 {
        self.expires_ms.map_or(-1, |expires| expires.saturating_sub(now).max(0))
    }
}

/// Which access list a decision was made by; none where there was no entry and the name decided.
///
/// Deciding asks Account, so it cannot be part of a backend's step. The step checks instead that the list is
/// still the one that was decided by, so that nothing lies between check and act (H33).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen(pub Option<Arc<Guard>>);

impl Seen {
    /// Whether the decision still stands.
    pub fn holds(&self, current: Option<&Head>) -> bool {
        match (&self.0, current) {
            (None, None) => true,
            (Some(seen), Some(current)) => Arc::ptr_eq(seen, &current.guard) || *seen == current.guard,
            _ => false,
        }
    }
}

/// When a set applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Always.
    Always,
    /// Where there is none.
    IfAbsent,
    /// Where there is one.
    IfPresent,
    /// Over this version.
    IfMatch(Etag),
}

impl Condition {
    /// Whether it holds over what is there.
    pub fn holds(self, current: Option<Etag>) -> bool {
        match self {
            Self::Always => true,
            Self::IfAbsent => current.is_none(),
            Self::IfPresent => current.is_some(),
            Self::IfMatch(wanted) => current == Some(wanted),
        }
    }
}

/// What to do with an entry.
#[derive(Debug, Clone)]
pub enum Change {
    /// Set the value, its end and its notes. The list of an entry that is there stays.
    Set {
        /// The value.
        value: Bytes,
        /// Its version.
        etag: Etag,
        /// When it ends.
        expires_ms: Option<Millis>,
        /// Its notes.
        notes: Arc<Notes>,
        /// The list of a new entry.
        guard: Arc<Guard>,
        /// When the set applies.
        condition: Condition,
    },
    /// Delete the entry.
    Delete,
    /// Delete the entry and give its value.
    Take,
    /// Change the end.
    Touch {
        /// When it ends.
        expires_ms: Option<Millis>,
    },
    /// Add to a whole number, 0 where there is none. An entry that is there keeps its end, list and notes.
    Increment {
        /// What to add.
        delta: i64,
        /// Version of the sum.
        etag: Etag,
        /// When a new entry ends.
        expires_ms: Option<Millis>,
        /// The list of a new entry.
        guard: Arc<Guard>,
    },
    /// Replace the access list.
    SetGuard(Arc<Guard>),
    /// Replace the notes, if they are still `from`.
    SetNotes {
        /// The notes as they were read.
        from: Arc<Notes>,
        /// What they become.
        to: Arc<Notes>,
    },
}

/// What came of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was made. A set gives no more than this, nor do the changes of a part.
    Done,
    /// The access list, or what else was read before, is not what is there: decide again.
    Moved,
    /// There is no such entry.
    Absent,
    /// The condition does not hold.
    Unheld,
    /// The sum.
    Sum(i64),
    /// The value is not a whole number.
    NoNumber,
    /// The sum does not fit into 64 bits.
    Overflow,
    /// What was taken.
    Taken(Record),
}

/// What a backend does to make a change, where it applies the rules of this file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Keep,
    /// Put this record in the place of what is there.
    Put(Record),
    /// Remove what is there.
    Remove,
}

/// Applies a change to what is there, which is live.
pub fn apply(current: Option<&Record>, seen: &Seen, change: Change) -> (Step, Outcome) {
    if !seen.holds(current.map(|record| &record.head)) {
        return (Step::Keep, Outcome::Moved);
    }
    match (change, current) {
        (Change::Set { value, etag, expires_ms, notes, guard, condition }, current) => {
            if !condition.holds(current.map(|record| record.head.etag)) {
                return (Step::Keep, Outcome::Unheld);
            }
            let guard = current.map_or(guard, |record| Arc::clone(&record.head.guard));
            let head = Head { etag, expires_ms, size_bytes: value.len() as u64, notes, guard };
            (Step::Put(Record { head, value }), Outcome::Done)
        }
        (Change::Increment { delta, etag, expires_ms, guard }, current) => {
            let Some(before) = current.map_or(Some(0), |record| number(&record.value)) else {
                return (Step::Keep, Outcome::NoNumber);
            };
            let Some(sum) = before.checked_add(delta) else { return (Step::Keep, Outcome::Overflow) };
            let value = Bytes::from(sum.to_string());
            let size_bytes = value.len() as u64;
            let head = match current {
                Some(record) => Head { etag, size_bytes, ..record.head.clone() },
                None => Head { etag, expires_ms, size_bytes, notes: Arc::default(), guard },
            };
            (Step::Put(Record { head, value }), Outcome::Sum(sum))
        }
        (_, None) => (Step::Keep, Outcome::Absent),
        (Change::Delete, Some(_)) => (Step::Remove, Outcome::Done),
        (Change::Take, Some(record)) => (Step::Remove, Outcome::Taken(record.clone())),
        (Change::Touch { expires_ms }, Some(record)) => put(record, |head| head.expires_ms = expires_ms),
        (Change::SetGuard(guard), Some(record)) => put(record, |head| head.guard = guard),
        (Change::SetNotes { from, to }, Some(record)) => {
            if record.head.notes != from {
                return (Step::Keep, Outcome::Moved);
            }
            put(record, |head| head.notes = to)
        }
    }
}

fn put(record: &Record, edit: impl FnOnce(&mut Head)) -> (Step, Outcome) {
    let mut changed = record.clone();
    edit(&mut changed.head);
    (Step::Put(changed), Outcome::Done)
}

/// A whole number as this service writes it: no sign before a positive one, no leading zeros, no blanks.
pub fn number(value: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(value).ok()?;
    text.parse::<i64>().ok().filter(|number| number.to_string() == text)
}
