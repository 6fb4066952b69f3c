//! What every store of namespaces must do. A store is tested by one line in `tests.rs`:
//! `contract::every_case!(name, fresh)`, where `fresh` is an async function that makes a [`Bench`] over an empty
//! store, or gives none where its server is not there.

mod histories;

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use super::NkvStore;
use crate::basis::{Basis, Condition, Recorder, Unrecorded};
use crate::clock::Clock;
use crate::error::IoError;
use crate::nkv::model::{Range, Set};
use crate::nkv::name::{KeyName, NamespaceName};
use crate::usage::Quota;

pub(crate) use histories::random_histories_match_a_map;

/// A store and its clock.
pub(crate) struct Bench {
    pub(crate) store: Arc<dyn NkvStore>,
    pub(crate) time: Time,
    /// Keeps the store's server and files.
    pub(crate) _keep: Box<dyn Any + Send + Sync>,
}

/// A clock that tests move.
#[derive(Clone)]
pub(crate) struct Time(Arc<AtomicI64>);

impl Time {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicI64::new(Clock::system().now())))
    }

    pub(crate) fn clock(&self) -> Clock {
        let told = Arc::clone(&self.0);
        Clock::from_fn(move || told.load(Ordering::SeqCst))
    }

    fn pass(&self, time: Duration) {
        self.0.fetch_add(i64::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

/// What the cases allow a team: enough for all but the case of it.
const QUOTA: Quota = Quota { items: 2_000, bytes: 16 << 20 };

/// One test for each case.
macro_rules! every_case {
    ($backend:ident, $fresh:path) => {
        mod $backend {
            crate::nkv::connectors::contract::every_case!(@ $fresh,
                a_value_comes_back_whole, h28_namespaces_and_prefixes_are_exact,
                d30_names_and_values_are_kept_as_they_are, h33_a_list_changed_between_check_and_act_is_noticed,
                compare_and_set, d30_falsy_values_stay_and_expiry_is_exact, one_of_many_sets_over_a_version,
                h33_a_list_and_values_race, a_dropped_namespace_is_gone_at_once_and_swept,
                pages_go_on_where_the_last_ended, namespaces_are_listed_in_order, the_quota_is_held_in_the_step,
                many_writers_lose_nothing, a_delete_over_a_version, random_histories_match_a_map,
            );
        }
    };
    (@ $fresh:path, $($case:ident,)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            use crate::nkv::connectors::contract;
            let bench: Option<contract::Bench> = $fresh().await;
            let Some(bench) = bench else { return };
            contract::$case(&bench).await;
        }
    )*};
}
pub(crate) use every_case;

fn nothing() -> Recorder {
    Arc::new(Unrecorded)
}

fn key_name(name: &str) -> KeyName {
    KeyName::parse(name).unwrap()
}

fn namespace(name: &str) -> NamespaceName {
    NamespaceName::parse(name).unwrap()
}

impl Bench {
    async fn basis(&self, name: &NamespaceName) -> Basis {
        self.store.find(name).await.unwrap().map_or_else(Basis::absent, |found| Basis::row(&found.list))
    }

    async fn set(&self, name: &str, value: &str, change: impl FnOnce(&mut Set)) -> Result<String, IoError> {
        let name = key_name(name);
        let mut set = Set {
            basis: self.basis(&name.parent).await,
            name,
            value: value.to_owned().into(),
            content_type: "application/json".into(),
            condition: Condition::Always,
            list_when_new: "new".into(),
            time_to_live: None,
            quota: QUOTA,
        };
        change(&mut set);
        Ok(self.store.set(set, nothing()).await?.etag)
    }

    async fn get(&self, name: &str) -> Option<String> {
        let (_, value) = self.store.get(&key_name(name)).await.unwrap();
        value.map(|row| String::from_utf8(row.value.to_vec()).unwrap())
    }

    async fn keys(&self, of: &str, prefix: &str) -> Vec<String> {
        let (name, mut range) =
            (namespace(of), Range { prefix: prefix.into(), limit: 100, ..Range::default() });
        let mut keys = Vec::new();
        loop {
            let (_, page) = self.store.list(&name, &range).await.unwrap();
            keys.extend(page.values.into_iter().map(|row| row.key));
            let Some(next) = page.next else { return keys };
            range.after = next;
        }
    }

    async fn drop_namespace(&self, name: &str) -> Result<(), IoError> {
        let name = namespace(name);
        let basis = self.basis(&name).await;
        self.store.delete_namespace(&name, basis, nothing()).await
    }
}

pub(crate) async fn a_value_comes_back_whole(it: &Bench) {
    let key = "teams/t/nkv/a/keys/k";
    assert_eq!(it.store.get(&key_name(key)).await.unwrap(), (None, None));
    let set = |set: &mut Set| {
        set.value = vec![0, 255, b'\n', 7].into();
        set.content_type = "application/octet-stream".into();
        set.list_when_new = "a list | with; bars\nand lines".into();
        set.time_to_live = Some(Duration::from_millis(1500));
    };
    let etag = it.set(key, "", set).await.unwrap();
    let (found, row) = it.store.get(&key_name(key)).await.unwrap();
    assert_eq!(&*found.unwrap().list, "a list | with; bars\nand lines");
    let row = row.unwrap();
    assert_eq!(
        (&row.value[..], row.content_type.as_str()),
        (&[0, 255, b'\n', 7][..], "application/octet-stream")
    );
    assert_eq!((row.key.as_str(), row.etag), ("k", etag));
    let now = it.time.clock().now();
    assert_eq!((row.updated_ms, row.expires_ms), (now, Some(now + 1500)));
    let large = "x".repeat(crate::nkv::MAX_VALUE_BYTES);
    it.set(key, &large, |_| {}).await.unwrap();
    assert_eq!(it.get(key).await.unwrap(), large);
    assert_eq!(it.store.used("t").await.unwrap(), (1, 1 + (1 << 20)));
}

/// H28: namespaces are exact sets; a longer name, a glob or an empty prefix reaches nothing else.
pub(crate) async fn h28_namespaces_and_prefixes_are_exact(it: &Bench) {
    for name in [
        "a/keys/k",
        "a/keys/kk",
        "ab/keys/k",
        "a:b/keys/c",
        "a/keys/b:c",
        "a?/keys/k",
        "*/keys/k",
        "[a]/keys/k",
    ] {
        it.set(&format!("teams/t/nkv/{name}"), "1", |_| {}).await.unwrap();
    }
    it.set("teams/u/nkv/a/keys/k", "other team", |_| {}).await.unwrap();
    it.set("teams/tt/nkv/a/keys/k", "longer team", |_| {}).await.unwrap();
    assert_eq!(it.keys("teams/t/nkv/a", "").await, ["b:c", "k", "kk"]);
    assert_eq!(it.keys("teams/t/nkv/a", "k").await, ["k", "kk"]);
    for nothing in ["*", "k_", "k%", "?", "[k]"] {
        assert_eq!(it.keys("teams/t/nkv/a", nothing).await, Vec::<String>::new(), "{nothing}");
    }
    assert_eq!(it.keys("teams/t/nkv/a?", "").await, ["k"]);
    for dropped in ["*", "a?", "[a]", "a"] {
        it.drop_namespace(&format!("teams/t/nkv/{dropped}")).await.unwrap();
        assert_eq!(it.keys(&format!("teams/t/nkv/{dropped}"), "").await, Vec::<String>::new());
    }
    assert_eq!(it.keys("teams/t/nkv/ab", "").await, ["k"]);
    assert_eq!(it.keys("teams/t/nkv/a:b", "").await, ["c"]);
    assert_eq!(it.get("teams/u/nkv/a/keys/k").await.as_deref(), Some("other team"));
    assert_eq!(it.get("teams/tt/nkv/a/keys/k").await.as_deref(), Some("longer team"));
}

/// D30, H10: the reference changed names, mixed up `a:b`+`c` with `a`+`b:c`, and did not list nested keys.
pub(crate) async fn d30_names_and_values_are_kept_as_they_are(it: &Bench) {
    let keys = [
        "...", "a:b", "a/b", "a b", "A", "a", "a.", "a}b{", "q*", "q?", "ä", "a\u{308}", "%2F", "'\"",
        "x:y/z",
    ];
    for (n, key) in keys.iter().enumerate() {
        it.set(&format!("teams/t/nkv/.../keys/{key}"), &n.to_string(), |_| {}).await.unwrap();
    }
    let mut sorted: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
    sorted.sort();
    assert_eq!(it.keys("teams/t/nkv/...", "").await, sorted);
    for (n, key) in keys.iter().enumerate() {
        assert_eq!(it.get(&format!("teams/t/nkv/.../keys/{key}")).await, Some(n.to_string()), "{key}");
    }
    assert_eq!(it.get("teams/t/nkv/.../keys/x").await, None);
}

/// H33: the decision is checked again inside the step of the change.
pub(crate) async fn h33_a_list_changed_between_check_and_act_is_noticed(it: &Bench) {
    let key = "teams/t/nkv/a/keys/k";
    it.set(key, "1", |_| {}).await.unwrap();
    let name = namespace("teams/t/nkv/a");
    it.store.set_list(&name, Basis::row("new"), "other".into(), nothing()).await.unwrap();
    for basis in [Basis::absent(), Basis::row("new")] {
        let stale = it.set(key, "2", |set| set.basis = basis.clone()).await;
        assert!(matches!(stale, Err(IoError::AclChanged)), "{stale:?}");
        let deleted = it.store.delete(&key_name(key), basis.clone(), Condition::Always, nothing()).await;
        assert!(matches!(deleted, Err(IoError::AclChanged)), "{deleted:?}");
        let listed = it.store.set_list(&name, basis.clone(), "mine".into(), nothing()).await;
        assert!(matches!(listed, Err(IoError::AclChanged)), "{listed:?}");
        let dropped = it.store.delete_namespace(&name, basis, nothing()).await;
        assert!(matches!(dropped, Err(IoError::AclChanged)), "{dropped:?}");
    }
    assert_eq!(it.get(key).await.as_deref(), Some("1"));
    // Decided by a namespace that is gone.
    it.drop_namespace("teams/t/nkv/a").await.unwrap();
    let stale = it.set(key, "2", |set| set.basis = Basis::row("other")).await;
    assert!(matches!(stale, Err(IoError::AclChanged)), "{stale:?}");
    assert!(it.store.find(&name).await.unwrap().is_none());
    let absent = it.store.delete(&key_name(key), Basis::absent(), Condition::Always, nothing()).await;
    assert!(matches!(absent, Err(IoError::NotFound(_))), "{absent:?}");
    let absent = it.store.set_list(&name, Basis::absent(), "mine".into(), nothing()).await;
    assert!(matches!(absent, Err(IoError::NotFound(_))), "{absent:?}");
}

pub(crate) async fn compare_and_set(it: &Bench) {
    let key = "teams/t/nkv/a/keys/k";
    let absent = it.set(key, "1", |set| set.condition = Condition::IfMatch("x".into())).await;
    assert!(matches!(absent, Err(IoError::OtherVersion)), "{absent:?}");
    let first = it.set(key, "1", |set| set.condition = Condition::IfAbsent).await.unwrap();
    let again = it.set(key, "2", |set| set.condition = Condition::IfAbsent).await;
    assert!(matches!(again, Err(IoError::Exists)), "{again:?}");
    let second = it.set(key, "2", |set| set.condition = Condition::IfMatch(first.clone())).await.unwrap();
    assert_ne!(first, second);
    let stale = it.set(key, "3", |set| set.condition = Condition::IfMatch(first)).await;
    assert!(matches!(stale, Err(IoError::OtherVersion)), "{stale:?}");
    assert_eq!(it.get(key).await.as_deref(), Some("2"));
}

pub(crate) async fn a_delete_over_a_version(it: &Bench) {
    let key = "teams/t/nkv/a/keys/k";
    let first = it.set(key, "1", |_| {}).await.unwrap();
    let second = it.set(key, "2", |_| {}).await.unwrap();
    let name = key_name(key);
    let delete = |condition| it.store.delete(&name, Basis::row("new"), condition, nothing());
    assert!(matches!(delete(Condition::IfMatch(first)).await, Err(IoError::OtherVersion)));
    delete(Condition::IfMatch(second)).await.unwrap();
    assert!(matches!(delete(Condition::Always).await, Err(IoError::NotFound(_))));
    assert_eq!(it.get(key).await, None);
    assert_eq!(it.store.used("t").await.unwrap(), (0, 0));
    // The namespace and its list stay.
    assert_eq!(&*it.store.find(&namespace("teams/t/nkv/a")).await.unwrap().unwrap().list, "new");
}

pub(crate) async fn d30_falsy_values_stay_and_expiry_is_exact(it: &Bench) {
    let key = "teams/t/nkv/a/keys/k";
    for value in ["", "0", "false", "null"] {
        it.set(key, value, |_| {}).await.unwrap();
        assert_eq!(it.get(key).await.as_deref(), Some(value));
    }
    it.set(key, "1", |set| set.time_to_live = Some(Duration::from_secs(1))).await.unwrap();
    it.time.pass(Duration::from_millis(999));
    assert_eq!(it.keys("teams/t/nkv/a", "").await, ["k"]);
    it.time.pass(Duration::from_millis(1));
    assert_eq!(it.get(key).await, None);
    assert_eq!(it.keys("teams/t/nkv/a", "").await, Vec::<String>::new());
    assert_eq!(it.store.used("t").await.unwrap(), (1, 2));
    // What is over is absent for every condition, and gives its place in the books to what comes.
    let over = it.set(key, "2", |set| set.condition = Condition::IfMatch("x".into())).await;
    assert!(matches!(over, Err(IoError::OtherVersion)));
    it.set(key, "22", |set| {
        set.condition = Condition::IfAbsent;
        set.time_to_live = Some(Duration::from_secs(1));
    })
    .await
    .unwrap();
    assert_eq!(it.store.used("t").await.unwrap(), (1, 3));
    it.time.pass(Duration::from_secs(1));
    assert_eq!(it.store.sweep().await.unwrap(), 1);
    assert_eq!(it.store.used("t").await.unwrap(), (0, 0));
    // A set without a life takes the old end away.
    it.set(key, "1", |set| set.time_to_live = Some(Duration::from_secs(1))).await.unwrap();
    it.set(key, "1", |_| {}).await.unwrap();
    it.time.pass(Duration::from_secs(9));
    assert_eq!(it.store.sweep().await.unwrap(), 0);
    assert_eq!(it.get(key).await.as_deref(), Some("1"));
}

pub(crate) async fn one_of_many_sets_over_a_version(it: &Bench) {
    let key = "teams/t/nkv/a/keys/k";
    // Of those that make the namespace, too.
    for round in 0..4 {
        let condition = match it.store.get(&key_name(key)).await.unwrap().1 {
            Some(row) => Condition::IfMatch(row.etag),
            None => Condition::IfAbsent,
        };
        let callers = (0..8).map(|n| {
            let condition = condition.clone();
            async move {
                loop {
                    let set =
                        it.set(key, &format!("{round}-{n}"), |set| set.condition = condition.clone()).await;
                    if !matches!(set, Err(IoError::AclChanged)) {
                        return set;
                    }
                }
            }
        });
        let outcomes = futures::future::join_all(callers).await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    }
}

/// Concurrent sets and changes of the list: each set was made under the list it was decided by.
pub(crate) async fn h33_a_list_and_values_race(it: &Bench) {
    let (key, name) = ("teams/t/nkv/a/keys/k", namespace("teams/t/nkv/a"));
    it.set(key, "list 0", |set| set.list_when_new = "list 0".into()).await.unwrap();
    let lists = async {
        for n in 1..=20 {
            let basis = it.basis(&name).await;
            it.store.set_list(&name, basis, format!("list {n}"), nothing()).await.unwrap();
        }
    };
    let values = async {
        for _ in 0..40 {
            let under = it.store.find(&name).await.unwrap().unwrap().list;
            let set = it.set(key, &under, |set| set.basis = Basis::row(&under)).await;
            assert!(matches!(set, Ok(_) | Err(IoError::AclChanged)), "{set:?}");
            let (found, row) = it.store.get(&key_name(key)).await.unwrap();
            let number = |text: &[u8]| String::from_utf8_lossy(text)[5..].parse::<u32>().unwrap();
            assert!(number(&row.unwrap().value) <= number(found.unwrap().list.as_bytes()));
        }
    };
    futures::future::join(lists, values).await;
    assert_eq!(&*it.store.find(&name).await.unwrap().unwrap().list, "list 20");
}

pub(crate) async fn a_dropped_namespace_is_gone_at_once_and_swept(it: &Bench) {
    for n in 0..603 {
        let life = |set: &mut Set| set.time_to_live = (n % 2 == 0).then_some(Duration::from_secs(3600));
        it.set(&format!("teams/t/nkv/a/keys/{n}"), "1", life).await.unwrap();
    }
    it.drop_namespace("teams/t/nkv/a").await.unwrap();
    assert!(matches!(it.drop_namespace("teams/t/nkv/a").await, Err(IoError::NotFound(_))));
    assert!(it.store.find(&namespace("teams/t/nkv/a")).await.unwrap().is_none());
    // One of the same name is another: it holds nothing of the old one.
    it.set("teams/t/nkv/a/keys/x", "2", |_| {}).await.unwrap();
    assert_eq!(it.keys("teams/t/nkv/a", "").await, ["x"]);
    assert_eq!(it.get("teams/t/nkv/a/keys/1").await, None);
    it.store.sweep().await.unwrap();
    assert_eq!(it.store.used("t").await.unwrap(), (1, 2));
    // What the old one's values said of their end says nothing of the new one's.
    it.set("teams/t/nkv/a/keys/2", "kept", |_| {}).await.unwrap();
    it.time.pass(Duration::from_secs(3601));
    it.store.sweep().await.unwrap();
    assert_eq!(it.get("teams/t/nkv/a/keys/2").await.as_deref(), Some("kept"));
}

pub(crate) async fn pages_go_on_where_the_last_ended(it: &Bench) {
    for key in ["a", "b", "c", "d"] {
        it.set(&format!("teams/t/nkv/n/keys/{key}"), "1", |_| {}).await.unwrap();
    }
    let name = namespace("teams/t/nkv/n");
    let page = async |prefix: &str, after: &str, limit| {
        let range = Range { prefix: prefix.into(), after: after.into(), limit };
        let (_, page) = it.store.list(&name, &range).await.unwrap();
        (page.values.into_iter().map(|row| row.key).collect::<Vec<_>>(), page.next)
    };
    assert_eq!(page("", "a", 2).await, (vec!["b".to_owned(), "c".to_owned()], Some("c".to_owned())));
    assert_eq!(page("", "c", 2).await, (vec!["d".to_owned()], None));
    assert_eq!(page("", "d", 2).await, (vec![], None));
    assert_eq!(page("", "bb", 1).await, (vec!["c".to_owned()], Some("c".to_owned())));
    let absent =
        it.store.list(&namespace("teams/t/nkv/none"), &Range { limit: 2, ..Range::default() }).await.unwrap();
    assert!(absent.0.is_none() && absent.1.values.is_empty());
    // Large values make shorter pages, so that an answer fits into a message.
    let large = "x".repeat(crate::nkv::MAX_VALUE_BYTES);
    for key in ["x1", "x2", "x3"] {
        it.set(&format!("teams/t/nkv/n/keys/{key}"), &large, |_| {}).await.unwrap();
    }
    let (keys, next) = page("x", "", 10).await;
    assert!(!keys.is_empty() && keys.len() < 3 && next.is_some());
    assert_eq!(it.keys("teams/t/nkv/n", "x").await, ["x1", "x2", "x3"]);
    // What is over takes no place on a page.
    for n in 0..30 {
        let life = |set: &mut Set| set.time_to_live = Some(Duration::from_secs(1));
        it.set(&format!("teams/t/nkv/n/keys/y{n:02}"), "1", life).await.unwrap();
    }
    it.set("teams/t/nkv/n/keys/y99", "1", |_| {}).await.unwrap();
    it.time.pass(Duration::from_secs(1));
    assert_eq!(it.keys("teams/t/nkv/n", "y").await, ["y99"]);
}

/// D43: the reference could not list namespaces.
pub(crate) async fn namespaces_are_listed_in_order(it: &Bench) {
    for name in ["b", "a", "ab", "a:b", "ä"] {
        it.set(&format!("teams/t/nkv/{name}/keys/k"), "1", |set| set.list_when_new = name.into())
            .await
            .unwrap();
    }
    it.set("teams/tt/nkv/other/keys/k", "1", |_| {}).await.unwrap();
    let names = it.store.namespaces("t", "", 10).await.unwrap();
    let listed: Vec<_> = names.namespaces.iter().map(|(name, found)| (name.as_str(), &*found.list)).collect();
    assert_eq!(listed, [("a", "a"), ("a:b", "a:b"), ("ab", "ab"), ("b", "b"), ("ä", "ä")]);
    assert!(!names.has_more);
    let page = it.store.namespaces("t", "a:b", 2).await.unwrap();
    let listed: Vec<_> = page.namespaces.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!((listed, page.has_more), (vec!["ab", "b"], true));
    it.drop_namespace("teams/t/nkv/ab").await.unwrap();
    assert_eq!(it.store.namespaces("t", "", 10).await.unwrap().namespaces.len(), 4);
    assert!(it.store.namespaces("nobody", "", 10).await.unwrap().namespaces.is_empty());
}

pub(crate) async fn the_quota_is_held_in_the_step(it: &Bench) {
    let large = "x".repeat(crate::nkv::MAX_VALUE_BYTES);
    for n in 0..15 {
        it.set(&format!("teams/t/nkv/a/keys/{n}"), &large, |_| {}).await.unwrap();
    }
    let before = it.store.used("t").await.unwrap();
    let more = it.set("teams/t/nkv/b/keys/k", &large, |_| {}).await;
    assert!(matches!(more, Err(IoError::Quota { .. })), "{more:?}");
    // The namespace that the refused value would have made was undone with it.
    assert!(it.store.find(&namespace("teams/t/nkv/b")).await.unwrap().is_none());
    assert_eq!(it.store.used("t").await.unwrap(), before);
    // Replacing by less, other teams, and what fits go on.
    it.set("teams/t/nkv/a/keys/0", "less", |_| {}).await.unwrap();
    it.set("teams/t/nkv/b/keys/k", "fits", |_| {}).await.unwrap();
    it.set("teams/u/nkv/b/keys/k", &large, |_| {}).await.unwrap();
}

pub(crate) async fn many_writers_lose_nothing(it: &Bench) {
    const WRITERS: usize = 8;
    const EACH: usize = 20;
    it.set("teams/t/nkv/a/keys/first", "1", |_| {}).await.unwrap();
    let writers = (0..WRITERS).map(|writer| async move {
        for n in 0..EACH {
            it.set(&format!("teams/t/nkv/a/keys/{writer}-{n}"), "12", |_| {}).await.unwrap();
            it.set("teams/t/nkv/a/keys/shared", &format!("{writer}"), |_| {}).await.unwrap();
        }
    });
    futures::future::join_all(writers).await;
    assert_eq!(it.keys("teams/t/nkv/a", "").await.len(), WRITERS * EACH + 2);
    let bytes: usize = it.keys("teams/t/nkv/a", "").await.iter().map(String::len).sum();
    let held = (WRITERS * EACH + 2, bytes + WRITERS * EACH * 2 + 2);
    assert_eq!(it.store.used("t").await.unwrap(), (held.0 as i64, held.1 as i64));
}
