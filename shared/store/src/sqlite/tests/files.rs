//! Files: damage, places that cannot be, backups.

use super::*;
use crate::ErrorKind;

#[test]
fn damage_and_wrong_places_are_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("items.db"),
        "this is not a database, and long enough to be one".repeat(99),
    )
    .unwrap();
    let error = Store::open(options(&folder)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("items.db"), "{error}");

    let below_a_file = folder.path().join("items.db/below/x.db");
    let error = Store::open(OpenOptions::new(below_a_file, "items.store.dir", &MIGRATIONS)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
    assert!(error.to_string().contains("items.db/below"), "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, store) = open();
    store.write(|tx| insert(tx, "x")).await.unwrap();
    store.backup(folder.path().join("copy.db")).await.unwrap();
    for name in ["items.db", "items.db-wal", "items.db.lock", "copy.db"] {
        let mode = std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name}: {mode:o}");
    }
}

#[tokio::test]
async fn a_backup_is_a_store_of_what_was_committed() {
    let (folder, store) = open();
    store.write(|tx| insert(tx, "kept")).await.unwrap();
    let to = folder.path().join("backups/one.db");
    // Though a write is under way.
    let held = Held::start(&store, "too late").await;
    store.backup(&to).await.unwrap();
    held.release().await.unwrap();

    let again = store.backup(&to).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Io);
    assert!(again.to_string().contains("one.db"), "{again}");
    let left: Vec<_> =
        std::fs::read_dir(to.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["one.db"]);

    let copy = Store::open(OpenOptions::new(&to, "items.store.dir", &MIGRATIONS)).unwrap();
    assert_eq!(names(&copy).await, ["kept"]);
    copy.write(|tx| insert(tx, "goes on")).await.unwrap();
    assert_eq!(names(&store).await, ["kept", "too late"]);
}

/// As `sre backup` does it: a connection of its own, beside the one that holds the store.
#[tokio::test]
async fn a_snapshot_needs_no_lock_of_the_store() {
    let (folder, store) = open();
    store.write(|tx| insert(tx, "kept")).await.unwrap();
    let (from, to) = (folder.path().join("items.db"), folder.path().join("copies/one.db"));
    let held = Held::start(&store, "too late").await;
    let (source, target) = (from.clone(), to.clone());
    tokio::task::spawn_blocking(move || crate::snapshot(&source, &target)).await.unwrap().unwrap();
    held.release().await.unwrap();
    assert_eq!(names(&store).await, ["kept", "too late"]);
    let copy = Store::open(OpenOptions::new(&to, "items.store.dir", &MIGRATIONS)).unwrap();
    assert_eq!(names(&copy).await, ["kept"]);
    // And one that nobody holds.
    store.close().await.unwrap();
    drop(store);
    crate::snapshot(&from, &folder.path().join("copies/two.db")).unwrap();
}
