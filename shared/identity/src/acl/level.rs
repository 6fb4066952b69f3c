//! Levels and sets of them.

use std::fmt;
use std::str::FromStr;

use sre_proto::AccessLevel;
use sre_proto::types::v1 as proto;

use super::AclError;

/// What an entry gives. `owner` implies `read` and `write`; `write` does not imply `read`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// An explicit refusal for this Candidate; only an owner entry of its own wins over it.
    None,
    /// See.
    Read,
    /// Change.
    Write,
    /// Everything, and changing the list itself.
    Owner,
}

impl Level {
    /// All levels, in the order in which texts list them.
    pub const ALL: [Self; 4] = [Self::None, Self::Read, Self::Write, Self::Owner];

    /// The level's word in texts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Read => "read",
            Self::Write => "write",
            Self::Owner => "owner",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Level {
    type Err = AclError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|level| level.as_str() == text)
            .ok_or_else(|| AclError::Level(text.to_owned()))
    }
}

impl From<AccessLevel> for Level {
    fn from(level: AccessLevel) -> Self {
        match level {
            AccessLevel::Read => Self::Read,
            AccessLevel::Write => Self::Write,
            AccessLevel::Owner => Self::Owner,
        }
    }
}

impl From<Level> for proto::Level {
    fn from(level: Level) -> Self {
        match level {
            Level::None => Self::None,
            Level::Read => Self::Read,
            Level::Write => Self::Write,
            Level::Owner => Self::Owner,
        }
    }
}

impl TryFrom<i32> for Level {
    type Error = AclError;

    /// From a message's field.
    fn try_from(number: i32) -> Result<Self, Self::Error> {
        match proto::Level::try_from(number) {
            Ok(proto::Level::None) => Ok(Self::None),
            Ok(proto::Level::Read) => Ok(Self::Read),
            Ok(proto::Level::Write) => Ok(Self::Write),
            Ok(proto::Level::Owner) => Ok(Self::Owner),
            Ok(proto::Level::Unspecified) | Err(_) => Err(AclError::Level(number.to_string())),
        }
    }
}

/// A set of levels. A set, not a list: the reference appended and grew duplicates, and spread the text "read"
/// into the levels r, e, a and d (hole H3).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Levels(u8);

impl Levels {
    /// No level.
    pub const EMPTY: Self = Self(0);

    /// Everything that can be granted: read, write and owner.
    pub const FULL: Self = Self(1 << Level::Read as u8 | 1 << Level::Write as u8 | 1 << Level::Owner as u8);

    /// The set of these.
    pub fn of(levels: &[Level]) -> Self {
        Self(levels.iter().fold(0, |bits, level| bits | level.bit()))
    }

    /// Whether the level itself is in the set; nothing is implied.
    pub fn contains(self, level: Level) -> bool {
        self.0 & level.bit() != 0
    }

    /// Whether all of `other` is in the set; nothing is implied.
    pub fn contains_all(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both sets.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether there is no level.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The levels, in the order none, read, write, owner.
    pub fn iter(self) -> impl Iterator<Item = Level> {
        Level::ALL.into_iter().filter(move |level| self.contains(*level))
    }

    /// Whether the set allows the level: it holds it, or owner, which implies read and write.
    pub fn allows(self, level: Level) -> bool {
        match level {
            Level::None => false,
            level => self.contains(level) || self.contains(Level::Owner),
        }
    }
}

impl FromIterator<Level> for Levels {
    fn from_iter<I: IntoIterator<Item = Level>>(levels: I) -> Self {
        Self(levels.into_iter().fold(0, |bits, level| bits | level.bit()))
    }
}

impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, level) in self.iter().enumerate() {
            if n > 0 {
                f.write_str("+")?;
            }
            f.write_str(level.as_str())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Levels({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h3_levels_are_typed() {
        assert!("r".parse::<Level>().is_err());
        assert!("READ".parse::<Level>().is_err());
        assert_eq!("read".parse::<Level>().unwrap(), Level::Read);
        assert!(Level::try_from(0).is_err());
        assert!(Level::try_from(77).is_err());
    }

    #[test]
    fn a_set_shows_its_levels_in_order() {
        let set = Levels::of(&[Level::Owner, Level::Read, Level::None, Level::Read]);
        assert_eq!(set.to_string(), "none+read+owner");
    }

    #[test]
    fn owner_implies_and_write_does_not() {
        assert!(Levels::of(&[Level::Owner]).allows(Level::Read));
        assert!(!Levels::of(&[Level::Write]).allows(Level::Read));
        assert!(!Levels::FULL.allows(Level::None));
    }
}
