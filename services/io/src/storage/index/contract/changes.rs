//! Changes: decided on what is there, all or none, by many at once.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::{Bench, Broken, F, NOW, at, name, unrecorded};
use crate::basis::{Basis, Condition};
use crate::error::IoError;
use crate::storage::{Deletion, Expiry, Metadata, Update};

fn deletion(file: &str, basis: Basis) -> Deletion {
    Deletion { name: name(file), basis, condition: Condition::Always }
}

fn update(file: &str, basis: Basis) -> Update {
    Update {
        name: name(file),
        basis,
        condition: Condition::Always,
        set: Metadata::new(),
        remove: Vec::new(),
        mimetype: None,
        expiry: Expiry::Keep,
    }
}

/// H33: what was decided on one list is not done under another.
pub(crate) async fn h33_a_list_changed_between_check_and_act_is_noticed(bench: &Bench) {
    let index = &bench.index;
    bench.write(F, 1, NOW, |_| {}).await.unwrap();
    let stale = bench.write(F, 2, NOW, |commit| commit.basis = Basis::absent()).await;
    assert!(matches!(stale, Err(IoError::AclChanged)));
    index.set_acl(&name(F), Basis::row("new"), "other".into(), at(NOW), unrecorded()).await.unwrap();
    let stale = Basis::row("new");
    let deleted = index.delete(vec![deletion(F, stale.clone())], at(NOW), unrecorded()).await;
    assert!(matches!(deleted, Err(IoError::AclChanged)));
    let set = index.set_acl(&name(F), stale.clone(), "third".into(), at(NOW), unrecorded()).await;
    assert!(matches!(set, Err(IoError::AclChanged)));
    let updated = index.update(update(F, stale), at(NOW), unrecorded()).await;
    assert!(matches!(updated, Err(IoError::AclChanged)));
    let row = bench.live(F, NOW).await.unwrap();
    assert_eq!((row.acl.as_str(), row.size_bytes), ("other", 1));
}

pub(crate) async fn deletes_are_all_or_none(bench: &Bench) {
    let files = ["teams/t/files/a", "teams/t/files/b", "teams/t/files/c"];
    for file in files {
        bench.write(file, 2, NOW, |_| {}).await.unwrap();
    }
    let stale = [Basis::row("new"), Basis::row("new"), Basis::row("old")];
    let batch = files.iter().zip(stale).map(|(file, basis)| deletion(file, basis)).collect();
    let refused = bench.index.delete(batch, at(NOW), unrecorded()).await;
    assert!(matches!(refused, Err(IoError::AclChanged)));
    assert_eq!(bench.used().await, (3, 6));
    let mut other = deletion(files[0], Basis::row("new"));
    other.condition = Condition::IfMatch("x".into());
    let refused = bench.index.delete(vec![other], at(NOW), unrecorded()).await;
    assert!(matches!(refused, Err(IoError::OtherVersion)));
    let mut batch: Vec<_> = files.iter().map(|file| deletion(file, Basis::row("new"))).collect();
    batch.push(deletion("teams/t/files/absent", Basis::absent()));
    assert_eq!(bench.index.delete(batch, at(NOW), unrecorded()).await.unwrap(), 3);
    assert_eq!(bench.used().await, (0, 0));
}

pub(crate) async fn an_update_changes_what_it_names(bench: &Bench) {
    let first = bench
        .write(F, 3, NOW, |commit| commit.metadata = json!({"a": 1, "b": 2}).as_object().unwrap().clone())
        .await
        .unwrap();
    let mut change = update(F, Basis::row("new"));
    change.set = json!({"b": "3", "c": true}).as_object().unwrap().clone();
    change.remove = vec!["a".into(), "absent".into()];
    change.expiry = Expiry::After(Duration::from_secs(10));
    let second = bench.index.update(change, at(NOW + 1), unrecorded()).await.unwrap();
    assert_eq!(serde_json::Value::from(second.metadata.clone()), json!({"b": "3", "c": true}));
    assert_ne!(first.etag, second.etag);
    // D21: what is said of a file does not touch its bytes, nor the rest.
    assert_eq!((&second.object, &second.mimetype, &second.acl), (&first.object, &first.mimetype, &first.acl));
    assert_eq!((second.expires_ms, second.updated_ms), (Some(NOW + 10_001), NOW + 1));
    let mut change = update(F, Basis::row("new"));
    (change.mimetype, change.expiry) = (Some("image/png".into()), Expiry::Never);
    change.condition = Condition::IfMatch(second.etag.clone());
    let third = bench.index.update(change.clone(), at(NOW + 2), unrecorded()).await.unwrap();
    assert_eq!((third.mimetype.as_str(), third.expires_ms), ("image/png", None));
    assert_eq!(bench.live(F, NOW).await, Some(third));
    let stale = bench.index.update(change, at(NOW + 3), unrecorded()).await;
    assert!(matches!(stale, Err(IoError::OtherVersion)));
    let absent = bench.index.update(update("teams/t/files/x", Basis::absent()), at(NOW), unrecorded()).await;
    assert!(matches!(absent, Err(IoError::NotFound(_))));
}

/// A change that cannot be recorded is not made.
pub(crate) async fn a_failed_record_undoes_the_change(bench: &Bench) {
    let commit = bench.commit(F, 1, NOW).await;
    assert!(bench.index.commit(commit, at(NOW), Arc::new(Broken)).await.is_err());
    assert_eq!(bench.live(F, NOW).await, None);
    let row = bench.write(F, 1, NOW, |_| {}).await.unwrap();
    let broken = bench.index.delete(vec![deletion(F, Basis::row("new"))], at(NOW), Arc::new(Broken)).await;
    assert!(broken.is_err());
    let broken =
        bench.index.set_acl(&name(F), Basis::row("new"), "x".into(), at(NOW), Arc::new(Broken)).await;
    assert!(broken.is_err());
    assert!(bench.index.update(update(F, Basis::row("new")), at(NOW), Arc::new(Broken)).await.is_err());
    assert_eq!(bench.live(F, NOW).await, Some(row));
    assert_eq!(bench.used().await, (1, 1));
}

pub(crate) async fn one_of_many_creates(bench: &Bench) {
    let mut commits = Vec::new();
    for _ in 0..16 {
        let mut commit = bench.commit(F, 1, NOW).await;
        commit.condition = Condition::IfAbsent;
        commits.push(commit);
    }
    let all = commits.into_iter().map(|commit| bench.index.commit(commit, at(NOW), unrecorded()));
    let outcomes = futures::future::join_all(all).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    // The others found a row that they had not decided on.
    assert!(outcomes.iter().filter_map(|o| o.as_ref().err()).all(|e| matches!(e, IoError::AclChanged)));
    assert_eq!(bench.used().await, (1, 1));
}

pub(crate) async fn many_writers_keep_the_counts(bench: &Bench) {
    let rounds = (0..8).map(|n| async move {
        for round in 0..6 {
            let file = format!("teams/t/files/{}", (n + round) % 5);
            let done = bench.write(&file, i64::from(n), NOW, |_| {}).await;
            assert!(matches!(done, Ok(_) | Err(IoError::AclChanged)), "{done:?}");
            if round % 3 == 2 {
                let gone =
                    bench.index.delete(vec![deletion(&file, Basis::row("new"))], at(NOW), unrecorded()).await;
                assert!(matches!(gone, Ok(_) | Err(IoError::AclChanged)), "{gone:?}");
            }
        }
    });
    futures::future::join_all(rounds).await;
    let mut counted = (0, 0);
    for n in 0..5 {
        if let Some(row) = bench.live(&format!("teams/t/files/{n}"), NOW).await {
            counted = (counted.0 + 1, counted.1 + row.size_bytes);
        }
    }
    assert_eq!(bench.used().await, counted);
}
