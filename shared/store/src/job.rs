//! A caller's write on its way through the writer.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use tokio::sync::mpsc::error::{SendTimeoutError, TrySendError};
use tokio::sync::{mpsc, oneshot};

use crate::StoreError;

/// A write of unknown result type, as the writer sees it. `C` is the writer's connection.
pub(crate) trait Job<C>: Send {
    /// True when nobody waits for the answer any more, so that the work need not be done.
    fn is_withdrawn(&self) -> bool;
    /// How it is undone when it fails.
    fn undo(&self) -> Undo;
    /// Does the work once and keeps its result. False when it failed or panicked.
    fn run(&mut self, conn: &C) -> bool;
    /// Turns a result that is not durable into `error`. A failure of its own stays.
    fn fail(&mut self, error: &StoreError);
    /// Hands the result to the caller.
    fn answer(self: Box<Self>);
}

/// How a write that fails is undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Undo {
    /// By itself, whatever it changed before: a savepoint stands before it.
    Alone,
    /// It decides before its first change, so there is nothing to undo. Where there is, because the database failed
    /// in the middle of it, the transaction goes with all that is in it.
    WithItsGroup,
}

/// The caller's side of a job.
pub(crate) type Answer<T, E> = oneshot::Receiver<Result<T, E>>;

struct Work<F, G, T, U, E> {
    undo: Undo,
    work: Option<F>,
    then: G,
    result: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<U, E>>,
}

/// `then` makes the answer of a result that is durable.
pub(crate) fn job<C, F, G, T, U, E>(undo: Undo, work: F, then: G) -> (Box<dyn Job<C>>, Answer<U, E>)
where
    F: FnOnce(&C) -> Result<T, E> + Send + 'static,
    G: FnOnce(T) -> U + Send + 'static,
    T: Send + 'static,
    U: Send + 'static,
    E: From<StoreError> + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    (Box::new(Work { undo, work: Some(work), then, result: None, reply }), answer)
}

impl<C, F, G, T, U, E> Job<C> for Work<F, G, T, U, E>
where
    F: FnOnce(&C) -> Result<T, E> + Send,
    G: FnOnce(T) -> U + Send,
    T: Send,
    U: Send,
    E: From<StoreError> + Send,
{
    fn is_withdrawn(&self) -> bool {
        self.reply.is_closed()
    }

    fn undo(&self) -> Undo {
        self.undo
    }

    fn run(&mut self, conn: &C) -> bool {
        let Some(work) = self.work.take() else { return false };
        let result = isolate(|| work(conn));
        let done = result.is_ok();
        self.result = Some(result);
        done
    }

    fn fail(&mut self, error: &StoreError) {
        if !matches!(self.result, Some(Err(_))) {
            self.result = Some(Err(error.clone().into()));
        }
    }

    fn answer(self: Box<Self>) {
        let result = self.result.unwrap_or_else(|| Err(StoreError::Closed.into()));
        let then = self.then;
        let result = result.and_then(|value| isolate(|| Ok(then(value))));
        // Whoever stopped waiting does not want the answer.
        drop(self.reply.send(result));
    }
}

/// Puts something in a writer's queue, waiting for room for so long. `store` names the store in errors.
pub(crate) async fn enqueue<T>(
    queue: &mpsc::Sender<T>,
    item: T,
    at_most: Duration,
    store: impl FnOnce() -> String,
) -> Result<(), StoreError> {
    // Without a timer where there is room.
    let item = match queue.try_send(item) {
        Ok(()) => return Ok(()),
        Err(TrySendError::Closed(_)) => return Err(StoreError::Closed),
        Err(TrySendError::Full(item)) => item,
    };
    match queue.send_timeout(item, at_most).await {
        Ok(()) => Ok(()),
        Err(SendTimeoutError::Closed(_)) => Err(StoreError::Closed),
        Err(SendTimeoutError::Timeout(_)) => Err(StoreError::Overloaded { store: store(), waited: at_most }),
    }
}

/// Runs a caller's closure; a panic becomes its error, and the thread lives on.
pub(crate) fn isolate<T, E: From<StoreError>>(work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result,
        Err(panic) => {
            let words = panic_words(&*panic);
            Err(StoreError::backend(format!("a closure of the store's caller panicked: {words}")).into())
        }
    }
}

fn panic_words(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(words), _) => words,
        (_, Some(words)) => words,
        _ => "no message",
    }
}
