use std::os::unix::fs::symlink;

use futures::FutureExt as _;

use super::*;
use crate::vault::connectors::contract::{self, Bench, value};

/// As Kubernetes mounts a secret: each change is a new folder, and `..data` leads to it.
fn mount(root: &Path, team: &str, key: &str, bytes: &[u8]) {
    let folder = root.join(team);
    let fresh = format!("..{}", sre_proto::ids::new_uuid());
    std::fs::create_dir_all(folder.join(&fresh)).unwrap();
    if let Ok(old) = std::fs::read_dir(folder.join("..data")) {
        for entry in old {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), folder.join(&fresh).join(entry.file_name())).unwrap();
        }
    }
    std::fs::write(folder.join(&fresh).join(key), bytes).unwrap();
    symlink(&fresh, folder.join("..data_tmp")).unwrap();
    std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    if !folder.join(key).exists() {
        symlink(Path::new("..data").join(key), folder.join(key)).unwrap();
    }
}

async fn fresh() -> Option<Bench> {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_owned();
    let store = Arc::new(MountedFiles::new(dir.path()));
    let seed = move |team: String, key: String, bytes: Vec<u8>| {
        mount(&root, &team, &key, &bytes);
        async {}.boxed()
    };
    Some(Bench { store, seed: Some(Box::new(seed)), _keep: Box::new(dir) })
}

contract::read_cases!(fresh);

#[tokio::test]
async fn writing_is_refused_and_says_why() {
    let bench = fresh().await.unwrap();
    let put = bench.store.put("t", "k", value("x"), "user/dev", Moment(1)).await;
    assert!(matches!(put, Err(SecretStoreError::ReadOnly(text)) if text.contains("mounted from")));
    assert!(matches!(bench.store.delete("t", "k").await, Err(SecretStoreError::ReadOnly(_))));
}

/// services.md H9: a link that leads out of the folder is no secret.
#[tokio::test]
async fn h9_links_do_not_lead_out_of_the_folder() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("key"), "outside").unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("t")).unwrap();
    symlink(outside.path().join("key"), dir.path().join("t/absolute")).unwrap();
    symlink(Path::new("../../../../../../etc/hostname"), dir.path().join("t/relative")).unwrap();
    symlink(outside.path(), dir.path().join("u")).unwrap();
    let files = MountedFiles::new(dir.path());
    for (team, key) in [("t", "absolute"), ("t", "relative"), ("u", "key")] {
        assert!(files.get(team, key, None).await.unwrap().is_none(), "{team}/{key}");
    }
    assert!(files.list("t", None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_folder_that_is_away_is_an_error_and_no_empty_vault() {
    let dir = tempfile::tempdir().unwrap();
    let files = MountedFiles::new(&dir.path().join("nowhere"));
    assert!(matches!(files.get("t", "k", None).await, Err(SecretStoreError::Unavailable(_))));
    assert!(files.check().await.is_err());
}

#[tokio::test]
async fn a_file_that_is_too_large_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    mount(dir.path(), "t", "k", &vec![b'x'; MAX_VALUE_BYTES + 1]);
    let files = MountedFiles::new(dir.path());
    assert!(matches!(files.get("t", "k", None).await, Err(SecretStoreError::Unavailable(_))));
}
