//! Cases of backends that can be written.

use std::sync::Arc;

use super::{Bench, NOW, WRITER, value};
use crate::vault::MAX_VALUE_BYTES;
use crate::vault::secret::SecretValue;

pub(crate) async fn a_value_is_there_until_it_is_replaced(bench: &Bench) {
    let first = bench.put("t", "k", "one").await;
    assert_eq!((first.key.as_str(), first.updater.as_str()), ("k", WRITER));
    assert!(first.version >= 1);
    let second = bench.put("t", "k", "two").await;
    assert!(second.version > first.version);
    assert_eq!(bench.text("t", "k").await.as_deref(), Some("two"));
    assert_eq!(bench.store.stat("t", "k").await.unwrap().unwrap().version, second.version);
}

pub(crate) async fn versions_grow_and_stay_readable(bench: &Bench) {
    let mut numbers = Vec::new();
    for n in 0..10 {
        numbers.push(bench.put("t", "k", &format!("value {n}")).await.version);
    }
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    for (n, number) in numbers.iter().enumerate() {
        let (info, value) = bench.store.get("t", "k", Some(*number)).await.unwrap().unwrap();
        assert_eq!((info.version, value.expose()), (*number, format!("value {n}").as_bytes()));
    }
    let listed = bench.store.versions("t", "k", None, 100).await.unwrap();
    numbers.reverse();
    assert_eq!(listed.iter().map(|one| one.version).collect::<Vec<_>>(), numbers);
}

pub(crate) async fn versions_are_paged(bench: &Bench) {
    for n in 0..5 {
        bench.put("t", "k", &n.to_string()).await;
    }
    let all: Vec<u64> =
        bench.store.versions("t", "k", None, 100).await.unwrap().iter().map(|one| one.version).collect();
    let mut paged = Vec::new();
    let mut before = None;
    loop {
        let page = bench.store.versions("t", "k", before, 2).await.unwrap();
        paged.extend(page.iter().map(|one| one.version));
        if page.len() < 2 {
            break;
        }
        before = paged.last().copied();
    }
    assert_eq!((paged.len(), &paged), (5, &all));
}

pub(crate) async fn a_deleted_secret_is_gone_with_its_versions(bench: &Bench) {
    let first = bench.put("t", "k", "one").await;
    bench.put("t", "k", "two").await;
    bench.put("t", "other", "stays").await;
    assert!(bench.store.delete("t", "k").await.unwrap());
    assert!(!bench.store.delete("t", "k").await.unwrap());
    assert!(!bench.store.delete("t", "never").await.unwrap());
    assert_eq!(bench.text("t", "k").await, None);
    assert!(bench.store.get("t", "k", Some(first.version)).await.unwrap().is_none());
    assert!(bench.store.versions("t", "k", None, 10).await.unwrap().is_empty());
    assert_eq!(bench.keys("t", None, 10).await, ["other"]);
    // Set again, it does not have what was deleted.
    let again = bench.put("t", "k", "three").await;
    assert_eq!(bench.text("t", "k").await.as_deref(), Some("three"));
    let versions = bench.store.versions("t", "k", None, 10).await.unwrap();
    assert_eq!(versions.iter().map(|one| one.version).collect::<Vec<_>>(), [again.version]);
    if again.version != first.version {
        assert!(bench.store.get("t", "k", Some(first.version)).await.unwrap().is_none());
    }
}

pub(crate) async fn teams_share_nothing(bench: &Bench) {
    bench.put("t", "k", "of t").await;
    bench.put("u", "k", "of u").await;
    assert_eq!(bench.text("t", "k").await.as_deref(), Some("of t"));
    assert!(bench.store.delete("u", "k").await.unwrap());
    assert_eq!(bench.text("t", "k").await.as_deref(), Some("of t"));
    assert_eq!(bench.text("u", "k").await, None);
}

pub(crate) async fn concurrent_writers_lose_nothing(bench: &Bench) {
    let keys: Vec<String> = (0..8).map(|n| format!("k{n}")).collect();
    let writes = keys.iter().map(|key| bench.put("t", key, key));
    futures::future::join_all(writes).await;
    assert_eq!(bench.keys("t", None, 100).await, keys);
    for key in &keys {
        assert_eq!(bench.text("t", key).await.as_ref(), Some(key));
    }
}

pub(crate) async fn writers_of_one_secret_lose_no_version(bench: &Bench) {
    let store = &bench.store;
    let writes = (0..6).map(|n| {
        let store = Arc::clone(store);
        async move {
            let text = format!("value {n}");
            (store.put("t", "k", value(&text), WRITER, NOW).await.unwrap().version, text)
        }
    });
    let mut written = futures::future::join_all(writes).await;
    written.sort();
    let numbers: std::collections::BTreeSet<u64> = written.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers.len(), 6, "{written:?}");
    for (number, text) in &written {
        let (_, value) = store.get("t", "k", Some(*number)).await.unwrap().unwrap();
        assert_eq!(value.expose(), text.as_bytes());
    }
    assert_eq!(bench.text("t", "k").await, written.last().map(|(_, text)| text.clone()));
}

pub(crate) async fn the_largest_value_fits(bench: &Bench) {
    let text = "x".repeat(MAX_VALUE_BYTES);
    bench.put("t", "large", &text).await;
    assert_eq!(bench.text("t", "large").await, Some(text));
}

pub(crate) async fn values_are_bytes(bench: &Bench) {
    let bytes: Vec<u8> = (0..=255).collect();
    bench.store.put("t", "bytes", SecretValue::new(bytes.clone()), WRITER, NOW).await.unwrap();
    let (_, value) = bench.store.get("t", "bytes", None).await.unwrap().unwrap();
    assert_eq!(value.expose(), bytes);
    let json = r#"{"only":"field"}"#;
    bench.put("t", "json", json).await;
    assert_eq!(bench.text("t", "json").await.as_deref(), Some(json));
}
