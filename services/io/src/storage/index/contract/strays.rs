//! Bytes that no row names.

use super::{Bench, F, NOW, at, unrecorded};
use crate::basis::Basis;
use crate::error::IoError;
use crate::storage::{Deletion, Stray};

const HOUR: i64 = 3_600_000;

pub(crate) async fn strays_are_adopted_once(bench: &Bench) {
    let row = bench.write(F, 1, NOW, |_| {}).await.unwrap();
    assert_eq!(bench.index.condemn(NOW + HOUR, 10).await.unwrap(), []);
    // Who gave up after the commit takes nothing away.
    bench.index.due_at(&row.object, NOW).await.unwrap();
    assert_eq!(bench.index.condemn(NOW + HOUR, 10).await.unwrap(), []);
}

/// No row comes to name bytes that the sweeper takes.
pub(crate) async fn what_is_condemned_is_not_adopted(bench: &Bench) {
    let commit = bench.commit(F, 1, NOW).await;
    let object = commit.upload.object.as_str().to_owned();
    assert_eq!(bench.index.condemn(NOW + HOUR - 1, 10).await.unwrap(), []);
    let condemned = bench.index.condemn(NOW + HOUR, 10).await.unwrap();
    assert_eq!(condemned, [Stray { object: object.clone(), instance: "one".into(), unfinished: None }]);
    let late = bench.index.commit(commit, at(NOW), unrecorded()).await;
    assert!(matches!(late, Err(IoError::Interrupted(_))), "{late:?}");
    assert_eq!(bench.used().await, (0, 0));
    // After a crash of the sweeper it is there again; after a failure, when it is due again.
    assert_eq!(bench.index.condemn(NOW + HOUR, 10).await.unwrap().len(), 1);
    bench.index.due_at(&object, NOW + 2 * HOUR).await.unwrap();
    assert_eq!(bench.index.condemn(NOW + HOUR, 10).await.unwrap(), []);
    assert_eq!(bench.index.condemn(NOW + 2 * HOUR, 10).await.unwrap().len(), 1);
    bench.index.forget(vec![object]).await.unwrap();
    assert_eq!(bench.index.condemn(NOW + 2 * HOUR, 10).await.unwrap(), []);
}

pub(crate) async fn replaced_bytes_become_strays(bench: &Bench) {
    let first = bench.write(F, 1, NOW, |_| {}).await.unwrap();
    let second = bench.write(F, 1, NOW, |_| {}).await.unwrap();
    let objects = async |now| -> Vec<String> {
        bench.index.condemn(now, 10).await.unwrap().into_iter().map(|stray| stray.object).collect()
    };
    // A reader that has the row has a minute for the bytes.
    assert_eq!(objects(NOW + 59_999).await, Vec::<String>::new());
    assert_eq!(objects(NOW + 60_000).await, std::slice::from_ref(&first.object));
    bench.index.forget(vec![first.object]).await.unwrap();
    let deletion = Deletion {
        name: super::name(F),
        basis: Basis::row("new"),
        condition: crate::basis::Condition::Always,
    };
    bench.index.delete(vec![deletion], at(NOW), unrecorded()).await.unwrap();
    assert_eq!(objects(NOW + 60_000).await, [second.object]);
}

pub(crate) async fn strays_keep_their_place_and_name(bench: &Bench) {
    for (object, due) in [("a", 30), ("b", 10), ("c", 20)] {
        let stray = Stray { object: object.into(), instance: format!("in-{object}"), unfinished: None };
        bench.index.note(stray, due).await.unwrap();
    }
    let named = Stray { object: "b".into(), instance: "in-b".into(), unfinished: Some("upload".into()) };
    bench.index.note(named.clone(), 1_000).await.unwrap();
    let due = bench.index.condemn(20, 10).await.unwrap();
    assert_eq!(due.len(), 2);
    assert!(due.contains(&named), "{due:?}");
    assert_eq!(bench.index.condemn(30, 2).await.unwrap().len(), 2);
}
