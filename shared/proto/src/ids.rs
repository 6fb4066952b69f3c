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

    /// services.md H36: whoever knows an id, and when the next was made, does not know the next.
    #[test]
    fn h36_ids_of_one_moment_cannot_be_foretold() {
        const COUNT: usize = 4096;
        let ids: Vec<u128> = (0..COUNT).map(|_| new_uuid().as_u128()).collect();
        let distinct =
            |numbers: Vec<u32>| numbers.into_iter().collect::<std::collections::BTreeSet<_>>().len();
        // What is behind the time and the counter that keeps ids in order.
        let ends: Vec<u32> = ids.iter().map(|id| *id as u32).collect();
        let steps = ends.windows(2).map(|two| two[1].wrapping_sub(two[0])).collect();
        assert!(ids.is_sorted_by(|a, b| a < b), "ordered by time, and each once");
        // Of random numbers of 32 bits, two of this many are the same once in 500.
        assert!(distinct(ends) >= COUNT - 8 && distinct(steps) >= COUNT - 9);
    }

    #[test]
    fn malformed_ids_are_refused() {
        for id in ["", "00", "zz-0190", "0-00000000-0000-7000-8000-000000000000", "00-x"] {
            assert!(parse(id).is_none(), "{id}");
        }
    }
}
