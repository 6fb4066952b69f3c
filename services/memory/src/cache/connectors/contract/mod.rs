//! What every backend of the cache must do. A backend is tested by one line in `tests.rs`:
//! `contract::every_case!(name, fresh)`, where `fresh` is an async function that makes a [`Bench`] over an empty
//! backend, or gives none where its server is not there.

mod histories;

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use super::CacheStore;
use crate::cache::clock::{Clock, Millis, millis};
use crate::cache::name::EntryName;
use crate::cache::record::{Change, Condition, Etag, Guard, Notes, Outcome, Record, Seen};
use bytes::Bytes;

pub(crate) use histories::histories_match_the_rules;

/// A backend and its clock.
pub(crate) struct Bench {
    pub(crate) store: Arc<dyn CacheStore>,
    pub(crate) time: Time,
    /// Keeps the backend's server and files.
    pub(crate) _keep: Box<dyn Any + Send + Sync>,
}

/// A clock that tests move. It begins an hour ahead of the machine's, because servers have clocks of their own and
/// throw out what is over by those.
#[derive(Clone)]
pub(crate) struct Time(Arc<AtomicI64>);

impl Time {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicI64::new(Clock::system().now() + 3_600_000)))
    }

    pub(crate) fn clock(&self) -> Clock {
        let told = Arc::clone(&self.0);
        Clock::from_fn(move || told.load(Ordering::SeqCst))
    }

    pub(crate) fn pass(&self, time: Duration) {
        self.0.fetch_add(millis(time), Ordering::SeqCst);
    }

    pub(crate) fn now(&self) -> Millis {
        self.0.load(Ordering::SeqCst)
    }
}

/// One test for each case.
macro_rules! every_case {
    ($backend:ident, $fresh:path) => {
        mod $backend {
            crate::cache::connectors::contract::every_case!(@ $fresh,
                a_record_comes_back_whole, conditions_hold_or_nothing_happens, an_entry_ends_on_the_dot,
                a_touched_entry_ends_later_earlier_or_never, numbers_are_counted_exactly,
                d24_an_entry_without_end_says_so, one_of_many_takes, d26_notes_change_and_all_else_stays,
                h33_a_changed_list_is_decided_by_again, a_new_value_keeps_the_list, d26_what_ended_blocks_nobody,
                h10_h11_h28_keys_are_injective, values_of_every_size_and_byte_come_back,
                increments_of_many_all_count, one_of_many_sets_over_a_version,
                h33_a_list_and_a_value_race, sweeping_removes_only_what_is_over, histories_match_the_rules,
            );
        }
    };
    (@ $fresh:path, $($case:ident,)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            use crate::cache::connectors::contract;
            let bench: Option<contract::Bench> = $fresh().await;
            let Some(bench) = bench else { return };
            contract::$case(&bench).await;
        }
    )*};
}
pub(crate) use every_case;

const MINUTE: Duration = Duration::from_secs(60);

fn name(key: &str) -> EntryName {
    EntryName::parse(format!("teams/t/users/u/cache/{key}")).unwrap()
}

fn guard(text: &str) -> Arc<Guard> {
    Guard::from_text(text)
}

fn etag() -> Etag {
    sre_proto::ids::new_uuid().as_u128()
}

fn notes(pairs: &[(&str, &str)]) -> Arc<Notes> {
    Arc::new(pairs.iter().map(|(name, note)| ((*name).to_owned(), (*note).to_owned())).collect())
}

impl Bench {
    async fn look(&self, key: &str) -> Option<Arc<Record>> {
        self.store.look(&name(key)).await.unwrap()
    }

    async fn value(&self, key: &str) -> Option<Bytes> {
        self.look(key).await.map(|record| record.value.clone())
    }

    async fn seen(&self, key: &str) -> Seen {
        Seen(self.store.head(&name(key)).await.unwrap().map(|head| head.guard))
    }

    fn set(&self, value: &str, condition: Condition) -> Change {
        Change::Set {
            value: Bytes::copy_from_slice(value.as_bytes()),
            etag: etag(),
            expires_ms: Some(self.time.now() + millis(MINUTE)),
            notes: Arc::default(),
            guard: guard("new"),
            condition,
        }
    }

    /// A change by what is there.
    async fn change(&self, key: &str, change: Change) -> Outcome {
        let seen = self.seen(key).await;
        self.store.update(&name(key), &seen, change).await.unwrap()
    }

    async fn put(&self, key: &str, value: &str) {
        assert_eq!(self.change(key, self.set(value, Condition::Always)).await, Outcome::Done);
    }

    fn add(&self, delta: i64) -> Change {
        let expires_ms = Some(self.time.now() + millis(MINUTE));
        Change::Increment { delta, etag: etag(), expires_ms, guard: guard("new") }
    }
}

pub(crate) async fn a_record_comes_back_whole(it: &Bench) {
    assert_eq!(it.look("k").await, None);
    assert_eq!(it.store.head(&name("k")).await.unwrap(), None);
    let version = etag();
    let set = Change::Set {
        value: Bytes::from_static(b"\0\xff value"),
        etag: version,
        expires_ms: Some(it.time.now() + 1234),
        notes: notes(&[("Content-Type", "text/plain"), ("ü", "ö\n")]),
        guard: guard("u:alice/o|the list"),
        condition: Condition::Always,
    };
    assert_eq!(it.change("k", set).await, Outcome::Done);
    let record = it.look("k").await.unwrap();
    assert_eq!(&record.value[..], b"\0\xff value");
    assert_eq!(record.head.etag, version);
    assert_eq!(record.head.ttl_ms(it.time.now()), 1234);
    assert_eq!(record.head.size_bytes, 8);
    assert_eq!(*record.head.notes, *notes(&[("Content-Type", "text/plain"), ("ü", "ö\n")]));
    assert_eq!(record.head.guard.text(), "u:alice/o|the list");
    assert_eq!(it.store.head(&name("k")).await.unwrap().as_ref(), Some(&record.head));
    assert_eq!(it.change("k", Change::Delete).await, Outcome::Done);
    assert_eq!(it.look("k").await, None);
    assert_eq!(it.change("k", Change::Delete).await, Outcome::Absent);
}

pub(crate) async fn conditions_hold_or_nothing_happens(it: &Bench) {
    assert_eq!(it.change("k", it.set("1", Condition::IfPresent)).await, Outcome::Unheld);
    assert_eq!(it.change("k", it.set("1", Condition::IfMatch(1))).await, Outcome::Unheld);
    assert_eq!(it.change("k", it.set("1", Condition::IfAbsent)).await, Outcome::Done);
    assert_eq!(it.change("k", it.set("2", Condition::IfAbsent)).await, Outcome::Unheld);
    assert_eq!(it.value("k").await.unwrap(), "1");
    assert_eq!(it.change("k", it.set("2", Condition::IfPresent)).await, Outcome::Done);
    let version = it.look("k").await.unwrap().head.etag;
    assert_eq!(it.change("k", it.set("3", Condition::IfMatch(version ^ 1))).await, Outcome::Unheld);
    assert_eq!(it.change("k", it.set("3", Condition::IfMatch(version))).await, Outcome::Done);
    assert_eq!(it.change("k", it.set("4", Condition::IfMatch(version))).await, Outcome::Unheld);
    assert_eq!(it.value("k").await.unwrap(), "3");
}

pub(crate) async fn an_entry_ends_on_the_dot(it: &Bench) {
    it.put("k", "1").await;
    it.time.pass(MINUTE - Duration::from_millis(1));
    assert_eq!(it.look("k").await.unwrap().head.ttl_ms(it.time.now()), 1);
    it.time.pass(Duration::from_millis(1));
    assert_eq!(it.look("k").await, None);
    assert_eq!(it.store.head(&name("k")).await.unwrap(), None);
    // What is over counts as absent for every change.
    assert_eq!(it.change("k", Change::Touch { expires_ms: None }).await, Outcome::Absent);
    assert_eq!(it.change("k", Change::Take).await, Outcome::Absent);
    assert_eq!(it.change("k", it.set("2", Condition::IfPresent)).await, Outcome::Unheld);
    assert_eq!(it.change("k", it.set("2", Condition::IfAbsent)).await, Outcome::Done);
    assert_eq!(it.value("k").await.unwrap(), "2");
}

pub(crate) async fn a_touched_entry_ends_later_earlier_or_never(it: &Bench) {
    it.put("k", "1").await;
    let before = it.look("k").await.unwrap();
    let touch = |expires_ms| Change::Touch { expires_ms };
    assert_eq!(it.change("k", touch(Some(it.time.now() + 5_000_000))).await, Outcome::Done);
    let after = it.look("k").await.unwrap();
    assert_eq!(after.head.ttl_ms(it.time.now()), 5_000_000);
    assert_eq!((&after.value, after.head.etag), (&before.value, before.head.etag));
    assert_eq!(it.change("k", touch(Some(it.time.now() + 10))).await, Outcome::Done);
    assert_eq!(it.look("k").await.unwrap().head.ttl_ms(it.time.now()), 10);
    // D24: this was ignored by three of the four.
    assert_eq!(it.change("k", touch(None)).await, Outcome::Done);
    it.time.pass(MINUTE);
    assert_eq!(it.look("k").await.unwrap().head.ttl_ms(it.time.now()), -1);
    assert_eq!(it.change("none", touch(None)).await, Outcome::Absent);
}

pub(crate) async fn d24_an_entry_without_end_says_so(it: &Bench) {
    let Change::Set { value, etag, notes, guard, condition, .. } = it.set("1", Condition::Always) else {
        unreachable!()
    };
    let endless = Change::Set { value, etag, expires_ms: None, notes, guard, condition };
    assert_eq!(it.change("k", endless).await, Outcome::Done);
    it.time.pass(MINUTE * 1_000_000);
    assert_eq!(it.look("k").await.unwrap().head.ttl_ms(it.time.now()), -1);
    // A set without an end takes the old one away, and the other way round.
    it.put("k", "2").await;
    assert_eq!(it.look("k").await.unwrap().head.ttl_ms(it.time.now()), 60_000);
}

pub(crate) async fn numbers_are_counted_exactly(it: &Bench) {
    assert_eq!(it.change("n", it.add(5)).await, Outcome::Sum(5));
    let first = it.look("n").await.unwrap();
    it.time.pass(MINUTE / 2);
    assert_eq!(it.change("n", it.add(-7)).await, Outcome::Sum(-2));
    let second = it.look("n").await.unwrap();
    assert_eq!((&second.value[..], second.head.ttl_ms(it.time.now())), (&b"-2"[..], 30_000));
    assert_eq!(second.head.size_bytes, 2);
    assert_ne!(first.head.etag, second.head.etag);
    assert_eq!(it.change("n", it.add(i64::MIN)).await, Outcome::Overflow);
    assert_eq!(it.value("n").await.unwrap(), "-2");
    // Beyond what a double holds.
    assert_eq!(it.change("big", it.add(i64::MAX - 1)).await, Outcome::Sum(i64::MAX - 1));
    assert_eq!(it.change("big", it.add(1)).await, Outcome::Sum(i64::MAX));
    assert_eq!(it.change("big", it.add(1)).await, Outcome::Overflow);
    for text in ["", "text", "1.5", " 1", "+1", "01", "-0", "1e3", "9223372036854775808"] {
        it.put("t", text).await;
        assert_eq!(it.change("t", it.add(1)).await, Outcome::NoNumber, "{text:?}");
        assert_eq!(it.value("t").await.unwrap(), text);
    }
}

pub(crate) async fn one_of_many_takes(it: &Bench) {
    it.put("k", "prize").await;
    let seen = it.seen("k").await;
    let takers = (0..8).map(|_| {
        let (store, seen) = (Arc::clone(&it.store), seen.clone());
        async move { store.update(&name("k"), &seen, Change::Take).await.unwrap() }
    });
    let outcomes = futures::future::join_all(takers).await;
    let taken: Vec<_> = outcomes
        .iter()
        .filter_map(|outcome| if let Outcome::Taken(record) = outcome { Some(record) } else { None })
        .collect();
    assert_eq!(taken.len(), 1, "{outcomes:?}");
    assert_eq!(taken[0].value, "prize");
    assert_eq!(it.look("k").await, None);
}

/// D26: the reference replaced the notes and lost the end, so that the list outlived the value.
pub(crate) async fn d26_notes_change_and_all_else_stays(it: &Bench) {
    it.put("k", "1").await;
    let before = it.look("k").await.unwrap();
    let change =
        |from: &Arc<Notes>, to: &[(&str, &str)]| Change::SetNotes { from: Arc::clone(from), to: notes(to) };
    let none = Arc::default();
    assert_eq!(it.change("k", change(&none, &[("a", "1")])).await, Outcome::Done);
    let after = it.look("k").await.unwrap();
    assert_eq!(*after.head.notes, *notes(&[("a", "1")]));
    assert_eq!((&after.value, after.head.etag), (&before.value, before.head.etag));
    assert_eq!((after.head.expires_ms, &after.head.guard), (before.head.expires_ms, &before.head.guard));
    // Somebody else was faster.
    assert_eq!(it.change("k", change(&none, &[("b", "2")])).await, Outcome::Moved);
    assert_eq!(it.change("k", change(&after.head.notes, &[])).await, Outcome::Done);
    assert!(it.look("k").await.unwrap().head.notes.is_empty());
    it.time.pass(MINUTE);
    assert_eq!(it.change("k", change(&none, &[("a", "1")])).await, Outcome::Absent);
}

pub(crate) async fn h33_a_changed_list_is_decided_by_again(it: &Bench) {
    let absent = it.seen("k").await;
    it.put("k", "1").await;
    // Decided when there was nothing: the entry that came since has a list of its own.
    let changes = || {
        let expires_ms = Some(it.time.now() + 1);
        vec![
            Change::Delete,
            Change::Take,
            Change::Touch { expires_ms },
            it.add(1),
            it.set("2", Condition::Always),
            Change::SetGuard(guard("theirs")),
            Change::SetNotes { from: Arc::default(), to: notes(&[("a", "1")]) },
        ]
    };
    for change in changes() {
        assert_eq!(it.store.update(&name("k"), &absent, change).await.unwrap(), Outcome::Moved);
    }
    let old = it.seen("k").await;
    assert_eq!(it.change("k", Change::SetGuard(guard("other"))).await, Outcome::Done);
    for change in changes() {
        assert_eq!(it.store.update(&name("k"), &old, change).await.unwrap(), Outcome::Moved);
    }
    let record = it.look("k").await.unwrap();
    assert_eq!((&record.value[..], record.head.guard.text()), (&b"1"[..], "other"));
    // And decided by a list whose entry is gone.
    let seen = it.seen("k").await;
    assert_eq!(it.change("k", Change::Delete).await, Outcome::Done);
    for change in changes() {
        assert_eq!(it.store.update(&name("k"), &seen, change).await.unwrap(), Outcome::Moved);
    }
    assert_eq!(it.look("k").await, None);
}

pub(crate) async fn a_new_value_keeps_the_list(it: &Bench) {
    it.put("k", "1").await;
    assert_eq!(it.change("k", Change::SetGuard(guard("shared"))).await, Outcome::Done);
    let before = it.look("k").await.unwrap();
    assert_eq!((&before.value[..], before.head.ttl_ms(it.time.now())), (&b"1"[..], 60_000));
    it.put("k", "2").await;
    it.put("n", "1").await;
    assert_eq!(it.change("n", Change::SetGuard(guard("shared"))).await, Outcome::Done);
    assert_eq!(it.change("n", it.add(1)).await, Outcome::Sum(2));
    for key in ["k", "n"] {
        assert_eq!(it.look(key).await.unwrap().head.guard.text(), "shared");
    }
    // One that comes after it has its own.
    assert_eq!(it.change("k", Change::Delete).await, Outcome::Done);
    it.put("k", "3").await;
    assert_eq!(it.look("k").await.unwrap().head.guard.text(), "new");
}

/// D26, D28: an access list never outlives its value.
pub(crate) async fn d26_what_ended_blocks_nobody(it: &Bench) {
    it.put("k", "1").await;
    assert_eq!(it.change("k", Change::SetGuard(guard("mine alone"))).await, Outcome::Done);
    it.time.pass(MINUTE);
    assert_eq!(it.seen("k").await, Seen(None));
    it.put("k", "2").await;
    assert_eq!(it.look("k").await.unwrap().head.guard.text(), "new");
}

/// Names that systems like to confuse are different entries.
pub(crate) async fn h10_h11_h28_keys_are_injective(it: &Bench) {
    let long = "x".repeat(900);
    let keys = [
        "a",
        "ab",
        "a/b",
        "a:b",
        "a.b",
        "a b",
        "a%2Fb",
        "a%2fb",
        "A",
        "a*",
        "a?",
        "*",
        "?",
        "[a]",
        "...",
        "a/...",
        "cache/a",
        "{a}",
        "a}b",
        "ä",
        "a\u{308}",
        "smyth:cache:a",
        &long,
        "~",
        "a'b\"",
        "%",
        "con",
        "nul.txt",
    ];
    for (n, key) in keys.iter().enumerate() {
        it.put(key, &n.to_string()).await;
    }
    for (n, key) in keys.iter().enumerate() {
        assert_eq!(it.value(key).await.unwrap(), n.to_string(), "{key}");
    }
    // The same key in other scopes is another entry.
    for other in
        ["teams/t/cache/a", "teams/t/agents/u/cache/a", "teams/u/users/u/cache/a", "teams/t/users/ua/cache/a"]
    {
        let other = EntryName::parse(other.to_owned()).unwrap();
        assert_eq!(it.store.look(&other).await.unwrap(), None, "{other}");
        let set = it.set("other", Condition::Always);
        assert_eq!(it.store.update(&other, &Seen(None), set).await.unwrap(), Outcome::Done);
    }
    assert_eq!(it.change("a", Change::Delete).await, Outcome::Done);
    for (n, key) in keys.iter().enumerate().skip(1) {
        assert_eq!(it.value(key).await.unwrap(), n.to_string(), "{key}");
    }
}

pub(crate) async fn values_of_every_size_and_byte_come_back(it: &Bench) {
    for size in [0, 1, 255, 65_537, 8 << 20] {
        let value: Bytes = (0..size).map(|n| (n % 251) as u8).collect::<Vec<_>>().into();
        let Change::Set { etag, expires_ms, notes, guard, condition, .. } = it.set("", Condition::Always)
        else {
            unreachable!()
        };
        let set = Change::Set { value: value.clone(), etag, expires_ms, notes, guard, condition };
        assert_eq!(it.change("k", set).await, Outcome::Done);
        let record = it.look("k").await.unwrap();
        assert!(record.value == value, "{size} bytes");
        assert_eq!(record.head.size_bytes, size as u64);
    }
}

pub(crate) async fn increments_of_many_all_count(it: &Bench) {
    const CALLERS: i64 = 8;
    const EACH: i64 = 25;
    let callers = (0..CALLERS).map(|_| async {
        for _ in 0..EACH {
            while !matches!(it.change("n", it.add(1)).await, Outcome::Sum(_)) {}
        }
    });
    futures::future::join_all(callers).await;
    assert_eq!(it.value("n").await.unwrap(), (CALLERS * EACH).to_string());
}

pub(crate) async fn one_of_many_sets_over_a_version(it: &Bench) {
    it.put("k", "0").await;
    for round in 0..5 {
        let version = it.look("k").await.unwrap().head.etag;
        let callers = (0..6).map(|_| it.change("k", it.set(&round.to_string(), Condition::IfMatch(version))));
        let outcomes = futures::future::join_all(callers).await;
        let won = outcomes.iter().filter(|outcome| **outcome == Outcome::Done).count();
        assert_eq!(won, 1, "{outcomes:?}");
    }
}

/// Concurrent sets and changes of the list: each set was made under the list it was decided by.
pub(crate) async fn h33_a_list_and_a_value_race(it: &Bench) {
    it.put("k", "list 0").await;
    assert_eq!(it.change("k", Change::SetGuard(guard("list 0"))).await, Outcome::Done);
    let lists = async {
        for n in 1..=20 {
            while it.change("k", Change::SetGuard(guard(&format!("list {n}")))).await != Outcome::Done {}
        }
    };
    let values = async {
        for _ in 0..40 {
            let seen = it.seen("k").await;
            let under = seen.0.as_ref().unwrap().text().to_owned();
            let set = it.set(&under, Condition::Always);
            it.store.update(&name("k"), &seen, set).await.unwrap();
            let record = it.look("k").await.unwrap();
            // The value names the list that it was set under: never a later one.
            let number = |text: &[u8]| String::from_utf8_lossy(text)[5..].parse::<u32>().unwrap();
            assert!(number(&record.value) <= number(record.head.guard.text().as_bytes()));
        }
    };
    futures::future::join(lists, values).await;
    assert_eq!(it.look("k").await.unwrap().head.guard.text(), "list 20");
}

pub(crate) async fn sweeping_removes_only_what_is_over(it: &Bench) {
    it.put("over", "1").await;
    it.put("stays", "1").await;
    it.change("stays", Change::Touch { expires_ms: None }).await;
    it.time.pass(MINUTE * 10);
    it.store.sweep().await.unwrap();
    assert_eq!(it.look("over").await, None);
    assert_eq!(it.value("stays").await.unwrap(), "1");
    it.put("over", "2").await;
    it.store.sweep().await.unwrap();
    assert_eq!(it.value("over").await.unwrap(), "2");
}
