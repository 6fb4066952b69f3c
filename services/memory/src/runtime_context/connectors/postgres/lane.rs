//! Many callers' work, one transaction: what waits while one is under way goes into the next together.

use std::future::Future;
use std::sync::Arc;

use sre_store::StoreError;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinSet;

use super::Result;

/// Calls that wait before callers are held back.
const WAITING: usize = 1024;

type Call<T, R> = (T, oneshot::Sender<Result<R>>);

/// A way to work that is done for many callers together. Work that was handed in is done whether or not its
/// caller still waits.
#[derive(Debug)]
pub(super) struct Lane<T, R> {
    calls: mpsc::Sender<Call<T, R>>,
}

impl<T, R> Clone for Lane<T, R> {
    fn clone(&self) -> Self {
        Self { calls: self.calls.clone() }
    }
}

impl<T: Send + 'static, R: Send + 'static> Lane<T, R> {
    /// A lane with so many workers, each of which takes up to `most` calls at once.
    pub(super) fn start<F, W>(tasks: &mut JoinSet<()>, workers: usize, most: usize, work: F) -> Self
    where
        F: Fn(Vec<T>) -> W + Clone + Send + 'static,
        W: Future<Output = Vec<Result<R>>> + Send + 'static,
    {
        let (calls, waiting) = mpsc::channel::<Call<T, R>>(WAITING);
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..workers {
            let (waiting, work) = (Arc::clone(&waiting), work.clone());
            tasks.spawn(async move {
                let mut taken = Vec::with_capacity(most);
                loop {
                    // One worker at a time waits for calls; the others work, or wait for their turn.
                    let count = waiting.lock().await.recv_many(&mut taken, most).await;
                    if count == 0 {
                        return;
                    }
                    let (items, replies): (Vec<T>, Vec<_>) = taken.drain(..).unzip();
                    let outcomes = work(items).await;
                    for (reply, outcome) in replies.into_iter().zip(outcomes) {
                        // Whoever stopped waiting does not want the answer.
                        let _ = reply.send(outcome);
                    }
                }
            });
        }
        Self { calls }
    }

    /// Hands work in and waits for its outcome.
    pub(super) async fn call(&self, item: T) -> Result<R> {
        let (reply, answer) = oneshot::channel();
        self.calls.send((item, reply)).await.map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or_else(|_| {
            Err(StoreError::Unavailable { message: "the write was abandoned".to_owned() }.into())
        })
    }
}
