use std::time::Duration;

use super::*;
use crate::managed_vault::connectors::contract::{self, Bench, place, value};

fn open(dir: &tempfile::TempDir, keks: &Keks) -> Embedded {
    let options = sre_store::OpenOptions::new(dir.path().join("managed.db"), "store.dir", MIGRATIONS);
    Embedded::new(Database::from(sre_store::Store::open(options).unwrap()), keks.clone())
}

async fn fresh() -> Option<Bench> {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, &Keks::in_memory().unwrap());
    Some(Bench::over(store, dir))
}

contract::every_case!(fresh);

#[tokio::test]
async fn a_rotation_wraps_all_rows_anew() {
    let dir = tempfile::tempdir().unwrap();
    let keks = Keks::in_memory().unwrap();
    let bench = Bench::over(open(&dir, &keks), ());
    for n in 0..BATCH + 20 {
        let at = place(&format!("a{}", n / 400), &format!("k{n}"));
        bench.done(&at, &n.to_string()).await;
    }
    keks.rotate().await.unwrap();
    assert_eq!(bench.text(&place("a0", "k7")).await.as_deref(), Some("7"));
    bench.done(&place("a0", "k7"), "new").await;
    assert_eq!(bench.store.reseal().await.unwrap(), u64::try_from(BATCH).unwrap() + 19);
    assert_eq!(bench.store.reseal().await.unwrap(), 0);
    keks.forget_old().await.unwrap();
    assert_eq!(bench.text(&place("a0", "k7")).await.as_deref(), Some("new"));
    assert_eq!(bench.text(&place("a1", "k519")).await.as_deref(), Some("519"));
}

/// services.md §4.3 group 7: a value that was moved to another row does not open.
#[tokio::test]
async fn a_moved_value_does_not_open() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, &Keks::in_memory().unwrap());
    let raw = store.store.clone();
    let bench = Bench::over(store, dir);
    bench.done(&place("a", "k"), "mine").await;
    bench.done(&place("b", "k"), "theirs").await;
    raw.write(|tx| {
        let sql = "update managed_secret set sealed = (select sealed from managed_secret where agent = 'b'),
                   version = (select version from managed_secret where agent = 'b') where agent = 'a'";
        tx.execute(sql, params![])
    })
    .await
    .unwrap();
    let moved = bench.store.get(&place("a", "k"), Moment::now()).await;
    assert!(matches!(moved, Err(SecretStoreError::Damaged(_))));
}

#[tokio::test]
async fn at_rest_no_value_is_in_clear() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::over(open(&dir, &Keks::in_memory().unwrap()), ());
    bench.done(&place("a", "k"), "value-canary").await;
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(12).any(|window| window == b"value-canary"));
    }
}

#[tokio::test]
async fn a_sweep_removes_what_has_expired_and_nothing_else() {
    let bench = fresh().await.unwrap();
    let now = Moment::now();
    for (key, seconds) in [("a", Some(10)), ("b", Some(20)), ("c", None)] {
        let expires = seconds.map(|seconds| now.plus(Duration::from_secs(seconds)));
        bench.store.set(&place("a", key), value("v"), expires, Expected::Anything, now).await.unwrap();
    }
    let later = now.plus(Duration::from_secs(15));
    assert_eq!(bench.store.sweep(later).await.unwrap(), 1);
    assert_eq!(bench.store.sweep(later).await.unwrap(), 0);
    assert_eq!(bench.store.purge("t", "a").await.unwrap(), 2);
}

#[tokio::test]
async fn an_agent_has_a_bounded_number() {
    let bench = fresh().await.unwrap();
    for n in 0..MAX_PER_AGENT {
        bench.done(&place("a", &n.to_string()), "v").await;
    }
    let over =
        bench.store.set(&place("a", "more"), value("v"), None, Expected::Anything, Moment::now()).await;
    assert!(matches!(over, Err(SecretStoreError::Full(_))));
    bench.done(&place("a", "0"), "again").await;
    bench.done(&place("b", "more"), "v").await;
}
