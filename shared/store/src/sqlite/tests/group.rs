//! Group commit: what shares a commit, and what does not share its fate.

use std::pin::pin;

use tokio::task::JoinSet;

use super::*;
use crate::ErrorKind;

#[tokio::test]
async fn writes_that_wait_share_one_commit() {
    let (_folder, store) = open();
    let held = Held::start(&store, "first").await;
    let mut second = pin!(store.write(|tx| insert(tx, "second")));
    let mut third = pin!(store.write(|tx| Ok(select(tx)?.len())));
    queue(second.as_mut()).await;
    queue(third.as_mut()).await;
    assert_eq!(*store.watch().borrow(), 0);
    held.release().await.unwrap();
    second.await.unwrap();
    assert_eq!(third.await.unwrap(), 2, "a write sees those before it");
    assert_eq!(*store.watch().borrow(), 1);
    assert_eq!(names(&store).await, ["first", "second"]);
}

#[tokio::test]
async fn an_error_or_panic_undoes_its_own_changes_only() {
    let (_folder, store) = open();
    let held = Held::start(&store, "first").await;
    let mut refused = pin!(store.write(|tx| {
        insert(tx, "undone")?;
        insert(tx, "first")
    }));
    let mut panics = pin!(store.write(|tx| -> Result<(), StoreError> {
        insert(tx, "undone too")?;
        panic!("on purpose")
    }));
    let mut last = pin!(store.write(|tx| insert(tx, "last")));
    queue(refused.as_mut()).await;
    queue(panics.as_mut()).await;
    queue(last.as_mut()).await;
    held.release().await.unwrap();

    let error = refused.await.unwrap_err();
    assert!(error.is_duplicate(), "{error}");
    assert_eq!(error.to_string(), "unique constraint item.name refuses the change");
    let error = panics.await.unwrap_err();
    assert!(error.to_string().contains("on purpose"), "{error}");
    last.await.unwrap();
    assert_eq!(*store.watch().borrow(), 1, "they were one group");
    assert_eq!(names(&store).await, ["first", "last"]);
}

#[tokio::test]
async fn a_decided_write_needs_no_undoing_or_takes_its_group_along() {
    let decided = |store: &Store, refused: bool, twice: bool| {
        let store = store.clone();
        async move {
            let work = move |tx: &Connection| {
                if refused {
                    return Err(StoreError::NotFound);
                }
                insert(tx, "decided")?;
                if twice { insert(tx, "decided") } else { Ok(()) }
            };
            store.try_write_decided_then(work, |()| ()).await
        }
    };
    let (_folder, store) = open();
    let held = Held::start(&store, "first").await;
    let mut refused = pin!(decided(&store, true, false));
    let mut done = pin!(decided(&store, false, false));
    queue(refused.as_mut()).await;
    queue(done.as_mut()).await;
    held.release().await.unwrap();
    assert!(matches!(refused.await, Err(StoreError::NotFound)));
    done.await.unwrap();
    assert_eq!(names(&store).await, ["first", "decided"], "a refusal has nothing to undo");

    let (_folder, store) = open();
    let held = Held::start(&store, "first").await;
    let mut broken = pin!(decided(&store, false, true));
    let mut behind = pin!(store.write(|tx| insert(tx, "behind")));
    queue(broken.as_mut()).await;
    queue(behind.as_mut()).await;
    let first = held.release().await.unwrap_err();
    assert!(first.to_string().contains("in the middle"), "{first}");
    let error = broken.await.unwrap_err();
    assert!(error.is_duplicate(), "it hears its own error: {error}");
    behind.await.unwrap();
    assert_eq!(names(&store).await, ["behind"], "what came after it is a group of its own");
}

#[tokio::test]
async fn a_commit_that_fails_fails_its_whole_group() {
    let (_folder, store) = open();
    let held = Held::start(&store, "first").await;
    let mut breaks = pin!(store.write(|tx| {
        tx.execute_batch("pragma defer_foreign_keys = on; insert into part (item) values (99)")?;
        Ok(())
    }));
    queue(breaks.as_mut()).await;
    assert_eq!(held.release().await.unwrap_err().kind(), ErrorKind::Constraint);
    assert_eq!(breaks.await.unwrap_err().kind(), ErrorKind::Constraint);
    assert!(names(&store).await.is_empty());
    assert_eq!(*store.watch().borrow(), 0);
    store.write(|tx| insert(tx, "next")).await.unwrap();
    assert_eq!(names(&store).await, ["next"]);
}

#[tokio::test]
async fn a_write_that_ends_the_transaction_is_told_and_does_not_stop_the_writer() {
    let (_folder, store) = open();
    for sql in ["commit", "rollback", "commit; begin"] {
        let error = store.write(move |tx| Ok(tx.execute_batch(sql)?)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Backend, "{sql}: {error}");
    }
    store.write(|tx| insert(tx, "next")).await.unwrap();
    assert_eq!(names(&store).await, ["next"]);
}

#[tokio::test]
async fn savepoints_inside_a_write_are_its_own() {
    let (_folder, store) = open();
    store
        .write(|tx| {
            insert(tx, "kept")?;
            tx.execute_batch(
                "savepoint inner; insert into item (name) values ('taken back'); rollback to inner",
            )?;
            Ok(())
        })
        .await
        .unwrap();
    assert_eq!(names(&store).await, ["kept"]);
}

#[tokio::test]
async fn who_goes_away_before_its_turn_withdraws_its_write() {
    let (_folder, store) = open();
    let held = Held::start(&store, "first").await;
    {
        let mut withdrawn = pin!(store.write(|tx| insert(tx, "withdrawn")));
        queue(withdrawn.as_mut()).await;
    }
    held.release().await.unwrap();
    assert_eq!(names(&store).await, ["first"]);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_makes_callers_wait_and_then_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let options =
        OpenOptions { queue_capacity: 1, queue_timeout: Duration::from_secs(7), ..options(&folder) };
    let store = Store::open(options).unwrap();
    let held = Held::start(&store, "first").await;
    let mut queued = pin!(store.write(|tx| insert(tx, "second")));
    queue(queued.as_mut()).await;
    let started = tokio::time::Instant::now();
    let error = store.write(|tx| insert(tx, "third")).await.unwrap_err();
    assert_eq!(started.elapsed().as_secs(), 7);
    assert_eq!(error.kind(), ErrorKind::Overloaded, "{error}");
    assert!(error.is_retryable());
    let mut waits = pin!(store.write(|tx| insert(tx, "fourth")));
    queue(waits.as_mut()).await;
    held.release().await.unwrap();
    queued.await.unwrap();
    waits.await.unwrap();
    assert_eq!(names(&store).await, ["first", "second", "fourth"]);
}

#[tokio::test]
async fn a_group_is_bounded_by_its_size() {
    commits_of_five(3, |options| OpenOptions { group_limit: 2, ..options }).await;
}

#[tokio::test]
async fn a_group_is_bounded_by_its_time() {
    commits_of_five(5, |options| OpenOptions { group_time: Duration::ZERO, ..options }).await;
}

async fn commits_of_five(expected: u64, change: fn(OpenOptions) -> OpenOptions) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(change(options(&folder))).unwrap();
    let held = Held::start(&store, "1").await;
    let mut writes = JoinSet::new();
    for name in ["2", "3", "4", "5"] {
        let mut write = Box::pin({
            let store = store.clone();
            async move { store.write(move |tx| insert(tx, name)).await }
        });
        queue(write.as_mut()).await;
        writes.spawn(write);
    }
    held.release().await.unwrap();
    writes.join_all().await.into_iter().for_each(Result::unwrap);
    assert_eq!(*store.watch().borrow(), expected);
}

#[tokio::test]
async fn a_commit_without_changes_wakes_nobody() {
    let (_folder, store) = open();
    let mut commits = store.watch();
    store.write(|tx| Ok(tx.execute("delete from item where name = 'none'", [])?)).await.unwrap();
    assert!(!commits.has_changed().unwrap());
    store.write(|tx| insert(tx, "one")).await.unwrap();
    assert!(commits.has_changed().unwrap());
    assert_eq!(*commits.borrow_and_update(), 1);
}

#[tokio::test]
async fn a_refusal_of_the_service_keeps_its_type_and_undoes() {
    #[derive(Debug, thiserror::Error)]
    enum Refusal {
        #[error("fenced at epoch {0}")]
        Fenced(u32),
        #[error(transparent)]
        Store(#[from] StoreError),
    }
    let (_folder, store) = open();
    let refused = store
        .try_write(|tx| -> Result<(), Refusal> {
            insert(tx, "undone")?;
            Err(Refusal::Fenced(3))
        })
        .await;
    assert!(matches!(refused, Err(Refusal::Fenced(3))));
    assert!(names(&store).await.is_empty());
    store.close().await.unwrap();
    let closed = store.try_write(|tx| -> Result<(), Refusal> { Ok(insert(tx, "late")?) }).await;
    assert!(matches!(closed, Err(Refusal::Store(StoreError::Closed))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_writers_lose_nothing_and_share_commits() {
    let (folder, store) = open();
    let mut writers = JoinSet::new();
    for writer in 0..64 {
        let store = store.clone();
        writers.spawn(async move {
            for n in 0..20 {
                let write = store.write(move |tx| {
                    insert(tx, &format!("{writer}/{n}"))?;
                    // Every fifth is refused after its change.
                    if n % 5 == 4 { Err(StoreError::NotFound) } else { Ok(()) }
                });
                assert_eq!(write.await.is_ok(), n % 5 != 4);
            }
        });
    }
    writers.join_all().await;
    let commits = *store.watch().borrow();
    assert!(commits < 64 * 16, "{commits} commits for {} writes", 64 * 16);
    store.close().await.unwrap();
    let store = Store::open(options(&folder)).unwrap();
    assert_eq!(names(&store).await.len(), 64 * 16);
}
