//! What every backend must do. A backend's tests call `contract::every_case!(fresh)`, where `fresh` is an async
//! function that makes a [`Bench`] over an empty backend, or gives none where its server is not there.

mod cases;

use std::any::Any;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;

use super::{ByteRange, CHUNK_BYTES, ObjectError, ObjectKey, ObjectStore};

pub(crate) use cases::*;

/// All of an object.
pub(crate) const ALL: ByteRange = ByteRange { offset_bytes: 0, length_bytes: u64::MAX };

/// How often an unfinished write can be given up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aborts {
    /// Again and again, as a crash in between asks for.
    Again,
    /// Once; for a backend that no suite runs on.
    Once,
}

/// A backend, and what is in it.
pub(crate) struct Bench {
    pub(crate) store: Arc<dyn ObjectStore>,
    /// What the backend holds, objects and parts of unfinished ones, by whatever names it has for them.
    pub(crate) left: Box<dyn Fn() -> BoxFuture<'static, Vec<String>> + Send + Sync>,
    /// How often an unfinished write can be given up.
    pub(crate) aborts: Aborts,
    /// Keeps what the backend stands on.
    pub(crate) _keep: Box<dyn Any + Send + Sync>,
}

/// One test for each case.
macro_rules! every_case {
    ($fresh:path) => {
        crate::storage::connectors::contract::every_case!(@ $fresh,
            what_is_finished_is_read_back_in_whole_and_in_ranges, an_empty_object_is_an_object,
            large_objects_go_in_parts, nothing_is_seen_before_it_is_finished,
            what_is_given_up_can_be_removed, removing_is_idempotent_and_leaves_nothing,
            many_write_at_once, what_is_not_there_is_not_found, a_backend_that_works_is_well,
        );
    };
    (@ $fresh:path, $($case:ident,)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            let bench: Option<crate::storage::connectors::contract::Bench> = $fresh().await;
            let Some(bench) = bench else { return };
            crate::storage::connectors::contract::$case(&bench).await;
        }
    )*};
}
pub(crate) use every_case;

impl Bench {
    /// Writes an object in pieces of this size.
    pub(crate) async fn put(&self, content: &[u8], piece: usize) -> ObjectKey {
        let key = ObjectKey::generate();
        let mut writer = self.store.create(&key).await.unwrap();
        for piece in content.chunks(piece) {
            writer.write(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        writer.finish().await.unwrap();
        key
    }

    /// Reads a range.
    pub(crate) async fn get(&self, key: &ObjectKey, range: ByteRange) -> Result<Vec<u8>, ObjectError> {
        let mut reader = self.store.open(key, range).await?;
        let mut all = Vec::new();
        while let Some(chunk) = reader.next().await? {
            assert!(!chunk.is_empty() && chunk.len() <= CHUNK_BYTES, "{}", chunk.len());
            all.extend_from_slice(&chunk);
        }
        Ok(all)
    }
}

/// Bytes in which every place can be told from its neighbours.
pub(crate) fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|i| ((i / 251) ^ (i % 251)) as u8).collect()
}
