use std::time::Duration;

use bytes::Bytes;
use sre_identity::{Acl, Candidate, Level};

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn alice() -> Acl {
    Acl::owned_by(&Candidate::user("alice").unwrap())
}

fn entries() -> Entries {
    Entries::new(CacheSettings::default())
}

fn put(entries: &Entries, name: &str, value: &'static str, condition: Condition) -> Option<u64> {
    let (_, seen) = entries.look(name);
    entries.set(name, seen, Bytes::from_static(value.as_bytes()), MINUTE, condition, alice()).unwrap()
}

fn value(entries: &Entries, name: &str) -> Option<Bytes> {
    entries.look(name).0.map(|entry| entry.value.clone())
}

#[test]
fn conditions_hold_or_nothing_happens() {
    let entries = entries();
    assert_eq!(put(&entries, "k", "1", Condition::IfPresent), None);
    let first = put(&entries, "k", "1", Condition::IfAbsent).unwrap();
    assert_eq!(put(&entries, "k", "2", Condition::IfAbsent), None);
    assert_eq!(put(&entries, "k", "2", Condition::IfMatch(first + 1)), None);
    assert_eq!(value(&entries, "k").unwrap(), "1");
    let second = put(&entries, "k", "2", Condition::IfMatch(first)).unwrap();
    assert_eq!(put(&entries, "k", "3", Condition::IfMatch(first)), None);
    assert_ne!(first, second);
    assert_eq!(value(&entries, "k").unwrap(), "2");
}

#[tokio::test(start_paused = true)]
async fn an_entry_ends_on_the_dot() {
    let entries = entries();
    put(&entries, "k", "1", Condition::Always);
    tokio::time::advance(MINUTE - Duration::from_millis(1)).await;
    assert_eq!(entries.look("k").0.unwrap().time_to_live(), Duration::from_millis(1));
    let (_, seen) = entries.look("k");
    assert!(entries.touch("k", seen, MINUTE).unwrap());
    tokio::time::advance(MINUTE).await;
    assert!(value(&entries, "k").is_none());
    // What is over counts as absent for every condition.
    let (_, seen) = entries.look("k");
    assert!(!entries.touch("k", seen, MINUTE).unwrap());
    assert!(put(&entries, "k", "2", Condition::IfAbsent).is_some());
}

#[tokio::test(start_paused = true)]
async fn numbers_are_counted() {
    let entries = entries();
    let add = |name: &str, delta| {
        let (_, seen) = entries.look(name);
        entries.increment(name, seen, delta, MINUTE, alice())
    };
    assert_eq!(add("n", 5), Ok(5));
    tokio::time::advance(MINUTE / 2).await;
    assert_eq!(add("n", -7), Ok(-2));
    assert_eq!(entries.look("n").0.unwrap().time_to_live(), MINUTE / 2);
    assert_eq!(add("n", i64::MIN), Err(NotCounted::Overflow));
    assert_eq!(value(&entries, "n").unwrap(), "-2");
    put(&entries, "t", "text", Condition::Always);
    assert_eq!(add("t", 1), Err(NotCounted::NoNumber));
}

#[test]
fn a_changed_list_is_decided_by_again() {
    let entries = entries();
    let (_, absent) = entries.look("k");
    put(&entries, "k", "1", Condition::Always);
    // Decided when there was nothing: the entry that came since has a list of its own.
    assert_eq!(entries.delete("k", absent), Err(Moved));
    let (_, seen) = entries.look("k");
    let mut acl = alice();
    acl.grant(&Candidate::public(), &[Level::Read]).unwrap();
    assert_eq!(entries.set_acl("k", seen, acl.clone()), Ok(true));
    assert_eq!(entries.delete("k", seen), Err(Moved));
    assert_eq!(*entries.look("k").0.unwrap().acl, acl);
    // A new value keeps the list.
    put(&entries, "k", "2", Condition::Always);
    let (entry, seen) = entries.look("k");
    assert_eq!(*entry.unwrap().acl, acl);
    assert_eq!(entries.delete("k", seen), Ok(true));
    assert_eq!(entries.delete("k", seen), Err(Moved));
}

#[test]
fn the_cache_is_bounded_and_new_entries_win() {
    let settings = CacheSettings { max_bytes: 64 * 1024, ..CacheSettings::default() };
    let entries = Entries::new(settings);
    for n in 0..1000 {
        put(&entries, &n.to_string(), "0123456789", Condition::Always);
    }
    entries.entries.run_pending_tasks();
    assert!(entries.entries.weighted_size() <= 64 * 1024);
    assert!(value(&entries, "999").is_some());
    assert!(value(&entries, "0").is_none());
}

#[test]
fn increments_of_many_threads_all_count() {
    let entries = entries();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..500 {
                    loop {
                        let (_, seen) = entries.look("n");
                        match entries.increment("n", seen, 1, MINUTE, alice()) {
                            Ok(_) => break,
                            Err(error) => assert_eq!(error, NotCounted::Moved),
                        }
                    }
                }
            });
        }
    });
    assert_eq!(value(&entries, "n").unwrap(), "4000");
}
