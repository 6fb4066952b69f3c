use super::*;
use crate::vault::connectors::contract::{self, Bench};

async fn fresh() -> Option<Bench> {
    let dir = tempfile::tempdir().unwrap();
    let vault = EncryptedFile::open(&dir.path().join("vault.enc"), Keks::in_memory().unwrap()).unwrap();
    Some(Bench::over(vault, dir))
}

contract::every_case!(fresh);

const NOW: Moment = Moment(1_700_000_000_000_000);

fn value(text: &str) -> SecretValue {
    SecretValue::new(text.as_bytes().to_vec())
}

async fn read(vault: &EncryptedFile, team: &str, key: &str) -> Option<(u64, String)> {
    let (info, value) = vault.get(team, key, None).await.unwrap()?;
    Some((info.version, String::from_utf8(value.expose().to_vec()).unwrap()))
}

#[tokio::test]
async fn values_outlive_the_process_and_are_not_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vault.enc");
    let keks = Keks::in_memory().unwrap();
    {
        let vault = EncryptedFile::open(&path, keks.clone()).unwrap();
        vault.put("t", "AWS Key ID (m192)", value("sk-canary-1234"), "user/dev", NOW).await.unwrap();
        vault.put("t", "empty", value(""), "user/dev", NOW).await.unwrap();
    }
    let bytes = std::fs::read(&path).unwrap();
    for clear in ["sk-canary-1234", "AWS Key ID", "user/dev"] {
        assert!(!bytes.windows(clear.len()).any(|window| window == clear.as_bytes()), "{clear}");
    }
    let vault = EncryptedFile::open(&path, keks).unwrap();
    assert_eq!(read(&vault, "t", "AWS Key ID (m192)").await, Some((1, "sk-canary-1234".into())));
    // An empty value is a value, not an absent one.
    assert_eq!(read(&vault, "t", "empty").await, Some((1, String::new())));
    assert_eq!(read(&vault, "other", "empty").await, None);
}

#[tokio::test]
async fn versions_count_up_and_old_ones_go() {
    let dir = tempfile::tempdir().unwrap();
    let vault = EncryptedFile::open(&dir.path().join("vault.enc"), Keks::in_memory().unwrap()).unwrap();
    for n in 1..=KEPT_VERSIONS + 3 {
        vault.put("t", "k", value(&n.to_string()), "user/dev", NOW).await.unwrap();
    }
    let last = u64::try_from(KEPT_VERSIONS).unwrap() + 3;
    assert_eq!(read(&vault, "t", "k").await, Some((last, last.to_string())));
    assert_eq!(vault.shared.snapshot().teams["t"]["k"].len(), KEPT_VERSIONS);
    assert!(vault.delete("t", "k").await.unwrap());
    assert!(!vault.delete("t", "k").await.unwrap());
    assert_eq!(read(&vault, "t", "k").await, None);
}

#[tokio::test]
async fn a_changed_cut_or_foreign_file_does_not_open() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vault.enc");
    let keks = Keks::in_memory().unwrap();
    let vault = EncryptedFile::open(&path, keks.clone()).unwrap();
    vault.put("t", "k", value("x"), "user/dev", NOW).await.unwrap();
    let whole = std::fs::read(&path).unwrap();

    let mut changed = whole.clone();
    *changed.last_mut().unwrap() ^= 1;
    for bytes in [&changed[..], &whole[..whole.len() - 1], &whole[..20], b"", b"{}"] {
        std::fs::write(&path, bytes).unwrap();
        assert!(matches!(EncryptedFile::open(&path, keks.clone()), Err(SecretStoreError::Damaged(_))));
    }
    std::fs::write(&path, &whole).unwrap();
    let other = EncryptedFile::open(&path, Keks::in_memory().unwrap());
    assert!(matches!(other, Err(SecretStoreError::Damaged(text)) if text.contains("restore that key")));
}

#[tokio::test]
async fn a_write_that_fails_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("data");
    std::fs::create_dir(&folder).unwrap();
    let vault = EncryptedFile::open(&folder.join("vault.enc"), Keks::in_memory().unwrap()).unwrap();
    vault.put("t", "k", value("one"), "user/dev", NOW).await.unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(matches!(
        vault.put("t", "k", value("two"), "user/dev", NOW).await,
        Err(SecretStoreError::Unavailable(_))
    ));
    assert_eq!(read(&vault, "t", "k").await, Some((1, "one".into())));
}

fn has(path: &Path, text: &str) -> bool {
    std::fs::read(path).unwrap().windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn a_rotation_wraps_every_version_anew_and_forgets_the_old_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vault.enc");
    let keks = Keks::in_memory().unwrap();
    let vault = EncryptedFile::open(&path, keks.clone()).unwrap();
    for text in ["one", "two"] {
        vault.put("t", "k", value(text), "user/dev", NOW).await.unwrap();
    }
    let old = keks.primary();
    assert_eq!(vault.reseal().await.unwrap(), 0, "all is sealed with this key");
    keks.rotate().await.unwrap();
    assert_eq!(read(&vault, "t", "k").await, Some((2, "two".into())));
    // What is set meanwhile is under the new key, and the file with it.
    vault.put("t", "l", value("three"), "user/dev", NOW).await.unwrap();
    assert!(has(&path, keks.primary().id()) && !has(&path, old.id()));
    assert_eq!(vault.reseal().await.unwrap(), 2);
    assert_eq!(vault.reseal().await.unwrap(), 0);
    keks.forget_old().await.unwrap();
    let again = EncryptedFile::open(&path, keks).unwrap();
    assert_eq!(again.get("t", "k", Some(1)).await.unwrap().unwrap().1.expose(), b"one");
    assert_eq!(read(&again, "t", "l").await, Some((1, "three".into())));
}

/// An empty vault is a file too: its key may not be lost with the old one.
#[tokio::test]
async fn a_file_without_secrets_is_sealed_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vault.enc");
    let keks = Keks::in_memory().unwrap();
    let vault = EncryptedFile::open(&path, keks.clone()).unwrap();
    vault.put("t", "k", value("x"), "user/dev", NOW).await.unwrap();
    vault.delete("t", "k").await.unwrap();
    keks.rotate().await.unwrap();
    assert_eq!(vault.reseal().await.unwrap(), 0);
    keks.forget_old().await.unwrap();
    EncryptedFile::open(&path, keks).unwrap();
}

/// A rotation that ended between the key file and the vault's: the start after it reads and completes it.
#[tokio::test]
async fn a_rotation_that_was_cut_off_is_completed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vault.enc");
    let keks = Keks::in_memory().unwrap();
    let vault = EncryptedFile::open(&path, keks.clone()).unwrap();
    vault.put("t", "k", value("x"), "user/dev", NOW).await.unwrap();
    keks.rotate().await.unwrap();
    drop(vault);
    let vault = EncryptedFile::open(&path, keks.clone()).unwrap();
    assert_eq!(read(&vault, "t", "k").await, Some((1, "x".into())));
    assert_eq!(vault.reseal().await.unwrap(), 1);
}

/// The file and key of the release before (0.1, without ids of keys): schema N reads N-1.
#[tokio::test]
async fn a_vault_of_the_release_before_is_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/vault-0.1");
    let dir = tempfile::tempdir().unwrap();
    let (path, key) = (dir.path().join("vault.enc"), dir.path().join("vault.key"));
    std::fs::copy(folder.join("vault.enc"), &path).unwrap();
    crate::vault::key_file::write_private(&key, &std::fs::read(folder.join("vault.key.hex")).unwrap())
        .unwrap();
    let keks = Keks::open(crate::vault::key_file::KeyFile::plain(&key), Some(&path)).await.unwrap();
    let vault = EncryptedFile::open(&path, keks.clone()).unwrap();
    assert_eq!(read(&vault, "default", "openai").await, Some((2, "sk-second".into())));
    assert_eq!(vault.get("default", "openai", Some(1)).await.unwrap().unwrap().1.expose(), b"sk-first");
    assert_eq!(read(&vault, "default", "empty").await, Some((1, String::new())));
    keks.rotate().await.unwrap();
    assert_eq!(vault.reseal().await.unwrap(), 3);
    assert_eq!(read(&vault, "default", "openai").await, Some((2, "sk-second".into())));
}

/// Two instances on one file, and both see what the other sets.
#[tokio::test]
async fn two_instances_on_one_file_are_one() {
    let dir = tempfile::tempdir().unwrap();
    let opening = |id: &str, settings| Opening::standalone(id, settings, dir.path());
    let one = open(opening("one", serde_json::json!({}))).await.unwrap();
    let two = open(opening("two", serde_json::json!({ "file": "vault.enc" }))).await.unwrap();
    for (n, store) in [&one, &two, &one].into_iter().enumerate() {
        store.put("t", &format!("k{n}"), value("x"), "user/dev", NOW).await.unwrap();
    }
    assert_eq!(two.list("t", None, 10).await.unwrap().len(), 3);
    let other_key = serde_json::json!({ "keyFile": "other.key" });
    assert!(open(opening("three", other_key)).await.is_err());
}

/// services.md D8 and D10: the reference's file and its sharing are named, not misread.
#[tokio::test]
async fn d8_d10_what_belongs_to_the_reference_is_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("vault.json"), "{}").unwrap();
    let error = async |settings| {
        let opened = open(Opening::standalone("vault", settings, dir.path())).await;
        format!("{:#}", opened.err().unwrap())
    };
    // No key file is there, and one beside a file that nobody can read is not made.
    crate::vault::key_file::write_private(&dir.path().join("keys/vault.key"), "07".repeat(32).as_bytes())
        .unwrap();
    assert!(error(serde_json::json!({ "file": "vault.json" })).await.contains("sre import"));
    assert!(error(serde_json::json!({ "shared": "default" })).await.contains("sre vault grant"));
    assert!(error(serde_json::json!({ "fil": "x" })).await.contains("`file`"));
}
