//! Random histories of a store of namespaces, beside a map.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use super::{Bench, key_name, namespace, nothing};
use crate::basis::Condition;

/// Random histories of sets, deletes and dropped namespaces leave what a map would hold.
pub(crate) async fn random_histories_match_a_map(it: &Bench) {
    let mut runner = TestRunner::deterministic();
    for history in 0..5 {
        let mut model: BTreeMap<(usize, u8), (String, String)> = BTreeMap::new();
        let mut made = [false; 2];
        let steps = proptest::collection::vec((0..2_usize, 0..5_u8, 0..10_u8, any::<u16>()), 50);
        for (which, key, what, number) in steps.new_tree(&mut runner).unwrap().current() {
            // Names of which one is the beginning of the other.
            let space = format!("teams/h{history}/nkv/{}", "a".repeat(which + 1));
            let name = format!("{space}/keys/{key}");
            let there = model.get(&(which, key)).cloned();
            let condition = match number % 4 {
                0 => Condition::IfAbsent,
                1 => Condition::IfMatch(there.as_ref().map_or("none".to_owned(), |(_, etag)| etag.clone())),
                _ => Condition::Always,
            };
            match what {
                0..=5 => {
                    let holds = condition.check(there.as_ref().map(|(_, etag)| etag.as_str())).is_ok();
                    let set = it.set(&name, &number.to_string(), |set| set.condition = condition).await;
                    assert_eq!(set.is_ok(), holds, "{set:?}");
                    if let Ok(etag) = set {
                        model.insert((which, key), (number.to_string(), etag));
                        made[which] = true;
                    }
                }
                6..=8 => {
                    let basis = it.basis(&namespace(&space)).await;
                    let deleted =
                        it.store.delete(&key_name(&name), basis, Condition::Always, nothing()).await;
                    assert_eq!(deleted.is_ok(), model.remove(&(which, key)).is_some());
                }
                _ => {
                    assert_eq!(it.drop_namespace(&space).await.is_ok(), made[which]);
                    model.retain(|(space, _), _| *space != which);
                    made[which] = false;
                }
            }
            for (index, space) in ["a", "aa"].iter().enumerate() {
                let found = it.keys(&format!("teams/h{history}/nkv/{space}"), "").await;
                let wanted: Vec<_> = model
                    .keys()
                    .filter(|(space, _)| *space == index)
                    .map(|(_, key)| key.to_string())
                    .collect();
                assert_eq!(found, wanted);
            }
            assert_eq!(it.get(&name).await, model.get(&(which, key)).map(|(value, _)| value.clone()));
        }
        it.store.sweep().await.unwrap();
        let bytes: usize = model.values().map(|(value, _)| value.len() + 1).sum();
        let used = it.store.used(&format!("h{history}")).await.unwrap();
        assert_eq!(used, (model.len() as i64, bytes as i64));
    }
}
