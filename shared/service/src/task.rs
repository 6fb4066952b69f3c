//! Spawning: the one home of `tokio::spawn`. Every task has a name, and its failure is logged.

use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// What a task ends with.
pub trait Outcome: Send + 'static {
    /// The failure, if it is one.
    fn failure(self) -> Option<String>;
}

impl Outcome for () {
    fn failure(self) -> Option<String> {
        None
    }
}

impl<E: fmt::Display + Send + 'static> Outcome for Result<(), E> {
    fn failure(self) -> Option<String> {
        self.err().map(|error| format!("{error:#}"))
    }
}

/// Spawns a task whose handle the caller keeps.
#[expect(clippy::disallowed_methods, reason = "the one home of tokio::spawn")]
pub fn spawn<F>(name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(future.instrument(tracing::debug_span!(target: "sre::task", "task", name)))
}

/// The tasks of a process: they end at shutdown, and their failures are logged.
#[derive(Debug, Clone)]
pub struct Tasks {
    tracker: TaskTracker,
    shutdown: CancellationToken,
}

impl Tasks {
    /// No tasks yet; `shutdown` ends those to come.
    pub fn new(shutdown: CancellationToken) -> Self {
        Self { tracker: TaskTracker::new(), shutdown }
    }

    /// Spawns a task that is dropped at shutdown. A failure or panic is logged; the task is not restarted.
    pub fn spawn<F>(&self, name: &'static str, future: F)
    where
        F: Future + Send + 'static,
        F::Output: Outcome,
    {
        let shutdown = self.shutdown.clone();
        // What wraps a future has it twice, before and while it runs: eight times its size where it is not apart.
        let future = Box::pin(future);
        self.spawn_to_end(name, async move {
            match shutdown.run_until_cancelled_owned(future).await {
                Some(outcome) => outcome.failure().map_or(Ok(()), Err),
                None => Ok(()),
            }
        });
    }

    /// Spawns a task that sees shutdown itself and is waited for.
    pub fn spawn_to_end<F>(&self, name: &'static str, future: F)
    where
        F: Future + Send + 'static,
        F::Output: Outcome,
    {
        let future = Box::pin(future);
        let supervised = async move {
            match AssertUnwindSafe(future).catch_unwind().await.map(Outcome::failure) {
                Ok(None) => {}
                Ok(Some(failure)) => tracing::error!(task = name, failure, "task failed"),
                Err(panic) => tracing::error!(task = name, panic = panic_text(&*panic), "task panicked"),
            }
        };
        drop(spawn(name, self.tracker.track_future(supervised)));
    }

    /// Waits until all tasks have ended, or for so long. Returns whether they have.
    pub async fn wait(&self, at_most: Duration) -> bool {
        self.tracker.close();
        tokio::time::timeout(at_most, self.tracker.wait()).await.is_ok()
    }
}

/// The message of a panic.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tasks_end_at_shutdown() {
        let shutdown = CancellationToken::new();
        let tasks = Tasks::new(shutdown.clone());
        tasks.spawn("forever", std::future::pending::<()>());
        assert!(!tasks.wait(Duration::from_millis(1)).await);
        shutdown.cancel();
        assert!(tasks.wait(Duration::from_secs(5)).await);
    }
}
