//! What every backend of the managed vault must do. A backend's tests call `contract::every_case!(fresh)`, where
//! `fresh` is an async function that makes a [`Bench`] over an empty backend, or none where there is no server.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use super::{Expected, ManagedInfo, ManagedStore, Place, Written};
use crate::moment::Moment;
use crate::vault::MAX_VALUE_BYTES;
use crate::vault::secret::SecretValue;

/// A backend.
pub(crate) struct Bench {
    pub(crate) store: Arc<dyn ManagedStore>,
    /// The largest value that it takes.
    pub(crate) max_value: usize,
    /// Keeps the backend's files or server.
    pub(crate) _keep: Box<dyn Any + Send + Sync>,
}

/// One test for each case.
macro_rules! every_case {
    ($fresh:path) => {
        crate::managed_vault::connectors::contract::cases!(
            $fresh,
            a_value_is_there_until_it_is_replaced_or_deleted,
            an_empty_value_is_a_value,
            values_come_back_as_they_were,
            versions_grow_over_a_deletion,
            only_the_expected_version_is_replaced,
            only_what_is_absent_is_created,
            one_of_many_renewals_wins,
            what_has_expired_is_absent,
            setting_anew_ends_or_renews_the_time,
            a_purge_takes_one_agent_alone,
            strange_names_are_names,
            the_backend_is_well,
        );
    };
}
pub(crate) use every_case;

macro_rules! cases {
    ($fresh:path, $($case:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                if let Some(bench) = $fresh().await {
                    crate::managed_vault::connectors::contract::$case(&bench).await;
                }
            }
        )*
    };
}
pub(crate) use cases;

pub(crate) fn place(agent: &str, key: &str) -> Place {
    Place { team: "t".into(), agent: agent.into(), key: key.into() }
}

pub(crate) fn value(text: &str) -> SecretValue {
    SecretValue::new(text.as_bytes().to_vec())
}

impl Bench {
    pub(crate) fn over(store: impl ManagedStore, keep: impl Any + Send + Sync) -> Self {
        Self { store: Arc::new(store), max_value: MAX_VALUE_BYTES, _keep: Box::new(keep) }
    }

    pub(crate) async fn set(&self, at: &Place, text: &str, expected: Expected) -> Written {
        self.store.set(at, value(text), None, expected, Moment::now()).await.unwrap()
    }

    pub(crate) async fn done(&self, at: &Place, text: &str) -> ManagedInfo {
        match self.set(at, text, Expected::Anything).await {
            Written::Done(info) => info,
            Written::Conflict => panic!("a conflict where anything was expected"),
        }
    }

    pub(crate) async fn text(&self, at: &Place) -> Option<String> {
        let (_, value) = self.store.get(at, Moment::now()).await.unwrap()?;
        Some(String::from_utf8(value.expose().to_vec()).unwrap())
    }
}

pub(crate) async fn a_value_is_there_until_it_is_replaced_or_deleted(bench: &Bench) {
    let at = place("a", "token");
    assert_eq!(bench.text(&at).await, None);
    let first = bench.done(&at, "one").await;
    assert_eq!(bench.text(&at).await.as_deref(), Some("one"));
    let second = bench.done(&at, "two").await;
    assert!(second.version > first.version);
    let (info, value) = bench.store.get(&at, Moment::now()).await.unwrap().unwrap();
    assert_eq!((info.version, info.expires, value.expose()), (second.version, None, &b"two"[..]));
    assert!(bench.store.delete(&at, Moment::now()).await.unwrap());
    assert!(!bench.store.delete(&at, Moment::now()).await.unwrap());
    assert_eq!(bench.text(&at).await, None);
}

pub(crate) async fn an_empty_value_is_a_value(bench: &Bench) {
    bench.done(&place("a", "empty"), "").await;
    assert_eq!(bench.text(&place("a", "empty")).await.as_deref(), Some(""));
}

/// services.md D15: what looks like the wrapping of a value comes back as it was, created or replaced.
pub(crate) async fn values_come_back_as_they_were(bench: &Bench) {
    let large = "x".repeat(bench.max_value);
    for text in [r#"{"token":"x"}"#, r#"{"v":1,"value":"x"}"#, "\"x\"", "null", " padded \n", &large] {
        for _ in 0..2 {
            bench.done(&place("a", "k"), text).await;
            assert!(bench.text(&place("a", "k")).await.as_deref() == Some(text));
        }
    }
    let bytes: Vec<u8> = (0..=255).collect();
    let at = place("a", "bytes");
    let set = bench.store.set(&at, SecretValue::new(bytes.clone()), None, Expected::Anything, Moment::now());
    assert!(matches!(set.await.unwrap(), Written::Done(_)));
    assert_eq!(bench.store.get(&at, Moment::now()).await.unwrap().unwrap().1.expose(), bytes);
}

/// A renewal that read a token before it was deleted and set again does not overwrite the new one.
pub(crate) async fn versions_grow_over_a_deletion(bench: &Bench) {
    let at = place("a", "k");
    let before = bench.done(&at, "one").await.version;
    assert!(bench.store.delete(&at, Moment::now()).await.unwrap());
    let after = bench.done(&at, "two").await.version;
    assert!(after > before, "{after} after {before}");
    assert_eq!(bench.set(&at, "late", Expected::Version(before)).await, Written::Conflict);
    assert_eq!(bench.text(&at).await.as_deref(), Some("two"));
}

pub(crate) async fn only_the_expected_version_is_replaced(bench: &Bench) {
    let at = place("a", "k");
    let first = bench.done(&at, "one").await.version;
    let Written::Done(second) = bench.set(&at, "two", Expected::Version(first)).await else {
        panic!("a conflict")
    };
    assert!(second.version > first);
    for wrong in [first, second.version + 1, u64::MAX >> 1] {
        assert_eq!(bench.set(&at, "three", Expected::Version(wrong)).await, Written::Conflict);
    }
    assert_eq!(bench.text(&at).await.as_deref(), Some("two"));
    let absent = bench.set(&place("a", "absent"), "x", Expected::Version(first)).await;
    assert_eq!(absent, Written::Conflict);
    assert_eq!(bench.text(&place("a", "absent")).await, None);
}

pub(crate) async fn only_what_is_absent_is_created(bench: &Bench) {
    let at = place("a", "k");
    assert!(matches!(bench.set(&at, "one", Expected::Nothing).await, Written::Done(_)));
    assert_eq!(bench.set(&at, "two", Expected::Nothing).await, Written::Conflict);
    assert!(bench.store.delete(&at, Moment::now()).await.unwrap());
    assert!(matches!(bench.set(&at, "three", Expected::Nothing).await, Written::Done(_)));
    assert_eq!(bench.text(&at).await.as_deref(), Some("three"));
}

pub(crate) async fn one_of_many_renewals_wins(bench: &Bench) {
    let at = place("a", "k");
    let mut version = bench.done(&at, "start").await.version;
    for round in 0..3 {
        let tries = (0..8).map(|n| {
            let (store, at) = (Arc::clone(&bench.store), at.clone());
            async move {
                let text = format!("round {round} by {n}");
                let set = store.set(&at, value(&text), None, Expected::Version(version), Moment::now());
                (set.await.unwrap(), text)
            }
        });
        let outcomes = futures::future::join_all(tries).await;
        let won: Vec<_> = outcomes
            .iter()
            .filter_map(|(written, text)| match written {
                Written::Done(info) => Some((info.version, text.clone())),
                Written::Conflict => None,
            })
            .collect();
        assert_eq!(won.len(), 1, "{outcomes:?}");
        assert_eq!(bench.text(&at).await.as_ref(), Some(&won[0].1));
        version = won[0].0;
    }
}

pub(crate) async fn what_has_expired_is_absent(bench: &Bench) {
    let at = place("a", "k");
    let (now, hour) = (Moment::now(), Duration::from_secs(3600));
    let end = now.plus(hour);
    let set = |expected| bench.store.set(&at, value("v"), Some(end), expected, now);
    let Written::Done(info) = set(Expected::Nothing).await.unwrap() else { panic!("a conflict") };
    assert_eq!(info.expires, Some(end));
    let found = bench.store.get(&at, now).await.unwrap().unwrap().0;
    assert_eq!((found.version, found.expires), (info.version, Some(end)));
    assert!(bench.store.get(&at, Moment(end.0 - 1)).await.unwrap().is_some());
    assert!(bench.store.get(&at, end).await.unwrap().is_none());
    let late = end.plus(hour);
    let renewal =
        bench.store.set(&at, value("x"), None, Expected::Version(info.version), late).await.unwrap();
    assert_eq!(renewal, Written::Conflict);
    assert!(!bench.store.delete(&place("a", "other"), late).await.unwrap());
    let fresh = bench.store.set(&at, value("fresh"), None, Expected::Nothing, late).await.unwrap();
    assert!(matches!(fresh, Written::Done(again) if again.version > info.version));
    bench.store.sweep(late).await.unwrap();
    assert!(bench.store.get(&at, late).await.unwrap().is_some(), "what does not expire stays");
}

pub(crate) async fn setting_anew_ends_or_renews_the_time(bench: &Bench) {
    let at = place("a", "k");
    let now = Moment::now();
    let soon = now.plus(Duration::from_secs(60));
    bench.store.set(&at, value("v"), Some(soon), Expected::Anything, now).await.unwrap();
    bench.store.set(&at, value("v"), None, Expected::Anything, now).await.unwrap();
    bench.store.sweep(soon).await.unwrap();
    assert!(bench.store.get(&at, soon).await.unwrap().is_some());
}

/// services.md H28, for agents: the name of one may be the beginning of another's.
pub(crate) async fn a_purge_takes_one_agent_alone(bench: &Bench) {
    for (agent, key) in [("a", "k"), ("a", "l"), ("ab", "k"), ("a-b", "k")] {
        bench.done(&place(agent, key), agent).await;
    }
    let elsewhere = Place { team: "u".into(), ..place("a", "k") };
    bench.done(&elsewhere, "elsewhere").await;
    assert_eq!(bench.store.purge("t", "a").await.unwrap(), 2);
    assert_eq!(bench.store.purge("t", "a").await.unwrap(), 0);
    assert_eq!(bench.text(&place("a", "k")).await, None);
    for at in [place("ab", "k"), place("a-b", "k"), elsewhere] {
        assert!(bench.text(&at).await.is_some(), "{at:?}");
    }
    // And it can be set again.
    bench.done(&place("a", "k"), "again").await;
    assert_eq!(bench.text(&place("a", "k")).await.as_deref(), Some("again"));
}

pub(crate) async fn strange_names_are_names(bench: &Bench) {
    let keys = ["a b", "%", "%2F", "*", "k*", "_", "=41", "A", "a", "x/y", "x%2Fy", "schlüssel", "🔑"];
    for key in keys {
        bench.done(&place("a", key), key).await;
    }
    for key in keys {
        assert_eq!(bench.text(&place("a", key)).await.as_deref(), Some(key));
    }
    // Agents and keys do not run into each other.
    bench.done(&place("x", "y"), "of x").await;
    assert_eq!(bench.text(&place("a", "x/y")).await.as_deref(), Some("x/y"));
}

pub(crate) async fn the_backend_is_well(bench: &Bench) {
    bench.store.check().await.unwrap();
}
