//! What a write brought about beside its answer, for those who wait for it in this and other processes.

use std::sync::{Arc, OnceLock};

use super::ids::{RunId, SessionId};
use super::model::Signal;

/// Something that others wait for. Always told after the commit, never inside the transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Records were written to a run, or it ended, or it was deleted: its followers read it.
    Run(RunId),
    /// A signal waits for a run that this session owns.
    Signal {
        /// The owner.
        session: SessionId,
        /// The run.
        run: RunId,
        /// The signal.
        signal: Signal,
    },
    /// Signals wait for runs of this session: its command stream reads the inboxes. What a process that did
    /// not write the signals tells instead of [`Change::Signal`].
    Inbox(SessionId),
    /// A run can be claimed that could not be before: it became ready, or a slot of its team came free.
    Claimable,
    /// A run may come due, or a session expire, earlier than [`super::Journal::next_wake`] last said.
    Rescheduled,
    /// The session was closed or reaped.
    SessionOver(SessionId),
    /// Changes may have been missed: everybody reads again.
    Missed,
}

/// Where changes go. Called from any thread; returns at once.
pub type Observer = Arc<dyn Fn(Change) + Send + Sync>;

/// The observer of a journal, set once when the service is put together.
#[derive(Clone, Default)]
pub struct Observed {
    observer: Arc<OnceLock<Observer>>,
}

impl Observed {
    /// Sets the observer; a second one is left out.
    pub fn observe(&self, observer: Observer) {
        let _ = self.observer.set(observer);
    }

    /// Tells what changed.
    pub fn tell(&self, changes: impl IntoIterator<Item = Change>) {
        if let Some(observer) = self.observer.get() {
            changes.into_iter().for_each(|change| observer(change));
        }
    }
}
