//! What happens in a run while it happens. Transient events (starts, tokens, log lines) go from the engine
//! that runs it to its watchers and are never stored; those that count are the records of its journal.

use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use sre_proto::gateway::v1::run_event::Event;
use tokio::sync::broadcast;

/// Transient events that a slow watcher may be behind; older ones it misses.
const CAPACITY: usize = 512;

/// A transient event.
#[derive(Clone, Debug)]
pub struct Transient {
    /// When it happened.
    pub time: SystemTime,
    /// What happened.
    pub event: Event,
}

/// The transient events of one run. The room for them is made for the first watcher: most runs have none, and it would
/// be the largest part of what a run needs of memory.
#[derive(Clone, Debug, Default)]
pub struct RunEvents {
    sender: Arc<OnceLock<broadcast::Sender<Transient>>>,
}

impl RunEvents {
    /// Tells the watchers. The event is only made where there are any.
    pub fn emit(&self, event: impl FnOnce() -> Event) {
        if let Some(sender) = self.heard() {
            // Nobody listens any more: nothing to tell.
            let _ = sender.send(Transient { time: SystemTime::now(), event: event() });
        }
    }

    /// Whether somebody listens.
    pub fn is_heard(&self) -> bool {
        self.heard().is_some()
    }

    fn heard(&self) -> Option<&broadcast::Sender<Transient>> {
        self.sender.get().filter(|sender| sender.receiver_count() > 0)
    }

    /// Listens from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Transient> {
        self.sender.get_or_init(|| broadcast::Sender::new(CAPACITY)).subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sre_proto::gateway::v1::RunOpened;

    #[tokio::test]
    async fn watchers_hear_what_happens_and_nothing_is_made_for_nobody() {
        let events = RunEvents::default();
        events.emit(|| unreachable!("nobody watches"));
        let mut watcher = events.subscribe();
        events.emit(|| Event::RunOpened(RunOpened { skill: "s".into(), ..RunOpened::default() }));
        let heard = watcher.recv().await.unwrap();
        assert!(matches!(heard.event, Event::RunOpened(opened) if opened.skill == "s"));
        drop(events);
        assert!(watcher.recv().await.is_err());
    }
}
