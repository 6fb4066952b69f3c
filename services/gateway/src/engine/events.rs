//! What happens in a run while it happens. Transient events (starts, tokens, log lines) go from the engine
//! that runs it to its watchers and are never stored; those that count are the records of its journal.

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

/// The transient events of one run.
#[derive(Clone, Debug)]
pub struct RunEvents {
    sender: broadcast::Sender<Transient>,
}

impl Default for RunEvents {
    fn default() -> Self {
        Self { sender: broadcast::Sender::new(CAPACITY) }
    }
}

impl RunEvents {
    /// Tells the watchers. The event is only made where there are any.
    pub fn emit(&self, event: impl FnOnce() -> Event) {
        if self.is_heard() {
            // Nobody listens any more: nothing to tell.
            let _ = self.sender.send(Transient { time: SystemTime::now(), event: event() });
        }
    }

    /// Whether somebody listens.
    pub fn is_heard(&self) -> bool {
        self.sender.receiver_count() > 0
    }

    /// Listens from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Transient> {
        self.sender.subscribe()
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
