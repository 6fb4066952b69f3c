//! Between messages and the domain.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sre_identity::{Acl, Candidate, Level};
use sre_proto::error::invalid_argument;
use sre_proto::memory::v1 as pb;
use sre_proto::types::v1 as types;
use sre_service::Granted;
use tonic::Status;

use super::Limits;
use super::clock::{Millis, millis};
use super::record::{Condition, Etag, Head, Notes};

/// The most notes of an entry,
const MAX_NOTES: usize = 64;
/// and their bytes.
const MAX_NOTE_BYTES: usize = 16 * 1024;

/// What a writer says of an entry's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// It has no end.
    Endless,
    /// So long.
    For(Duration),
}

impl Life {
    pub(super) fn of(ttl_ms: Option<i64>, limits: &Limits) -> Result<Self, Status> {
        match ttl_ms {
            None => Ok(Self::For(limits.default_ttl)),
            Some(-1) => Ok(Self::Endless),
            Some(ttl) if ttl > 0 && ttl <= millis(limits.max_ttl) => {
                Ok(Self::For(Duration::from_millis(ttl.unsigned_abs())))
            }
            Some(_) => {
                let words = format!("must be 1 to {}, or -1 for no end", millis(limits.max_ttl));
                Err(invalid_argument("ttl_ms", words))
            }
        }
    }

    pub(super) fn from(self, now: Millis) -> Option<Millis> {
        match self {
            Self::Endless => None,
            Self::For(life) => Some(now.saturating_add(millis(life))),
        }
    }
}

pub(super) fn condition(request: &pb::SetEntryRequest) -> Result<Condition, Status> {
    Ok(match request.condition() {
        pb::SetCondition::Unspecified => Condition::Always,
        pb::SetCondition::IfAbsent => Condition::IfAbsent,
        pb::SetCondition::IfPresent => Condition::IfPresent,
        pb::SetCondition::IfMatch => {
            let parsed = Etag::from_str_radix(&request.etag, 16).ok().filter(|_| request.etag.len() == 32);
            let none_of_ours = || invalid_argument("etag", "is none that this service gave");
            Condition::IfMatch(parsed.ok_or_else(none_of_ours)?)
        }
    })
}

pub(super) fn etag(etag: Etag) -> String {
    format!("{etag:032x}")
}

/// Notes as somebody sends them.
pub(super) fn notes(sent: &HashMap<String, String>) -> Result<Notes, Status> {
    let notes: Notes = sent.iter().map(|(name, note)| (name.clone(), note.clone())).collect();
    for name in notes.keys() {
        let lower = name.to_ascii_lowercase();
        if name.is_empty() || name.len() > 256 || name.chars().any(char::is_control) {
            return Err(invalid_argument("metadata", "a name has 1 to 256 bytes and no control characters"));
        }
        // These words were access lists once (the reference), and shall never pass for them.
        if lower == "acl" || lower == "x-amz-meta-acl" || lower.starts_with("sre-") {
            return Err(invalid_argument("metadata", format!("{name} is reserved: take another name")));
        }
    }
    check_size(&notes)?;
    Ok(notes)
}

/// Notes after a change of some.
pub(super) fn edited(from: &Notes, set: Notes, remove: &[String]) -> Result<Notes, Status> {
    let mut notes = from.clone();
    for name in remove {
        notes.remove(name);
    }
    notes.extend(set);
    check_size(&notes)?;
    Ok(notes)
}

fn check_size(notes: &Notes) -> Result<(), Status> {
    let bytes: usize = notes.iter().map(|(name, note)| name.len() + note.len()).sum();
    if notes.len() > MAX_NOTES || bytes > MAX_NOTE_BYTES {
        let words = format!("an entry has {MAX_NOTES} notes and {MAX_NOTE_BYTES} bytes of them at most");
        return Err(invalid_argument("metadata", words));
    }
    Ok(())
}

pub(super) fn sent(notes: &Arc<Notes>) -> HashMap<String, String> {
    notes.iter().map(|(name, note)| (name.clone(), note.clone())).collect()
}

pub(super) fn info(head: Option<&Head>, now: Millis) -> pb::GetEntryInfoResponse {
    head.map_or_else(pb::GetEntryInfoResponse::default, |head| pb::GetEntryInfoResponse {
        found: true,
        ttl_ms: Some(head.ttl_ms(now)),
        etag: etag(head.etag),
        size_bytes: i64::try_from(head.size_bytes).unwrap_or(i64::MAX),
        metadata: sent(&head.notes),
    })
}

/// The list of a new entry: what the request gives, and its creator's ownership.
pub(super) fn new_list(granted: &Granted, asked: Option<&types::Acl>) -> Result<Acl, Status> {
    let creator: &Candidate = granted.candidate()?;
    let Some(asked) = asked else { return Ok(Acl::owned_by(creator)) };
    let mut list = Acl::try_from(asked).map_err(wrong_list)?;
    list.grant(creator, &[Level::Owner]).map_err(wrong_list)?;
    Ok(list)
}

pub(super) fn wrong_list(error: sre_identity::acl::AclError) -> Status {
    invalid_argument("acl", error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// D24: one unit, and one word for no end.
    #[test]
    fn d24_times_to_live_are_milliseconds_and_minus_one_is_no_end() {
        let limits = Limits::default();
        assert_eq!(Life::of(None, &limits).unwrap(), Life::For(limits.default_ttl));
        assert_eq!(Life::of(Some(1500), &limits).unwrap().from(1000), Some(2500));
        assert_eq!(Life::of(Some(-1), &limits).unwrap().from(1000), None);
        for wrong in [0, -2, i64::MIN, i64::MAX, millis(limits.max_ttl) + 1] {
            assert!(Life::of(Some(wrong), &limits).is_err(), "{wrong}");
        }
    }

    #[test]
    fn notes_are_bounded_and_reserved_names_refused() {
        let note = |name: &str| notes(&HashMap::from([(name.to_owned(), "x".to_owned())]));
        assert!(note("Content-Type").is_ok());
        for reserved in ["acl", "ACL", "x-amz-meta-acl", "sre-owner", "SRE-x", "", "a\nb"] {
            assert!(note(reserved).is_err(), "{reserved:?}");
        }
        let many = (0..65).map(|n| (n.to_string(), String::new())).collect();
        assert!(notes(&many).is_err());
        let large = HashMap::from([("a".to_owned(), "x".repeat(MAX_NOTE_BYTES))]);
        assert!(notes(&large).is_err());
        let from = Notes::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())]);
        let to = edited(&from, Notes::from([("c".to_owned(), "3".to_owned())]), &["a".to_owned()]).unwrap();
        assert_eq!(to.keys().collect::<Vec<_>>(), ["b", "c"]);
    }
}
