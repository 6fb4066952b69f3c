//! The signals of a run that this engine works on: from its claim, from the engine's command stream, from a
//! park that was refused. Each is acted upon once, and consumed in the journal with what it led to; also those
//! of kinds that this engine does not know, or the run could never be parked again.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use sre_proto::memory::v1::PendingSignal;
use tokio::sync::Notify;

/// The inbox of one run. Clones share it.
#[derive(Clone, Default)]
pub struct Inbox {
    state: Arc<Mutex<State>>,
    arrived: Arc<Notify>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<PendingSignal>,
    /// The store delivers a signal again after a broken stream. It bounds how many a run has.
    seen: HashSet<String>,
}

impl Inbox {
    /// Puts a signal in, unless it was there before.
    pub fn put(&self, signal: PendingSignal) {
        let mut state = self.state.lock();
        if state.seen.insert(signal.signal_id.clone()) {
            state.waiting.push_back(signal);
            self.arrived.notify_one();
        }
    }

    /// The signals that came since the last call, in order.
    pub fn take(&self) -> Vec<PendingSignal> {
        let mut state = self.state.lock();
        if state.waiting.is_empty() { Vec::new() } else { state.waiting.drain(..).collect() }
    }

    /// Ready when something came. For the one who works on the run.
    pub async fn arrived(&self) {
        self.arrived.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    #[tokio::test]
    async fn a_signal_is_taken_once_however_often_it_comes() {
        let inbox = Inbox::default();
        let signal =
            |id: &str| PendingSignal { signal_id: id.into(), kind: "k".into(), ..Default::default() };
        assert!(inbox.arrived().now_or_never().is_none());
        inbox.put(signal("1"));
        inbox.put(signal("2"));
        inbox.put(signal("1"));
        inbox.arrived().await;
        assert_eq!(
            inbox.take().iter().map(|signal| signal.signal_id.as_str()).collect::<Vec<_>>(),
            ["1", "2"]
        );
        inbox.put(signal("2"));
        assert!(inbox.take().is_empty());
    }
}
