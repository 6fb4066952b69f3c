//! Cases that need no writing through the backend.

use super::{Bench, STRANGE_KEYS};

/// services.md D14 and H38: what is absent is absent, and no error or made-up value.
pub(crate) async fn what_is_not_there_is_not_found(bench: &Bench) {
    bench.given("t", "k", "v").await;
    assert!(bench.store.get("t", "other", None).await.unwrap().is_none());
    assert!(bench.store.get("t", "k", Some(987_654_321)).await.unwrap().is_none());
    assert!(bench.store.stat("t", "other").await.unwrap().is_none());
    assert!(bench.store.get("nobody", "k", None).await.unwrap().is_none());
    assert!(bench.store.list("nobody", None, 10).await.unwrap().is_empty());
    assert!(bench.store.versions("t", "other", None, 10).await.unwrap().is_empty());
}

pub(crate) async fn what_is_there_is_read(bench: &Bench) {
    bench.given("t", "openai", "sk-1").await;
    let (info, value) = bench.store.get("t", "openai", None).await.unwrap().unwrap();
    assert_eq!((info.key.as_str(), value.expose()), ("openai", &b"sk-1"[..]));
    let stat = bench.store.stat("t", "openai").await.unwrap().unwrap();
    assert_eq!((stat.key.as_str(), stat.version), ("openai", info.version));
    let versions = bench.store.versions("t", "openai", None, 10).await.unwrap();
    assert_eq!((versions.len(), versions[0].version), (1, info.version));
    let again = bench.store.get("t", "openai", Some(info.version)).await.unwrap().unwrap();
    assert_eq!(again.1.expose(), b"sk-1");
    assert!(bench.store.versions("t", "openai", Some(info.version), 10).await.unwrap().is_empty());
}

/// services.md D11: an empty value exists, is listed and is read.
pub(crate) async fn an_empty_value_is_a_value(bench: &Bench) {
    bench.given("t", "empty", "").await;
    assert_eq!(bench.text("t", "empty").await.as_deref(), Some(""));
    assert_eq!(bench.keys("t", None, 10).await, ["empty"]);
    assert!(bench.store.stat("t", "empty").await.unwrap().is_some());
}

pub(crate) async fn strange_keys_are_keys(bench: &Bench) {
    // A file's name may not begin so; everywhere else it is a key like others.
    let keys: Vec<&str> =
        STRANGE_KEYS.into_iter().filter(|key| bench.seed.is_none() || !key.starts_with("..")).collect();
    for key in &keys {
        bench.given("t", key, &format!("value of {key}")).await;
    }
    for key in &keys {
        assert_eq!(bench.text("t", key).await, Some(format!("value of {key}")), "{key:?}");
        assert_eq!(bench.store.stat("t", key).await.unwrap().unwrap().key, *key);
    }
    let mut sorted: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
    sorted.sort();
    assert_eq!(bench.keys("t", None, 100).await, sorted);
    assert!(bench.text("t", "A*").await.is_none());
}

pub(crate) async fn a_list_is_of_one_team_and_paged_by_key(bench: &Bench) {
    for key in ["b", "a", "c", "ab"] {
        bench.given("t", key, "x").await;
    }
    // Neither a longer nor a shorter team's name is this team's.
    bench.given("tt", "z", "x").await;
    bench.given("t-", "y", "x").await;
    assert_eq!(bench.keys("t", None, 2).await, ["a", "ab"]);
    assert_eq!(bench.keys("t", Some("ab"), 2).await, ["b", "c"]);
    assert_eq!(bench.keys("t", Some("c"), 2).await, Vec::<String>::new());
    assert_eq!(bench.keys("t", Some("aa"), 1).await, ["ab"]);
    assert_eq!(bench.keys("t-", None, 5).await, ["y"]);
}

/// services.md D12: what has changed is read as it is now.
pub(crate) async fn d12_a_change_is_seen_at_once(bench: &Bench) {
    for text in ["one", "two", "three"] {
        bench.given("t", "k", text).await;
        assert_eq!(bench.text("t", "k").await.as_deref(), Some(text));
    }
}

/// services.md H9: no key leads to another team's secret, or out of the backend.
pub(crate) async fn names_do_not_lead_out_of_a_team(bench: &Bench) {
    bench.given("t", "k", "mine").await;
    bench.given("other", "k", "theirs").await;
    for key in ["../other/k", "..", ".", "../../etc/passwd", "/etc/passwd", "k/..", "./k", "k/", "other/k"] {
        if let Ok(found) = bench.store.get("t", key, None).await {
            assert!(found.is_none(), "{key:?}");
        }
    }
}

pub(crate) async fn the_backend_is_well(bench: &Bench) {
    bench.store.check().await.unwrap();
}
