//! Readiness as guards: a role is ready when nobody holds one any more.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

/// What a role or process still waits for.
#[derive(Debug, Clone)]
pub struct Readiness {
    waiting: Arc<Mutex<Vec<&'static str>>>,
    state: watch::Sender<State>,
}

/// Where a role stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Guards are held.
    Starting,
    /// Serves.
    Ready,
    /// Told to stop: finishes what it has, takes nothing new.
    Draining,
}

impl Default for Readiness {
    fn default() -> Self {
        Self { waiting: Arc::default(), state: watch::Sender::new(State::Starting) }
    }
}

impl Readiness {
    /// Holds readiness back until the guard is dropped. Take the first before any is dropped.
    pub fn guard(&self, what: &'static str) -> ReadyGuard {
        self.waiting.lock().push(what);
        self.state.send_if_modified(|state| {
            let back = *state == State::Ready;
            if back {
                *state = State::Starting;
            }
            back
        });
        ReadyGuard { of: self.clone(), what }
    }

    /// Never ready again.
    pub fn drain(&self) {
        self.state.send_replace(State::Draining);
    }

    /// Where it stands now.
    pub fn state(&self) -> State {
        *self.state.borrow()
    }

    /// Changes of the state.
    pub fn watch(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// What it still waits for.
    pub fn waiting_for(&self) -> Vec<&'static str> {
        self.waiting.lock().clone()
    }

    fn release(&self, what: &'static str) {
        let mut waiting = self.waiting.lock();
        if let Some(at) = waiting.iter().position(|held| *held == what) {
            waiting.swap_remove(at);
        }
        let free = waiting.is_empty();
        drop(waiting);
        self.state.send_if_modified(|state| {
            let ready = free && *state == State::Starting;
            if ready {
                *state = State::Ready;
            }
            ready
        });
    }
}

/// Holds readiness back while it lives.
#[derive(Debug)]
#[must_use = "readiness is held back only while the guard lives"]
pub struct ReadyGuard {
    of: Readiness,
    what: &'static str,
}

impl Drop for ReadyGuard {
    fn drop(&mut self) {
        self.of.release(self.what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_the_last_guard_goes_and_never_after_drain() {
        let readiness = Readiness::default();
        let (a, b) = (readiness.guard("a"), readiness.guard("b"));
        drop(a);
        assert_eq!((readiness.state(), readiness.waiting_for()), (State::Starting, vec!["b"]));
        drop(b);
        assert_eq!(readiness.state(), State::Ready);
        drop(readiness.guard("again"));
        assert_eq!(readiness.state(), State::Ready);
        readiness.drain();
        drop(readiness.guard("late"));
        assert_eq!(readiness.state(), State::Draining);
    }
}
