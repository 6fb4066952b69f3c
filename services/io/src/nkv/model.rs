//! Namespaces, values, and changes of them, as backends see them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::name::KeyName;
use crate::basis::{Basis, Condition};
use crate::clock::{Millis, millis};
use crate::usage::Quota;

/// A namespace's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// Its access list, as a text that means nothing to a backend.
    pub list: Arc<str>,
}

/// A value with what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueRow {
    /// Its key.
    pub key: String,
    /// The value.
    pub value: Bytes,
    /// Media type.
    pub content_type: String,
    /// Version; fresh with every set, never used again.
    pub etag: String,
    /// When it was last set.
    pub updated_ms: Millis,
    /// When it ends to exist.
    pub expires_ms: Option<Millis>,
}

impl ValueRow {
    /// Whether it still exists at this time.
    pub fn is_live(&self, now: Millis) -> bool {
        self.expires_ms.is_none_or(|expires| now < expires)
    }

    /// What it counts for in its team's books.
    pub fn size_bytes(&self) -> i64 {
        i64::try_from(self.value.len() + self.key.len()).unwrap_or(i64::MAX)
    }
}

/// A value to be set.
#[derive(Debug, Clone)]
pub struct Set {
    /// Where.
    pub name: KeyName,
    /// The value.
    pub value: Bytes,
    /// Its media type.
    pub content_type: String,
    /// Over which version.
    pub condition: Condition,
    /// What the right to write was decided on.
    pub basis: Basis,
    /// The access list of a new namespace.
    pub list_when_new: String,
    /// How long it lives; for ever where absent.
    pub time_to_live: Option<Duration>,
    /// What its team may hold.
    pub quota: Quota,
}

impl Set {
    /// The row that this makes at `now`.
    pub fn row(self, now: Millis) -> ValueRow {
        ValueRow {
            key: self.name.key,
            value: self.value,
            content_type: self.content_type,
            etag: sre_proto::ids::new_uuid().simple().to_string(),
            updated_ms: now,
            expires_ms: self.time_to_live.map(|life| now.saturating_add(millis(life))),
        }
    }
}

/// A namespace and one of its values, of one moment.
pub type Found = (Option<Namespace>, Option<ValueRow>);

/// Which values a page holds.
#[derive(Debug, Clone, Default)]
pub struct Range {
    /// What their keys begin with.
    pub prefix: String,
    /// Keys after this one.
    pub after: String,
    /// At most so many.
    pub limit: usize,
}

/// A page of values, by key in the order of bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The values.
    pub values: Vec<ValueRow>,
    /// Where the next page goes on, if there may be more.
    pub next: Option<String>,
}

/// Some namespaces of a team, by name in the order of bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Their names and records.
    pub namespaces: Vec<(String, Namespace)>,
    /// Whether there are more.
    pub has_more: bool,
}
