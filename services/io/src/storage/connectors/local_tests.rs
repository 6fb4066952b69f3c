//! The local backend.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::FutureExt as _;
use serde_json::json;
use sre_service::connectors::Opening;

use super::contract::{self, ALL, Aborts, Bench};
use super::{LocalObjects, ObjectKey};

async fn fresh() -> Option<Bench> {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("objects");
    let store = Arc::new(LocalObjects::open(&folder).unwrap());
    let left = move || {
        let files = walk(&folder).iter().map(|path| path.display().to_string()).collect();
        async move { files }.boxed()
    };
    Some(Bench { store, left: Box::new(left), aborts: Aborts::Again, _keep: Box::new(dir) })
}

contract::every_case!(fresh);

/// H9, H11: a symbolic link put into the folder does not lead out of it.
#[cfg(unix)]
#[tokio::test]
async fn h9_links_out_of_the_root_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(LocalObjects::open(&dir.path().join("objects")).unwrap());
    let bench = Bench {
        store,
        left: Box::new(|| async { Vec::new() }.boxed()),
        aborts: Aborts::Again,
        _keep: Box::new(()),
    };
    let outside = dir.path().join("outside");
    std::fs::write(&outside, "secret").unwrap();
    let key = bench.put(b"x", 1).await;
    let place = dir.path().join("objects").join(&key.as_str()[..2]).join(key.as_str());
    std::fs::remove_file(&place).unwrap();
    std::os::unix::fs::symlink(&outside, &place).unwrap();
    assert!(bench.get(&key, ALL).await.is_err());
}

#[test]
fn h9_only_our_own_keys_are_keys() {
    assert!(ObjectKey::parse(ObjectKey::generate().as_str()).is_some());
    for bad in ["", "../../etc/passwd", "ABCDEF0123456789ABCDEF0123456789", "0123"] {
        assert!(ObjectKey::parse(bad).is_none(), "{bad}");
    }
}

/// D19: a folder that is configured and missing is made, and used.
#[tokio::test]
async fn d19_a_configured_folder_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let opening = Opening::standalone("local", json!({"folder": "deep/er"}), dir.path());
    let store = (super::local::KIND.open)(opening).await.unwrap();
    let key = ObjectKey::generate();
    store.create(&key).await.unwrap().finish().await.unwrap();
    assert_eq!(walk(&dir.path().join("deep/er")).len(), 1);
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let opening = Opening::standalone("local", json!({"folder": file}), dir.path());
    assert!((super::local::KIND.open)(opening).await.is_err());
    let unknown = Opening::standalone("local", json!({"foldr": "x"}), dir.path());
    let error = (super::local::KIND.check)(&unknown).unwrap_err().to_string();
    assert!(error.contains("folder"), "{error}");
}

pub(super) fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(walk(&path)) } else { found.push(path) }
    }
    found
}
