//! A record as one run of bytes, for backends that keep files or objects: a mark, the length of the head, the head
//! as JSON, and the value. The head holds the entry's whole name: where bytes lie is a digest of it.

use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::cache::clock::Millis;
use crate::cache::error::CacheError;
use crate::cache::name::EntryName;
use crate::cache::record::{Guard, Head, Notes, Record};

const MARK: &[u8; 6] = b"SREC1\n";
/// Mark and length of the head.
const PREFIX_BYTES: usize = MARK.len() + 4;
/// What is read first: nearly every head lies within.
pub(super) const FIRST_BYTES: u64 = 4096;
/// No head is longer: a list has 512 KiB at most.
const MAX_HEAD_BYTES: usize = 1 << 20;

#[derive(Serialize, Deserialize)]
struct Written<'h> {
    name: std::borrow::Cow<'h, str>,
    etag: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    expires_ms: Option<Millis>,
    list: std::borrow::Cow<'h, str>,
    #[serde(skip_serializing_if = "Notes::is_empty", default)]
    notes: Notes,
}

/// Where an entry lies: nothing of its name is part of a path (H10, H11).
pub(super) fn digest(name: &EntryName) -> String {
    blake3::hash(name.as_str().as_bytes()).to_hex().to_string()
}

/// The bytes of a record.
pub(super) fn encode(name: &EntryName, record: &Record) -> Result<Bytes, CacheError> {
    let head = Written {
        name: name.as_str().into(),
        etag: format!("{:032x}", record.head.etag),
        expires_ms: record.head.expires_ms,
        list: record.head.guard.text().into(),
        notes: (*record.head.notes).clone(),
    };
    let head = serde_json::to_vec(&head).map_err(|error| CacheError::Broken(error.to_string()))?;
    let length =
        u32::try_from(head.len()).map_err(|_| CacheError::Broken("a head is too long".to_owned()))?;
    let mut bytes = BytesMut::with_capacity(PREFIX_BYTES + head.len() + record.value.len());
    bytes.put_slice(MARK);
    bytes.put_u32(length);
    bytes.put_slice(&head);
    bytes.put_slice(&record.value);
    Ok(bytes.freeze())
}

/// How many bytes mark, length and head take, by the first few.
pub(super) fn head_bytes(first: &[u8]) -> Option<usize> {
    let length = first.strip_prefix(MARK)?.first_chunk::<4>()?;
    let length = u32::from_be_bytes(*length) as usize;
    (length <= MAX_HEAD_BYTES).then_some(PREFIX_BYTES + length)
}

/// The head of an entry by the first bytes, as many as [`head_bytes`] says or more, and the size of all of them.
/// None for what is damaged or another entry's: a cache goes on without it.
pub(super) fn head(name: &EntryName, first: &[u8], all_bytes: u64) -> Option<Head> {
    let (written, head) = any_head(first, all_bytes)?;
    (written == name.as_str()).then_some(head)
}

/// The same of whatever entry it is, with its name.
pub(super) fn any_head(first: &[u8], all_bytes: u64) -> Option<(String, Head)> {
    let end = head_bytes(first)?;
    let written: Written<'_> = serde_json::from_slice(first.get(PREFIX_BYTES..end)?).ok()?;
    let head = Head {
        etag: u128::from_str_radix(&written.etag, 16).ok()?,
        expires_ms: written.expires_ms,
        size_bytes: all_bytes.checked_sub(end as u64)?,
        notes: Arc::new(written.notes),
        guard: Guard::from_text(written.list),
    };
    Some((written.name.into_owned(), head))
}

/// A whole record.
pub(super) fn decode(name: &EntryName, bytes: &Bytes) -> Option<Record> {
    let head = head(name, bytes, bytes.len() as u64)?;
    let value = bytes.slice(head_bytes(bytes)?..);
    Some(Record { head, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(key: &str) -> EntryName {
        EntryName::parse(format!("teams/t/cache/{key}")).unwrap()
    }

    #[test]
    fn a_record_is_read_as_written_and_by_its_name_alone() {
        let head = Head {
            etag: 7,
            expires_ms: Some(9),
            size_bytes: 3,
            notes: Arc::new(Notes::from([("a".to_owned(), "b".to_owned())])),
            guard: Guard::from_text("list"),
        };
        let record = Record { head, value: Bytes::from_static(b"\0\n\xff") };
        let bytes = encode(&name("k"), &record).unwrap();
        assert_eq!(decode(&name("k"), &bytes), Some(record));
        assert_eq!(decode(&name("other"), &bytes), None);
        // Whatever is cut off or changed is no record, or a shorter one, and never a panic.
        for end in 0..head_bytes(&bytes).unwrap() {
            assert_eq!(decode(&name("k"), &bytes.slice(..end)), None);
        }
        for index in 0..PREFIX_BYTES {
            let mut damaged = bytes.to_vec();
            damaged[index] ^= 0x55;
            assert_eq!(decode(&name("k"), &damaged.into()), None, "{index}");
        }
    }
}
