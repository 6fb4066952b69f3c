use super::*;

const NOW: Moment = Moment(1_700_000_000_000_000);

fn value(text: &str) -> SecretValue {
    SecretValue::new(text.as_bytes().to_vec())
}

async fn read(vault: &EncryptedFile, team: &str, key: &str) -> Option<(u64, String)> {
    let (info, value) = vault.get(team, key).await.unwrap()?;
    Some((info.version, String::from_utf8(value.expose().to_vec()).unwrap()))
}

#[tokio::test]
async fn values_outlive_the_process_and_are_not_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vault.enc");
    let kek = Kek::generate().unwrap();
    {
        let vault = EncryptedFile::open(&path, kek.clone()).unwrap();
        vault.put("t", "AWS Key ID (m192)", value("sk-canary-1234"), "user/dev", NOW).await.unwrap();
        vault.put("t", "empty", value(""), "user/dev", NOW).await.unwrap();
    }
    let bytes = std::fs::read(&path).unwrap();
    for clear in ["sk-canary-1234", "AWS Key ID", "user/dev"] {
        assert!(!bytes.windows(clear.len()).any(|window| window == clear.as_bytes()), "{clear}");
    }
    let vault = EncryptedFile::open(&path, kek).unwrap();
    assert_eq!(read(&vault, "t", "AWS Key ID (m192)").await, Some((1, "sk-canary-1234".into())));
    // An empty value is a value, not an absent one.
    assert_eq!(read(&vault, "t", "empty").await, Some((1, String::new())));
    assert_eq!(read(&vault, "other", "empty").await, None);
}

#[tokio::test]
async fn versions_count_up_and_old_ones_go() {
    let dir = tempfile::tempdir().unwrap();
    let vault = EncryptedFile::open(&dir.path().join("vault.enc"), Kek::generate().unwrap()).unwrap();
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
async fn a_list_is_of_one_team_and_paged_by_key() {
    let dir = tempfile::tempdir().unwrap();
    let vault = EncryptedFile::open(&dir.path().join("vault.enc"), Kek::generate().unwrap()).unwrap();
    for key in ["b", "a", "c"] {
        vault.put("t", key, value("x"), "user/dev", NOW).await.unwrap();
    }
    vault.put("u", "z", value("x"), "user/eve", NOW).await.unwrap();
    let keys = |rows: Vec<SecretInfo>| rows.into_iter().map(|row| row.key).collect::<Vec<_>>();
    assert_eq!(keys(vault.list("t", None, 2).await.unwrap()), ["a", "b"]);
    assert_eq!(keys(vault.list("t", Some("b"), 2).await.unwrap()), ["c"]);
}

#[tokio::test]
async fn a_changed_cut_or_foreign_file_does_not_open() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vault.enc");
    let kek = Kek::generate().unwrap();
    let vault = EncryptedFile::open(&path, kek.clone()).unwrap();
    vault.put("t", "k", value("x"), "user/dev", NOW).await.unwrap();
    let whole = std::fs::read(&path).unwrap();

    let mut changed = whole.clone();
    *changed.last_mut().unwrap() ^= 1;
    for bytes in [&changed[..], &whole[..whole.len() - 1], &whole[..20], b"", b"{}"] {
        std::fs::write(&path, bytes).unwrap();
        assert!(matches!(EncryptedFile::open(&path, kek.clone()), Err(SecretStoreError::Damaged(_))));
    }
    std::fs::write(&path, &whole).unwrap();
    let other = EncryptedFile::open(&path, Kek::generate().unwrap());
    assert!(matches!(other, Err(SecretStoreError::Damaged(text)) if text.contains("restore that key")));
}

#[tokio::test]
async fn a_write_that_fails_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("data");
    std::fs::create_dir(&folder).unwrap();
    let vault = EncryptedFile::open(&folder.join("vault.enc"), Kek::generate().unwrap()).unwrap();
    vault.put("t", "k", value("one"), "user/dev", NOW).await.unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(matches!(
        vault.put("t", "k", value("two"), "user/dev", NOW).await,
        Err(SecretStoreError::Unavailable(_))
    ));
    assert_eq!(read(&vault, "t", "k").await, Some((1, "one".into())));
}

#[tokio::test]
async fn concurrent_writers_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let vault = EncryptedFile::open(&dir.path().join("vault.enc"), Kek::generate().unwrap()).unwrap();
    let keys: Vec<String> = (0..8).map(|n| format!("k{n}")).collect();
    let writes = keys.iter().map(|key| vault.put("t", key, value("x"), "user/dev", NOW));
    for done in futures::future::join_all(writes).await {
        done.unwrap();
    }
    assert_eq!(vault.list("t", None, 100).await.unwrap().len(), 8);
}
