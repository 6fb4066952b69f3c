//! Access lists in messages.

use sre_proto::types::v1 as proto;

use super::{Acl, AclError, Level, Levels};
use crate::candidate::Candidate;

impl From<&Acl> for proto::Acl {
    fn from(acl: &Acl) -> Self {
        let entries = acl
            .entries()
            .map(|(candidate, levels)| proto::AclEntry {
                candidate: Some(candidate.into()),
                levels: levels.iter().map(|level| proto::Level::from(level).into()).collect(),
            })
            .collect();
        Self { entries, etag: acl.etag() }
    }
}

impl TryFrom<&proto::Acl> for Acl {
    type Error = AclError;

    /// Refuses what a list cannot hold. The etag is for the handler to compare.
    fn try_from(message: &proto::Acl) -> Result<Self, Self::Error> {
        let mut acl = Self::new();
        for entry in &message.entries {
            let candidate = entry.candidate.clone().unwrap_or_default();
            let candidate = Candidate::try_from(&candidate)?;
            let levels: Levels =
                entry.levels.iter().map(|number| Level::try_from(*number)).collect::<Result<_, _>>()?;
            if acl.entries.contains_key(&candidate) {
                return Err(AclError::Duplicate(candidate));
            }
            acl.grant(&candidate, &levels.iter().collect::<Vec<_>>())?;
        }
        Ok(acl)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_goes_both_ways() {
        let mut acl = Acl::owned_by(&Candidate::user("alice").unwrap());
        acl.grant(&Candidate::team("t").unwrap(), &[Level::Read, Level::Write]).unwrap();
        let message = proto::Acl::from(&acl);
        assert_eq!(message.etag, acl.etag());
        assert_eq!(Acl::try_from(&message).unwrap(), acl);
    }

    #[test]
    fn bad_entries_are_refused() {
        let entry = |role, id: &str, levels: &[i32]| proto::AclEntry {
            candidate: Some(proto::Candidate { role, id: id.into() }),
            levels: levels.to_vec(),
        };
        let cases = [
            vec![entry(2, "a", &[])],
            vec![entry(2, "a", &[0])],
            vec![entry(2, "a/b", &[2])],
            vec![entry(0, "a", &[2])],
            vec![entry(4, "public", &[3])],
            vec![entry(2, "a", &[2]), entry(2, "a", &[3])],
            vec![proto::AclEntry { candidate: None, levels: vec![2] }],
        ];
        for entries in cases {
            let message = proto::Acl { entries, etag: String::new() };
            assert!(Acl::try_from(&message).is_err(), "{message:?}");
        }
    }
}
