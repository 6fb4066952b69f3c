use super::*;

fn file(dir: &tempfile::TempDir) -> KeyFile {
    KeyFile::plain(&dir.path().join("keys/vault.key"))
}

#[tokio::test]
async fn what_an_older_key_sealed_opens_during_and_after_a_rotation() {
    let dir = tempfile::tempdir().unwrap();
    let keks = Keks::open(file(&dir), None).await.unwrap();
    let first = keks.seal("p", b"one").unwrap();
    keks.rotate().await.unwrap();
    let second = keks.seal("p", b"two").unwrap();
    assert_ne!(first.kek(), second.kek());
    let again = keks.reseal("p", &first).unwrap().unwrap();
    assert_eq!(again.kek(), second.kek());
    assert_eq!(keks.reseal("p", &again).unwrap(), None);
    assert!(keks.reseal("q", &first).is_err(), "the place is bound");
    // Whoever reads the files anew knows the same keys.
    let read = Keks::read(file(&dir).path()).unwrap();
    for (sealed, value) in [(&first, b"one"), (&again, b"one"), (&second, b"two")] {
        assert_eq!(keks.unseal("p", sealed).unwrap().as_slice(), value);
        assert_eq!(read.unseal("p", sealed).unwrap().as_slice(), value);
    }
    keks.forget_old().await.unwrap();
    assert!(matches!(keks.unseal("p", &first), Err(EnvelopeError::UnknownKey(_))));
    assert_eq!(keks.unseal("p", &again).unwrap().as_slice(), b"one");
}

/// A value of an older release does not say which key sealed it.
#[tokio::test]
async fn a_value_without_a_key_id_opens_after_a_rotation() {
    let keks = Keks::in_memory().unwrap();
    let sealed = keks.seal("p", b"old").unwrap();
    let mut json = serde_json::to_value(&sealed).unwrap();
    json.as_object_mut().unwrap().remove("kek").unwrap();
    let sealed: Sealed = serde_json::from_value(json).unwrap();
    keks.rotate().await.unwrap();
    assert_eq!(keks.unseal("p", &sealed).unwrap().as_slice(), b"old");
    let again = keks.reseal("p", &sealed).unwrap().unwrap();
    assert_eq!(again.kek(), Some(keks.primary().id()));
    let other = Keks::in_memory().unwrap();
    assert_eq!(other.unseal("p", &sealed), Err(EnvelopeError::NotAuthentic));
}

#[tokio::test]
async fn all_of_a_process_share_the_keys_of_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let one = Keks::open(file(&dir), None).await.unwrap();
    let two = Keks::open(file(&dir), None).await.unwrap();
    one.rotate().await.unwrap();
    assert!(one.is(&two));
    assert_eq!(one.primary().id(), two.primary().id());
}

#[tokio::test]
async fn a_key_that_another_process_made_is_found_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let here = Keks::open(file(&dir), None).await.unwrap();
    // Another process on the same folder.
    let there = Keks::over(file(&dir).load().await.unwrap(), Some(file(&dir)));
    there.rotate().await.unwrap();
    let sealed = there.seal("p", b"v").unwrap();
    assert!(matches!(here.unseal("p", &sealed), Err(EnvelopeError::UnknownKey(_))));
    assert_eq!(here.unseal_shared("p", &sealed).await.unwrap().as_slice(), b"v");
    assert_eq!(here.primary().id(), there.primary().id());
}

/// An operator who replaces the file by hand does not lock the process out of what it has.
#[tokio::test]
async fn a_key_replaced_by_hand_still_opens() {
    let dir = tempfile::tempdir().unwrap();
    let keks = Keks::open(file(&dir), None).await.unwrap();
    let sealed = keks.seal("p", b"v").unwrap();
    let fresh = Ring { primary: Kek::generate().unwrap(), old: Vec::new() };
    file(&dir).save(&fresh).await.unwrap();
    assert!(keks.reload().await.unwrap());
    assert_eq!(keks.primary().id(), fresh.primary.id());
    assert_eq!(keks.unseal("p", &sealed).unwrap().as_slice(), b"v");
}

#[tokio::test]
async fn old_keys_do_not_pile_up_for_ever() {
    let keks = Keks::in_memory().unwrap();
    for _ in 0..MAX_OLD_KEYS {
        keks.rotate().await.unwrap();
    }
    assert!(matches!(keks.rotate().await, Err(KeyFileError::TooManyOld(MAX_OLD_KEYS))));
    keks.forget_old().await.unwrap();
    keks.rotate().await.unwrap();
}
