use std::os::unix::fs::PermissionsExt;

use super::*;

fn places(dir: &tempfile::TempDir) -> (KeyFile, PathBuf) {
    (KeyFile::plain(&dir.path().join("keys/vault.key")), dir.path().join("vault.enc"))
}

#[tokio::test]
async fn a_key_is_made_once_and_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let (key, vault) = places(&dir);
    let made = key.load_or_create(Some(&vault)).await.unwrap();
    assert_eq!(std::fs::metadata(key.path()).unwrap().mode() & 0o777, 0o600);
    assert_eq!(key.load_or_create(Some(&vault)).await.unwrap().primary.id(), made.primary.id());
}

#[tokio::test]
async fn a_key_that_others_may_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (key, vault) = places(&dir);
    let ring = key.load_or_create(Some(&vault)).await.unwrap();
    let old = Ring { primary: Kek::generate().unwrap(), old: vec![ring.primary] };
    key.save(&old).await.unwrap();
    for name in ["keys/vault.key.old", "keys/vault.key"] {
        let path = dir.path().join(name);
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let refused = key.load_or_create(Some(&vault)).await;
        assert!(matches!(refused, Err(KeyFileError::TooOpen { mode: 0o640, .. })), "{name}");
    }
}

#[tokio::test]
async fn d9_a_lost_key_is_told_and_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let (key, vault) = places(&dir);
    std::fs::write(&vault, b"sealed").unwrap();
    assert!(matches!(key.load_or_create(Some(&vault)).await, Err(KeyFileError::Lost { .. })));
    assert!(!key.path().exists());
}

#[tokio::test]
async fn a_damaged_key_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (key, vault) = places(&dir);
    write_private(key.path(), b"zz").unwrap();
    assert!(matches!(key.load_or_create(Some(&vault)).await, Err(KeyFileError::Malformed { .. })));
}

/// What the release before wrote is read, and what a rotation leaves is what that release reads.
#[tokio::test]
async fn the_file_keeps_the_form_of_the_release_before() {
    let dir = tempfile::tempdir().unwrap();
    let (key, _) = places(&dir);
    write_private(key.path(), "07".repeat(32).as_bytes()).unwrap();
    let first = key.load().await.unwrap();
    assert_eq!(first.primary.expose(), &[7; 32]);
    let ring = Ring { primary: Kek::generate().unwrap(), old: vec![first.primary] };
    key.save(&ring).await.unwrap();
    let text = std::fs::read_to_string(key.path()).unwrap();
    assert_eq!(hex::decode(text.trim()).unwrap(), ring.primary.expose());
}

/// Between the two writes of a rotation, and after a crash there, every key is in one of the files.
#[tokio::test]
async fn a_rotation_that_is_cut_off_loses_no_key() {
    let dir = tempfile::tempdir().unwrap();
    let (key, _) = places(&dir);
    let first = key.load_or_create(None).await.unwrap();
    let before = std::fs::read(key.path()).unwrap();
    let ring = Ring { primary: Kek::generate().unwrap(), old: vec![first.primary.clone()] };
    key.save(&ring).await.unwrap();
    std::fs::write(key.path(), before).unwrap();
    let read = key.load().await.unwrap();
    assert_eq!((read.primary.id(), read.old.len()), (first.primary.id(), 0));
}
