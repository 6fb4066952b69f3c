//! What every backend must do; a new one is added to `backends`.

use std::sync::Arc;

use bytes::Bytes;

use super::{ByteRange, CHUNK_BYTES, LocalObjects, ObjectError, ObjectKey, ObjectStore};

const ALL: ByteRange = ByteRange { offset_bytes: 0, length_bytes: u64::MAX };

fn backends() -> Vec<(tempfile::TempDir, Arc<dyn ObjectStore>)> {
    let dir = tempfile::tempdir().unwrap();
    let local = Arc::new(LocalObjects::open(&dir.path().join("objects")).unwrap());
    vec![(dir, local)]
}

async fn put(store: &dyn ObjectStore, key: &ObjectKey, parts: &[Bytes]) {
    let mut writer = store.create(key).await.unwrap();
    for part in parts {
        writer.write(part.clone()).await.unwrap();
    }
    writer.finish().await.unwrap();
}

async fn get(store: &dyn ObjectStore, key: &ObjectKey, range: ByteRange) -> Result<Vec<u8>, ObjectError> {
    let mut reader = store.open(key, range).await?;
    let mut all = Vec::new();
    while let Some(chunk) = reader.next().await? {
        assert!(chunk.len() <= CHUNK_BYTES);
        all.extend_from_slice(&chunk);
    }
    Ok(all)
}

#[tokio::test]
async fn what_is_finished_is_read_back_whole_and_in_ranges() {
    for (_dir, store) in backends() {
        let key = ObjectKey::generate();
        let content: Vec<u8> = (0..CHUNK_BYTES * 2 + 7).map(|i| (i % 251) as u8).collect();
        put(&*store, &key, &[Bytes::copy_from_slice(&content[..10]), Bytes::copy_from_slice(&content[10..])])
            .await;
        assert_eq!(get(&*store, &key, ALL).await.unwrap(), content);
        let middle = ByteRange { offset_bytes: 65_000, length_bytes: 1_000 };
        assert_eq!(get(&*store, &key, middle).await.unwrap(), content[65_000..66_000]);
        let beyond = ByteRange { offset_bytes: content.len() as u64 + 1, length_bytes: 5 };
        assert!(get(&*store, &key, beyond).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn an_abandoned_write_is_not_found() {
    for (_dir, store) in backends() {
        let key = ObjectKey::generate();
        let mut writer = store.create(&key).await.unwrap();
        writer.write(Bytes::from_static(b"half")).await.unwrap();
        drop(writer);
        assert!(matches!(get(&*store, &key, ALL).await, Err(ObjectError::NotFound(_))));
        store.remove(&key).await.unwrap();
    }
}

#[tokio::test]
async fn removing_is_idempotent_and_leaves_nothing() {
    for (dir, store) in backends() {
        let key = ObjectKey::generate();
        put(&*store, &key, &[Bytes::from_static(b"x")]).await;
        store.remove(&key).await.unwrap();
        store.remove(&key).await.unwrap();
        assert!(matches!(get(&*store, &key, ALL).await, Err(ObjectError::NotFound(_))));
        let files = walk(dir.path());
        assert!(files.is_empty(), "{files:?}");
    }
}

/// H9, H11: a symbolic link put into the folder does not lead out of it.
#[cfg(unix)]
#[tokio::test]
async fn h9_links_out_of_the_root_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalObjects::open(&dir.path().join("objects")).unwrap();
    let outside = dir.path().join("outside");
    std::fs::write(&outside, "secret").unwrap();
    let key = ObjectKey::generate();
    put(&store, &key, &[Bytes::from_static(b"x")]).await;
    let place = dir.path().join("objects").join(&key.as_str()[..2]).join(key.as_str());
    std::fs::remove_file(&place).unwrap();
    std::os::unix::fs::symlink(&outside, &place).unwrap();
    assert!(get(&store, &key, ALL).await.is_err());
}

#[test]
fn h9_only_our_own_keys_are_keys() {
    assert!(ObjectKey::parse(ObjectKey::generate().as_str()).is_some());
    for bad in ["", "../../etc/passwd", "ABCDEF0123456789ABCDEF0123456789", "0123"] {
        assert!(ObjectKey::parse(bad).is_none(), "{bad}");
    }
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(walk(&path)) } else { found.push(path) }
    }
    found
}
