//! Reading beside the writer, and the end of both.

use std::pin::pin;

use super::*;
use crate::ErrorKind;

#[tokio::test]
async fn readers_see_what_is_committed_only() {
    let (_folder, store) = open();
    let held = Held::start(&store, "first").await;
    assert!(names(&store).await.is_empty());
    held.release().await.unwrap();
    assert_eq!(names(&store).await, ["first"]);
}

#[tokio::test]
async fn one_read_sees_one_snapshot() {
    let (_folder, store) = open();
    let (go, gone) = mpsc::channel();
    let (started, starts) = tokio::sync::oneshot::channel();
    let mut reads = JoinSet::new();
    let reader = store.clone();
    reads.spawn(async move {
        reader
            .read(move |conn| {
                let before = select(conn)?.len();
                started.send(()).unwrap();
                gone.recv().unwrap();
                Ok((before, select(conn)?.len()))
            })
            .await
    });
    starts.await.unwrap();
    store.write(|tx| insert(tx, "between")).await.unwrap();
    go.send(()).unwrap();
    assert_eq!(reads.join_next().await.unwrap().unwrap().unwrap(), (0, 0));
    assert_eq!(names(&store).await.len(), 1);
}

#[tokio::test]
async fn a_reader_cannot_write_and_survives_errors_and_panics() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(OpenOptions { readers: 1, ..options(&folder) }).unwrap();
    let error = store.read(|conn| insert(conn, "x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
    assert!(error.to_string().contains("items.db"), "{error}");
    let missing =
        store.read(|conn| Ok(conn.query_row("select id from item", [], |row| row.get::<_, i64>(0))?));
    assert_eq!(missing.await.unwrap_err().kind(), ErrorKind::NotFound);
    let panics = store.read(|_| -> Result<(), StoreError> { panic!("on purpose") });
    assert_eq!(panics.await.unwrap_err().kind(), ErrorKind::Backend);
    assert!(names(&store).await.is_empty());
}

#[tokio::test]
async fn readers_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let options = OpenOptions { readers: 1, queue_timeout: Duration::from_millis(1), ..options(&folder) };
    let store = Store::open(options).unwrap();
    let (go, gone) = mpsc::channel();
    let mut busy = pin!(store.read(move |_| gone.recv().map_err(|_| StoreError::NotFound)));
    queue(busy.as_mut()).await;
    let error = store.read(select).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overloaded, "{error}");
    go.send(()).unwrap();
    busy.await.unwrap();
    assert!(names(&store).await.is_empty());
}

#[tokio::test]
async fn close_serves_what_is_queued_and_refuses_the_rest() {
    let (folder, store) = open();
    let held = Held::start(&store, "first").await;
    let mut second = pin!(store.write(|tx| insert(tx, "second")));
    queue(second.as_mut()).await;
    let mut close = pin!(store.close());
    queue(close.as_mut()).await;
    assert_eq!(store.read(select).await.unwrap_err().kind(), ErrorKind::Closed);
    held.release().await.unwrap();
    close.await.unwrap();
    second.await.unwrap();
    assert_eq!(store.write(|tx| insert(tx, "late")).await.unwrap_err().kind(), ErrorKind::Closed);
    assert!(store.watch().has_changed().is_err(), "the counter ends with the store");
    store.close().await.unwrap();
    assert!(!folder.path().join("items.db-wal").exists(), "the log is moved into the file");

    // The closed handle is still there, and holds nothing.
    let again = Store::open(options(&folder)).unwrap();
    assert_eq!(names(&again).await, ["first", "second"]);
}

#[tokio::test]
async fn dropping_the_last_clone_closes() {
    let (folder, store) = open();
    let clone = store.clone();
    store.write(|tx| insert(tx, "first")).await.unwrap();
    drop(store);
    clone.write(|tx| insert(tx, "second")).await.unwrap();
    drop(clone);
    let again = Store::open(options(&folder)).unwrap();
    assert_eq!(names(&again).await, ["first", "second"]);
}

#[tokio::test]
async fn a_look_up_runs_here_and_waits_where_no_connection_is_idle() {
    let (_folder, store) = open();
    store.write(|tx| insert(tx, "there")).await.unwrap();
    let here = std::thread::current().id();
    let on = store.look_up(|conn| Ok((select(conn)?, std::thread::current().id()))).await.unwrap();
    assert_eq!(on, (vec!["there".to_owned()], here));
    // All connections are taken by reads that wait.
    let mut reads = JoinSet::new();
    let mut gates = Vec::new();
    for _ in 0..4 {
        let (go, gone) = mpsc::channel::<()>();
        let (started, starts) = tokio::sync::oneshot::channel();
        let reader = store.clone();
        reads.spawn(async move {
            reader
                .read(move |_| {
                    started.send(()).unwrap();
                    gone.recv().unwrap();
                    Ok(())
                })
                .await
        });
        starts.await.unwrap();
        gates.push(go);
    }
    let waiting = store.look_up(|conn| Ok((select(conn)?, std::thread::current().id())));
    let mut waiting = pin!(waiting);
    assert!(poll_once(waiting.as_mut()).await.is_none());
    for gate in gates {
        gate.send(()).unwrap();
    }
    let (found, thread) = waiting.await.unwrap();
    assert_eq!(found, ["there"]);
    assert_ne!(thread, here);
}

/// Polls once.
async fn poll_once<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|cx| {
        std::task::Poll::Ready(match future.as_mut().poll(cx) {
            std::task::Poll::Ready(done) => Some(done),
            std::task::Poll::Pending => None,
        })
    })
    .await
}
