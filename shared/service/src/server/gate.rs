//! Bounded work: how many calls a role works on, refused beyond it at the cost of one atomic operation.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// Counts calls in flight against a limit.
#[derive(Debug)]
pub(crate) struct Gate {
    limit: usize,
    inside: AtomicUsize,
    idle: Notify,
}

impl Gate {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, inside: AtomicUsize::new(0), idle: Notify::new() })
    }

    /// Admits a call, or none where the limit is reached.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Pass> {
        if self.inside.fetch_add(1, Ordering::AcqRel) >= self.limit {
            self.leave();
            return None;
        }
        Some(Pass(Arc::clone(self)))
    }

    pub(crate) fn inside(&self) -> usize {
        self.inside.load(Ordering::Acquire)
    }

    /// Waits until nothing is in flight, or for so long. Returns whether nothing is.
    pub(crate) async fn idle(&self, at_most: Duration) -> bool {
        let idle = async {
            loop {
                let notified = self.idle.notified();
                if self.inside() == 0 {
                    return;
                }
                notified.await;
            }
        };
        tokio::time::timeout(at_most, idle).await.is_ok()
    }

    fn leave(&self) {
        if self.inside.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.idle.notify_waiters();
        }
    }
}

/// A call in flight.
#[derive(Debug)]
pub(crate) struct Pass(Arc<Gate>);

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_excess_is_refused_and_idle_is_seen() {
        let gate = Gate::new(2);
        let (a, b) = (gate.enter().unwrap(), gate.enter().unwrap());
        assert!(gate.enter().is_none());
        drop(a);
        let c = gate.enter().unwrap();
        assert!(!gate.idle(Duration::from_secs(1)).await);
        drop((b, c));
        assert!(gate.idle(Duration::from_secs(1)).await);
        assert_eq!(gate.inside(), 0);
    }
}
