//! What every store of payloads must do.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt as _;

use super::{BlobStore, Blobs, PIECE_BYTES};
use crate::runtime_context::error::JournalError;
use crate::runtime_context::ids::{Digest, RunId};
use crate::runtime_context::model::Blob;

const MINUTE: Duration = Duration::from_secs(60);

/// One test for each case; `fresh` makes an empty store and what keeps it, or none.
macro_rules! every_case {
    ($fresh:path) => {
        crate::runtime_context::blobs::contract::every_case!(@ $fresh,
            a_payload_is_there_until_its_run_goes, wrong_and_large_contents_leave_nothing,
            a_large_payload_comes_in_pieces, what_was_not_finished_goes, the_search_goes_round,
            a_repeat_is_the_same,
        );
    };
    (@ $fresh:path, $($case:ident,)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            let Some((store, _keep)) = $fresh().await else { return };
            crate::runtime_context::blobs::contract::$case(store).await;
        }
    )*};
}
pub(crate) use every_case;

type Store = Arc<dyn BlobStore>;

pub(crate) fn run() -> RunId {
    sre_proto::ids::new_id().parse().unwrap()
}

async fn put(blobs: &Blobs, run: RunId, content: &[u8]) -> Result<Blob, JournalError> {
    let mut upload = blobs.upload(run, Digest::of(content)).await?;
    for piece in content.chunks(content.len().div_ceil(5).max(1)) {
        upload.write(Bytes::copy_from_slice(piece)).await?;
    }
    upload.finish().await
}

async fn get(blobs: &Blobs, run: RunId, content: &[u8]) -> Result<Vec<u8>, JournalError> {
    let pieces: Vec<Bytes> = blobs.read(run, Digest::of(content)).await?.try_collect().await?;
    assert!(pieces.iter().all(|piece| piece.len() <= PIECE_BYTES));
    Ok(pieces.concat())
}

pub(crate) async fn a_payload_is_there_until_its_run_goes(store: Store) {
    let blobs = Blobs::new(store, 1000);
    let (run, other) = (run(), run());
    let blob = put(&blobs, run, b"hello world").await.unwrap();
    assert_eq!(blob.size_bytes, 11);
    assert_eq!(get(&blobs, run, b"hello world").await.unwrap(), b"hello world");
    assert!(blobs.contains(run, blob).await.unwrap());
    assert!(!blobs.contains(run, Blob { size_bytes: 12, ..blob }).await.unwrap());
    // Never shared: another run has not got it.
    assert!(!blobs.contains(other, blob).await.unwrap());
    assert!(matches!(get(&blobs, other, b"hello world").await, Err(JournalError::BlobNotFound)));
    put(&blobs, other, b"hello world").await.unwrap();
    blobs.remove(run).await.unwrap();
    blobs.remove(run).await.unwrap();
    assert!(matches!(get(&blobs, run, b"hello world").await, Err(JournalError::BlobNotFound)));
    assert!(blobs.contains(other, blob).await.unwrap());
}

pub(crate) async fn wrong_and_large_contents_leave_nothing(store: Store) {
    let blobs = Blobs::new(store, 10);
    let run = run();
    let mut upload = blobs.upload(run, Digest::of(b"a")).await.unwrap();
    upload.write(Bytes::from_static(b"b")).await.unwrap();
    assert!(matches!(upload.finish().await, Err(JournalError::Invalid { field: "digest", .. })));
    assert!(matches!(put(&blobs, run, b"hello world").await, Err(JournalError::TooLarge { .. })));
    for content in [&b"a"[..], b"b", b"hello world"] {
        assert!(matches!(get(&blobs, run, content).await, Err(JournalError::BlobNotFound)));
    }
}

pub(crate) async fn a_large_payload_comes_in_pieces(store: Store) {
    let blobs = Blobs::new(store, 10 << 20);
    let run = run();
    for size in [0, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES] {
        let content: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
        assert_eq!(put(&blobs, run, &content).await.unwrap().size_bytes, size as i64);
        assert!(get(&blobs, run, &content).await.unwrap() == content, "{size}");
    }
}

pub(crate) async fn a_repeat_is_the_same(store: Store) {
    let blobs = Blobs::new(store, 1000);
    let run = run();
    let (one, two) = tokio::join!(put(&blobs, run, b"same"), put(&blobs, run, b"same"));
    assert_eq!(one.unwrap(), two.unwrap());
    put(&blobs, run, b"same").await.unwrap();
    assert_eq!(get(&blobs, run, b"same").await.unwrap(), b"same");
    blobs.remove(run).await.unwrap();
    assert!(matches!(get(&blobs, run, b"same").await, Err(JournalError::BlobNotFound)));
}

pub(crate) async fn what_was_not_finished_goes(store: Store) {
    let blobs = Blobs::new(store, 1000);
    let run = run();
    let mut upload = blobs.upload(run, Digest::of(b"ab")).await.unwrap();
    upload.write(Bytes::from_static(b"a")).await.unwrap();
    put(&blobs, run, b"whole").await.unwrap();
    blobs.remove_unfinished(MINUTE).await.unwrap();
    upload.write(Bytes::from_static(b"b")).await.unwrap();
    drop(upload);
    blobs.remove_unfinished(Duration::ZERO).await.unwrap();
    assert!(matches!(get(&blobs, run, b"ab").await, Err(JournalError::BlobNotFound)));
    assert_eq!(get(&blobs, run, b"whole").await.unwrap(), b"whole");
}

pub(crate) async fn the_search_goes_round(store: Store) {
    let blobs = Blobs::new(store, 1000);
    let mut runs = Vec::new();
    for _ in 0..5 {
        let run = run();
        put(&blobs, run, b"x").await.unwrap();
        put(&blobs, run, b"y").await.unwrap();
        runs.push(run);
    }
    runs.sort_unstable();
    assert!(blobs.next_untouched(MINUTE, 2).await.unwrap().is_empty());
    for _ in 0..2 {
        let mut found = Vec::new();
        for expected in [2, 2, 1] {
            let some = blobs.next_untouched(Duration::ZERO, 2).await.unwrap();
            assert_eq!(some.len(), expected);
            found.extend(some);
        }
        found.sort_unstable();
        assert_eq!(found, runs);
    }
}
