//! Ids of runs, jobs and conversations: `<pp>-<uuid>`, two hex digits of partition and a UUIDv7.

use uuid::Uuid;

/// The only partition until there are shards.
const PARTITION: &str = "00";

/// A new id, ordered by time.
pub fn new_id() -> String {
    format!("{PARTITION}-{}", Uuid::now_v7())
}

/// A new UUIDv7, for sessions and tokens.
pub fn new_uuid() -> Uuid {
    Uuid::now_v7()
}

/// The id of a child: its parent's partition and millisecond, and the digest of its idempotency key for the
/// random bits, so that a repeated effect names the same child.
pub fn child_id(parent: &str, idempotency_key: &str) -> Option<String> {
    let (partition, uuid) = parse(parent)?;
    let mut bytes = *uuid.as_bytes();
    let digest = blake3::hash(idempotency_key.as_bytes());
    bytes[6..].copy_from_slice(&digest.as_bytes()[..10]);
    bytes[6] = 0x70 | (bytes[6] & 0x0f);
    bytes[8] = 0x80 | (bytes[8] & 0x3f);
    Some(format!("{partition}-{}", Uuid::from_bytes(bytes)))
}

/// Splits an id into partition and UUID; none for anything else.
pub fn parse(id: &str) -> Option<(&str, Uuid)> {
    let (partition, uuid) = id.split_once('-')?;
    if partition.len() != 2 || !partition.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    Some((partition, Uuid::try_parse(uuid).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_named_by_its_parent_and_key() {
        let parent = new_id();
        let child = child_id(&parent, "key").unwrap();
        assert_eq!(child, child_id(&parent, "key").unwrap());
        assert_ne!(child, child_id(&parent, "other").unwrap());
        let (_, uuid) = parse(&child).unwrap();
        assert_eq!(uuid.get_version_num(), 7);
        assert_eq!(uuid.as_bytes()[..6], parse(&parent).unwrap().1.as_bytes()[..6]);
    }

    #[test]
    fn malformed_ids_are_refused() {
        for id in ["", "00", "zz-0190", "0-00000000-0000-7000-8000-000000000000", "00-x"] {
            assert!(parse(id).is_none(), "{id}");
        }
    }
}
