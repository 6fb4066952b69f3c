//! Namespaces without the network.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use sre_store::{OpenOptions, Store};

use super::{KeyName, NamespaceName, Namespaces, Set};
use crate::basis::{Basis, Condition, Record};
use crate::clock::Clock;
use crate::error::IoError;
use crate::schema::MIGRATIONS;
use crate::usage::{Kind, Quota, of};

struct Fixture {
    _dir: tempfile::TempDir,
    namespaces: Namespaces,
    now: Arc<AtomicI64>,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(OpenOptions::new(dir.path().join("io.db"), "data_dir", MIGRATIONS)).unwrap();
        let now = Arc::new(AtomicI64::new(1_000_000));
        let read = Arc::clone(&now);
        let clock = Clock::from_fn(move || read.load(Ordering::Relaxed));
        Self { _dir: dir, namespaces: Namespaces::new(store, clock), now }
    }

    fn pass(&self, time: Duration) {
        self.now.fetch_add(time.as_millis() as i64, Ordering::Relaxed);
    }

    async fn set(&self, name: &str, value: &str, change: impl FnOnce(&mut Set)) -> Result<String, IoError> {
        let name = KeyName::parse(name).unwrap();
        let there = self.namespaces.find(&name.parent).await?;
        let mut set = Set {
            name,
            value: value.into(),
            content_type: "application/json".into(),
            condition: Condition::Always,
            basis: there.map_or_else(Basis::absent, |row| Basis::row(&row.acl)),
            acl_when_new: "new".into(),
            time_to_live: None,
        };
        change(&mut set);
        Ok(self.namespaces.set(set, nothing()).await?.etag)
    }

    async fn get(&self, name: &str) -> Option<String> {
        let (_, value) = self.namespaces.get(&KeyName::parse(name).unwrap()).await.unwrap();
        value.map(|row| String::from_utf8(row.value).unwrap())
    }

    async fn keys(&self, namespace: &str, prefix: &str) -> Vec<String> {
        let name = NamespaceName::parse(namespace).unwrap();
        let (_, page) = self.namespaces.list(&name, prefix, "", 100).await.unwrap();
        page.values.into_iter().map(|row| row.key).collect()
    }

    async fn used(&self) -> (i64, i64) {
        self.namespaces.store.read(|conn| of(conn, "t", Kind::Values)).await.unwrap()
    }
}

fn nothing() -> Record {
    Box::new(|_| Ok(()))
}

/// H28: namespaces are exact sets; a longer name, a glob or an empty prefix reaches nothing else.
#[tokio::test]
async fn h28_namespaces_and_prefixes_are_exact() {
    let fx = Fixture::new();
    for name in ["a/keys/k", "a/keys/kk", "ab/keys/k", "a:b/keys/c", "a/keys/b:c", "a?/keys/k", "*/keys/k"] {
        fx.set(&format!("teams/t/nkv/{name}"), "1", |_| {}).await.unwrap();
    }
    fx.set("teams/u/nkv/a/keys/k", "other team", |_| {}).await.unwrap();
    assert_eq!(fx.keys("teams/t/nkv/a", "").await, ["b:c", "k", "kk"]);
    assert_eq!(fx.keys("teams/t/nkv/a", "k").await, ["k", "kk"]);
    assert_eq!(fx.keys("teams/t/nkv/a", "*").await, Vec::<String>::new());
    assert_eq!(fx.keys("teams/t/nkv/a", "k_").await, Vec::<String>::new());
    assert_eq!(fx.keys("teams/t/nkv/a?", "").await, ["k"]);
    let name = NamespaceName::parse("teams/t/nkv/*").unwrap();
    fx.namespaces.delete_namespace(&name, Basis::row("new"), nothing()).await.unwrap();
    assert_eq!(fx.keys("teams/t/nkv/*", "").await, Vec::<String>::new());
    assert_eq!(fx.keys("teams/t/nkv/ab", "").await, ["k"]);
    assert_eq!(fx.get("teams/u/nkv/a/keys/k").await.as_deref(), Some("other team"));
}

/// H33: the decision is checked again inside the transaction of the change.
#[tokio::test]
async fn h33_a_list_changed_between_check_and_act_is_noticed() {
    let fx = Fixture::new();
    let key = "teams/t/nkv/a/keys/k";
    fx.set(key, "1", |_| {}).await.unwrap();
    let name = NamespaceName::parse("teams/t/nkv/a").unwrap();
    fx.namespaces.set_acl(&name, Basis::row("new"), "other".into(), nothing()).await.unwrap();
    for basis in [Basis::absent(), Basis::row("new")] {
        let stale = fx.set(key, "2", |set| set.basis = basis.clone()).await;
        assert!(matches!(stale, Err(IoError::AclChanged)));
        let key = KeyName::parse(key).unwrap();
        let deleted = fx.namespaces.delete(&key, basis.clone(), Condition::Always, nothing()).await;
        assert!(matches!(deleted, Err(IoError::AclChanged)));
        let dropped = fx.namespaces.delete_namespace(&name, basis, nothing()).await;
        assert!(matches!(dropped, Err(IoError::AclChanged)));
    }
    assert_eq!(fx.get(key).await.as_deref(), Some("1"));
}

#[tokio::test]
async fn compare_and_set() {
    let fx = Fixture::new();
    let key = "teams/t/nkv/a/keys/k";
    let first = fx.set(key, "1", |set| set.condition = Condition::IfAbsent).await.unwrap();
    let again = fx.set(key, "2", |set| set.condition = Condition::IfAbsent).await;
    assert!(matches!(again, Err(IoError::Exists)));
    let second = fx.set(key, "2", |set| set.condition = Condition::IfMatch(first.clone())).await.unwrap();
    assert_ne!(first, second);
    let stale = fx.set(key, "3", |set| set.condition = Condition::IfMatch(first)).await;
    assert!(matches!(stale, Err(IoError::OtherVersion)));
    assert_eq!(fx.get(key).await.as_deref(), Some("2"));
}

#[tokio::test]
async fn falsy_values_stay_and_expiry_is_exact() {
    let fx = Fixture::new();
    let key = "teams/t/nkv/a/keys/k";
    for value in ["", "0", "false", "null"] {
        fx.set(key, value, |_| {}).await.unwrap();
        assert_eq!(fx.get(key).await.as_deref(), Some(value));
    }
    fx.set(key, "1", |set| set.time_to_live = Some(Duration::from_secs(1))).await.unwrap();
    fx.pass(Duration::from_millis(999));
    assert_eq!(fx.keys("teams/t/nkv/a", "").await, ["k"]);
    fx.pass(Duration::from_millis(1));
    assert_eq!(fx.get(key).await, None);
    assert_eq!(fx.keys("teams/t/nkv/a", "").await, Vec::<String>::new());
    assert_eq!(fx.used().await, (1, 2));
    assert_eq!(fx.namespaces.sweep().await.unwrap(), 1);
    assert_eq!(fx.used().await, (0, 0));
}

#[tokio::test]
async fn a_dropped_namespace_is_gone_at_once_and_swept_in_batches() {
    let fx = Fixture::new();
    for n in 0..super::SWEEP_BATCH + 3 {
        fx.set(&format!("teams/t/nkv/a/keys/{n}"), "1", |_| {}).await.unwrap();
    }
    let name = NamespaceName::parse("teams/t/nkv/a").unwrap();
    fx.namespaces.delete_namespace(&name, Basis::row("new"), nothing()).await.unwrap();
    // One of the same name is another: it holds nothing of the old one.
    fx.set("teams/t/nkv/a/keys/x", "2", |_| {}).await.unwrap();
    assert_eq!(fx.keys("teams/t/nkv/a", "").await, ["x"]);
    assert_eq!(fx.namespaces.sweep().await.unwrap(), i64::from(super::SWEEP_BATCH) + 3);
    assert_eq!(fx.used().await, (1, 2));
}

#[tokio::test]
async fn pages_go_on_where_the_last_ended() {
    let fx = Fixture::new();
    for key in ["a", "b", "c", "d"] {
        fx.set(&format!("teams/t/nkv/n/keys/{key}"), "1", |_| {}).await.unwrap();
    }
    let name = NamespaceName::parse("teams/t/nkv/n").unwrap();
    let (_, page) = fx.namespaces.list(&name, "", "a", 2).await.unwrap();
    let keys: Vec<_> = page.values.iter().map(|row| row.key.as_str()).collect();
    assert_eq!((keys, page.has_more), (vec!["b", "c"], true));
    let (_, page) = fx.namespaces.list(&name, "", "c", 2).await.unwrap();
    assert_eq!((page.values.len(), page.has_more), (1, false));
    // Large values make shorter pages, so that an answer fits into a message.
    let large = "x".repeat(super::MAX_VALUE_BYTES);
    for key in ["x1", "x2", "x3"] {
        fx.set(&format!("teams/t/nkv/n/keys/{key}"), &large, |_| {}).await.unwrap();
    }
    let (_, page) = fx.namespaces.list(&name, "x", "", 10).await.unwrap();
    assert!(page.has_more && page.values.len() < 3);
}

#[tokio::test]
async fn the_quota_is_held_in_the_transaction() {
    let mut fx = Fixture::new();
    fx.namespaces.quota = Quota { items: 1, bytes: 10 };
    fx.set("teams/t/nkv/a/keys/k", "1", |_| {}).await.unwrap();
    let more = fx.set("teams/t/nkv/b/keys/k", "1", |_| {}).await;
    assert!(matches!(more, Err(IoError::Quota { .. })));
    // The namespace that the refused value would have made was undone with it.
    assert!(fx.namespaces.find(&NamespaceName::parse("teams/t/nkv/b").unwrap()).await.unwrap().is_none());
    fx.set("teams/t/nkv/a/keys/k", "22", |_| {}).await.unwrap();
}
