//! The cases.

use bytes::Bytes;

use super::{ALL, Aborts, Bench, pattern};
use crate::storage::connectors::{ByteRange, CHUNK_BYTES, ObjectError, ObjectKey};

pub(crate) async fn what_is_finished_is_read_back_in_whole_and_in_ranges(bench: &Bench) {
    let content = pattern(CHUNK_BYTES * 2 + 7);
    let size = content.len() as u64;
    let key = bench.put(&content, 10_000).await;
    assert_eq!(bench.get(&key, ALL).await.unwrap(), content);
    for (offset_bytes, length_bytes) in
        [(0, size), (65_000, 1_000), (size - 1, 1), (size - 1, 500), (0, 0), (7, 0), (size, 0)]
    {
        let got = bench.get(&key, ByteRange { offset_bytes, length_bytes }).await.unwrap();
        let end = (offset_bytes + length_bytes).min(size) as usize;
        assert_eq!(got, content[offset_bytes as usize..end], "{offset_bytes} {length_bytes}");
    }
}

pub(crate) async fn an_empty_object_is_an_object(bench: &Bench) {
    let key = bench.put(b"", 1).await;
    assert_eq!(bench.get(&key, ByteRange { offset_bytes: 0, length_bytes: 0 }).await.unwrap(), b"");
    assert_eq!(bench.left().await.len(), 1);
}

/// Sizes around those of parts, written in small and in large pieces.
pub(crate) async fn large_objects_go_in_parts(bench: &Bench) {
    const PART: usize = 8 << 20;
    for (size, piece) in [(PART, 1 << 20), (PART + 1, 1 << 20), (2 * PART + 5, 300_000), (3 * PART, 3 * PART)]
    {
        let content = pattern(size);
        let key = bench.put(&content, piece).await;
        assert!(bench.get(&key, ALL).await.unwrap() == content, "{size} in pieces of {piece}");
        let range = ByteRange { offset_bytes: PART as u64 - 10, length_bytes: 20 };
        let end = (PART + 10).min(size);
        assert_eq!(bench.get(&key, range).await.unwrap(), content[PART - 10..end]);
        bench.store.remove(&key, None).await.unwrap();
    }
}

pub(crate) async fn nothing_is_seen_before_it_is_finished(bench: &Bench) {
    for size in [10, 20 << 20] {
        let content = Bytes::from(pattern(size));
        let key = ObjectKey::generate();
        let mut writer = bench.store.create(&key).await.unwrap();
        for at in (0..size).step_by(1 << 20) {
            writer.write(content.slice(at..(at + (1 << 20)).min(size))).await.unwrap();
        }
        assert!(matches!(bench.get(&key, ALL).await, Err(ObjectError::NotFound(_))), "{size}");
        writer.finish().await.unwrap();
        assert!(bench.get(&key, ALL).await.unwrap() == content, "{size}");
        bench.store.remove(&key, None).await.unwrap();
    }
}

/// D18: what a crash or a caller that went away leaves is removed, unfinished parts too.
pub(crate) async fn what_is_given_up_can_be_removed(bench: &Bench) {
    for size in [10, 20 << 20] {
        let content = Bytes::from(pattern(size));
        let key = ObjectKey::generate();
        let mut writer = bench.store.create(&key).await.unwrap();
        for at in (0..size).step_by(1 << 20) {
            writer.write(content.slice(at..(at + (1 << 20)).min(size))).await.unwrap();
        }
        let unfinished = writer.unfinished().map(str::to_owned);
        drop(writer);
        assert!(matches!(bench.get(&key, ALL).await, Err(ObjectError::NotFound(_))));
        bench.store.remove(&key, unfinished.as_deref()).await.unwrap();
        if bench.aborts == Aborts::Again {
            bench.store.remove(&key, unfinished.as_deref()).await.unwrap();
        }
        assert_eq!(bench.left().await, Vec::<String>::new(), "{size}");
    }
}

pub(crate) async fn removing_is_idempotent_and_leaves_nothing(bench: &Bench) {
    let key = bench.put(b"x", 1).await;
    assert_eq!(bench.left().await.len(), 1);
    bench.store.remove(&key, None).await.unwrap();
    bench.store.remove(&key, None).await.unwrap();
    assert!(matches!(bench.get(&key, ALL).await, Err(ObjectError::NotFound(_))));
    assert_eq!(bench.left().await, Vec::<String>::new());
}

pub(crate) async fn many_write_at_once(bench: &Bench) {
    let content = pattern(100_000);
    let writes = (0..16).map(|n| {
        let content = &content;
        async move { (n, bench.put(&content[..content.len() - n], 30_000).await) }
    });
    for (n, key) in futures::future::join_all(writes).await {
        assert_eq!(bench.get(&key, ALL).await.unwrap().len(), content.len() - n);
    }
    assert_eq!(bench.left().await.len(), 16);
}

pub(crate) async fn what_is_not_there_is_not_found(bench: &Bench) {
    let got = bench.get(&ObjectKey::generate(), ByteRange { offset_bytes: 3, length_bytes: 4 }).await;
    assert!(matches!(got, Err(ObjectError::NotFound(_))), "{got:?}");
}

pub(crate) async fn a_backend_that_works_is_well(bench: &Bench) {
    bench.store.check().await.unwrap();
}

impl Bench {
    async fn left(&self) -> Vec<String> {
        (self.left)().await
    }
}
