//! Who may do what with a resource.

pub mod legacy;
mod level;
mod message;
mod text;

use std::collections::BTreeMap;

pub use level::{Level, Levels};

use crate::candidate::{Candidate, Role};

/// The most entries of one list.
pub const MAX_ENTRIES: usize = 4096;

/// The longest text of one list.
pub const MAX_TEXT_BYTES: usize = 512 * 1024;

/// What is wrong with a list or a change to it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AclError {
    /// An entry without levels. The reference granted a request for no level to everybody listed (hole H4).
    #[error("entry of {0} gives no level: name at least one, or revoke the entry")]
    NoLevels(Candidate),
    /// The public can only read.
    #[error("the public can only be given read, not {0}")]
    PublicBeyondRead(Levels),
    /// Somebody must own what is guarded.
    #[error("{0} is the last owner: give owner to another candidate first")]
    LastOwner(Candidate),
    /// A list nobody owns.
    #[error("the access list names no owner: add one entry with owner")]
    NoOwner,
    /// Two entries for one Candidate.
    #[error("two entries for {0}: merge them")]
    Duplicate(Candidate),
    /// Too many entries.
    #[error("an access list has {MAX_ENTRIES} entries at most: grant to teams instead")]
    TooManyEntries,
    /// The text is too long.
    #[error("the text of an access list has {0} bytes at most")]
    TooLong(usize),
    /// An entry does not name a Candidate.
    #[error(transparent)]
    Candidate(#[from] crate::candidate::CandidateError),
    /// A level is unknown.
    #[error("unknown level {0:?}: use none, read, write or owner")]
    Level(String),
    /// A stored text is not what this crate wrote.
    #[error("the stored access list is malformed: {0}")]
    Malformed(String),
}

/// An access list: at most one entry per Candidate, each with at least one level. Ids are plain (ruling 5, hole
/// H15).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Acl {
    entries: BTreeMap<Candidate, Levels>,
}

impl Acl {
    /// A list that gives nothing to anybody.
    pub fn new() -> Self {
        Self::default()
    }

    /// A list with one owner.
    pub fn owned_by(owner: &Candidate) -> Self {
        let mut entries = BTreeMap::new();
        if owner.role() != Role::Public {
            entries.insert(owner.clone(), Levels::of(&[Level::Owner]));
        }
        Self { entries }
    }

    /// Adds levels to a Candidate's entry. Granting twice is the same as once.
    pub fn grant(&mut self, candidate: &Candidate, levels: &[Level]) -> Result<(), AclError> {
        let levels = Levels::of(levels);
        if levels.is_empty() {
            return Err(AclError::NoLevels(candidate.clone()));
        }
        if candidate.role() == Role::Public && levels != Levels::of(&[Level::Read]) {
            return Err(AclError::PublicBeyondRead(levels));
        }
        if self.entries.len() >= MAX_ENTRIES && !self.entries.contains_key(candidate) {
            return Err(AclError::TooManyEntries);
        }
        let entry = self.entries.entry(candidate.clone()).or_default();
        *entry = entry.union(levels);
        Ok(())
    }

    /// Removes a Candidate's entry and says which levels it gave. The last owner stays (hole H2: the reference
    /// could not revoke at all).
    pub fn revoke(&mut self, candidate: &Candidate) -> Result<Levels, AclError> {
        let had = self.levels(candidate);
        if had.contains(Level::Owner) && self.owners().count() == 1 {
            return Err(AclError::LastOwner(candidate.clone()));
        }
        self.entries.remove(candidate);
        Ok(had)
    }

    /// The levels of a Candidate's own entry; teams and the public are not looked at.
    pub fn levels(&self, candidate: &Candidate) -> Levels {
        self.entries.get(candidate).copied().unwrap_or_default()
    }

    /// All entries, ordered by Candidate.
    pub fn entries(&self) -> impl Iterator<Item = (&Candidate, Levels)> {
        self.entries.iter().map(|(candidate, levels)| (candidate, *levels))
    }

    /// Those whose own entry gives owner.
    pub fn owners(&self) -> impl Iterator<Item = &Candidate> {
        self.entries().filter(|(_, levels)| levels.contains(Level::Owner)).map(|(candidate, _)| candidate)
    }

    /// Refuses a list that nobody owns; for handlers that replace a list.
    pub fn require_owner(&self) -> Result<(), AclError> {
        match self.owners().next() {
            Some(_) => Ok(()),
            None => Err(AclError::NoOwner),
        }
    }

    /// Whether the list gives nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: &str) -> Candidate {
        Candidate::user(id).unwrap()
    }

    #[test]
    fn h2_rights_can_be_revoked() {
        let mut acl = Acl::owned_by(&user("alice"));
        acl.grant(&user("bob"), &[Level::Read, Level::Write]).unwrap();
        acl.grant(&Candidate::public(), &[Level::Read]).unwrap();
        assert_eq!(acl.revoke(&user("bob")).unwrap(), Levels::of(&[Level::Read, Level::Write]));
        assert_eq!(acl.revoke(&Candidate::public()).unwrap(), Levels::of(&[Level::Read]));
        assert_eq!(acl, Acl::owned_by(&user("alice")));
    }

    #[test]
    fn the_last_owner_stays() {
        let mut acl = Acl::owned_by(&user("alice"));
        assert_eq!(acl.revoke(&user("alice")), Err(AclError::LastOwner(user("alice"))));
        acl.grant(&user("bob"), &[Level::Owner]).unwrap();
        acl.revoke(&user("alice")).unwrap();
        assert_eq!(acl.owners().collect::<Vec<_>>(), [&user("bob")]);
        assert_eq!(Acl::new().require_owner(), Err(AclError::NoOwner));
    }

    #[test]
    fn h3_public_can_only_read() {
        let mut acl = Acl::new();
        for level in [Level::Write, Level::Owner, Level::None] {
            assert!(matches!(acl.grant(&Candidate::public(), &[level]), Err(AclError::PublicBeyondRead(_))));
        }
        assert!(acl.grant(&Candidate::public(), &[Level::Read, Level::Write]).is_err());
        assert!(Acl::owned_by(&Candidate::public()).is_empty());
    }

    #[test]
    fn h4_an_entry_needs_a_level() {
        assert_eq!(Acl::new().grant(&user("bob"), &[]), Err(AclError::NoLevels(user("bob"))));
    }

    #[test]
    fn granting_twice_is_granting_once() {
        let mut once = Acl::new();
        once.grant(&user("bob"), &[Level::Read]).unwrap();
        let mut twice = once.clone();
        twice.grant(&user("bob"), &[Level::Read]).unwrap();
        assert_eq!(once, twice);
        assert_eq!(once.to_text(), twice.to_text());
    }

    #[test]
    fn a_list_is_bounded() {
        let mut acl = Acl::new();
        for n in 0..MAX_ENTRIES {
            acl.grant(&user(&format!("u{n}")), &[Level::Read]).unwrap();
        }
        assert_eq!(acl.grant(&user("one-more"), &[Level::Read]), Err(AclError::TooManyEntries));
        acl.grant(&user("u0"), &[Level::Write]).unwrap();
        assert_eq!(Acl::from_text(&acl.to_text()).unwrap(), acl);
    }
}
