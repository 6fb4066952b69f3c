//! Random histories of a cache, beside the rules.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use super::{Bench, etag, guard, name, notes};
use crate::cache::record::{Change, Condition, Record, Seen, Step, apply};

/// Random histories over a few entries do what [`apply`] says, whatever the backend says it in.
pub(crate) async fn histories_match_the_rules(it: &Bench) {
    let mut runner = TestRunner::deterministic();
    for history in 0..6 {
        let mut model: Vec<Option<Record>> = vec![None, None];
        let steps = proptest::collection::vec((0..2_usize, 0..9_u8, 0..4_u8, any::<i16>()), 40);
        for (entry, what, which, number) in steps.new_tree(&mut runner).unwrap().current() {
            let key = format!("{history}-{entry}");
            let now = it.time.now();
            let current = model[entry].take().filter(|record| record.head.is_live(now));
            let version = current.as_ref().map_or(1, |record| record.head.etag);
            let there = current.as_ref().map(|record| Arc::clone(&record.head.notes)).unwrap_or_default();
            let soon = (which != 0).then_some(now + i64::from(which) * 20_000);
            let text = if number % 3 == 0 { "word".to_owned() } else { number.to_string() };
            let change = match what {
                0..=2 => Change::Set {
                    value: text.into(),
                    etag: etag(),
                    expires_ms: soon,
                    notes: notes(&[("n", &number.to_string())]),
                    guard: guard(&format!("list {which}")),
                    condition: match which {
                        0 => Condition::Always,
                        1 => Condition::IfAbsent,
                        2 => Condition::IfPresent,
                        _ => Condition::IfMatch(version),
                    },
                },
                3 => Change::Delete,
                4 => Change::Take,
                5 => Change::Touch { expires_ms: soon },
                6 => Change::Increment {
                    delta: i64::from(number),
                    etag: etag(),
                    expires_ms: soon,
                    guard: guard("counter"),
                },
                7 => Change::SetGuard(guard(&format!("list {number}"))),
                _ => Change::SetNotes { from: there, to: notes(&[("m", &number.to_string())]) },
            };
            let seen = match number % 7 {
                0 => Seen(Some(guard("stale"))),
                _ => Seen(current.as_ref().map(|record| Arc::clone(&record.head.guard))),
            };
            let (step, wanted) = apply(current.as_ref(), &seen, change.clone());
            let told = it.store.update(&name(&key), &seen, change.clone()).await.unwrap();
            assert_eq!(told, wanted, "{change:?} over {current:?}");
            model[entry] = match step {
                Step::Keep => current,
                Step::Put(record) => Some(record),
                Step::Remove => None,
            };
            let found = it.look(&key).await;
            assert_eq!(found.as_deref(), model[entry].as_ref(), "after {change:?}");
            it.time.pass(Duration::from_millis(u64::from(number.unsigned_abs())));
        }
    }
}
