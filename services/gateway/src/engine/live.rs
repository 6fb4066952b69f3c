//! The journalled runs that this engine works on now.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use sre_proto::memory::v1::{PendingSignal, RunState};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::answers::Closed;
use super::events::RunEvents;

/// The reason where whoever cancels gives none.
const DEFAULT_REASON: &str = "kill";

/// Signals kept for runs that were claimed and not entered yet.
const EARLY_SIGNALS: usize = 256;

/// All of them, by run id.
#[derive(Clone, Default)]
pub struct Live {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    runs: HashMap<String, LiveRun>,
    early: VecDeque<(String, PendingSignal)>,
}

/// One of them, as others of this process see it.
#[derive(Clone)]
pub struct LiveRun {
    /// Its transient events.
    pub events: RunEvents,
    /// The way to cancel it.
    pub cancel: Cancel,
    /// How it ended, once it did.
    pub over: watch::Receiver<Option<Over>>,
}

/// The end of this engine's work on a run.
#[derive(Clone, Debug)]
pub enum Over {
    /// It ended, durably.
    Closed(RunState, Arc<Closed>),
    /// Another engine goes on with it.
    Left,
}

/// Cancels a run.
#[derive(Clone, Default)]
pub struct Cancel {
    token: CancellationToken,
    asked: Arc<Mutex<Asked>>,
}

#[derive(Default)]
struct Asked {
    reason: Option<String>,
    signals: Vec<String>,
}

impl Cancel {
    /// Cancels; the first reason counts.
    pub fn cancel(&self, reason: &str) {
        let reason = if reason.is_empty() { DEFAULT_REASON } else { reason };
        self.asked.lock().reason.get_or_insert_with(|| reason.to_owned());
        self.token.cancel();
    }

    /// Acts on a signal of the run's inbox.
    pub fn signal(&self, signal: &PendingSignal) {
        if signal.kind == "cancel" {
            self.asked.lock().signals.push(signal.signal_id.clone());
            self.cancel(&String::from_utf8_lossy(&signal.body));
        } else {
            tracing::debug!(kind = signal.kind, "a signal that running runs do not know stays in the inbox");
        }
    }

    /// Cancelled together with the run.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Why it was cancelled.
    pub fn reason(&self) -> String {
        self.asked.lock().reason.clone().unwrap_or_else(|| DEFAULT_REASON.to_owned())
    }

    /// The signals that asked for it.
    pub fn signals(&self) -> Vec<String> {
        self.asked.lock().signals.clone()
    }
}

impl Live {
    /// Notes that this engine works on a run, until the entry is dropped. None where it does already.
    pub fn enter(&self, run_id: &str) -> Option<Entry> {
        let (ended, over) = watch::channel(None);
        let run = LiveRun { events: RunEvents::default(), cancel: Cancel::default(), over };
        let mut inner = self.inner.lock();
        if inner.runs.contains_key(run_id) {
            return None;
        }
        inner.runs.insert(run_id.to_owned(), run.clone());
        inner.early.retain(|(early, signal)| {
            if early == run_id {
                run.cancel.signal(signal);
            }
            early != run_id
        });
        drop(inner);
        Some(Entry { live: self.clone(), run_id: run_id.to_owned(), run, ended })
    }

    /// A run, if this engine works on it.
    pub fn get(&self, run_id: &str) -> Option<LiveRun> {
        self.inner.lock().runs.get(run_id).cloned()
    }

    /// A signal came for a run of this engine, which may have claimed it a moment ago and not entered it yet.
    pub fn signal(&self, run_id: &str, signal: PendingSignal) {
        let mut inner = self.inner.lock();
        if let Some(run) = inner.runs.get(run_id) {
            run.cancel.signal(&signal);
            return;
        }
        if inner.early.len() >= EARLY_SIGNALS {
            inner.early.pop_front();
        }
        inner.early.push_back((run_id.to_owned(), signal));
    }
}

/// This engine's work on a run.
pub struct Entry {
    live: Live,
    run_id: String,
    run: LiveRun,
    ended: watch::Sender<Option<Over>>,
}

impl Entry {
    /// The run.
    pub fn run(&self) -> &LiveRun {
        &self.run
    }

    /// It ended, durably.
    pub fn closed(self, state: RunState, closed: Arc<Closed>) {
        self.ended.send_replace(Some(Over::Closed(state, closed)));
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.live.inner.lock().runs.remove(&self.run_id);
        self.ended.send_if_modified(|over| {
            let left = over.is_none();
            over.get_or_insert(Over::Left);
            left
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn others_hear_how_it_ended() {
        let live = Live::default();
        let entry = live.enter("r").unwrap();
        assert!(live.enter("r").is_none(), "one engine works on a run once");
        let mut over = live.get("r").unwrap().over;
        entry.closed(RunState::Done, Arc::default());
        let heard = over.wait_for(Option::is_some).await.unwrap().clone();
        assert!(matches!(heard, Some(Over::Closed(RunState::Done, _))));
        assert!(live.get("r").is_none());
    }

    #[tokio::test]
    async fn a_run_that_is_dropped_was_left() {
        let live = Live::default();
        let entry = live.enter("r").unwrap();
        let mut over = entry.run().over.clone();
        drop(entry);
        assert!(matches!(*over.wait_for(Option::is_some).await.unwrap(), Some(Over::Left)));
    }

    #[test]
    fn a_signal_that_comes_early_is_kept_for_its_run() {
        let live = Live::default();
        let cancel = PendingSignal { signal_id: "1".into(), kind: "cancel".into(), ..Default::default() };
        live.signal("r", cancel.clone());
        assert!(!live.enter("other").unwrap().run().cancel.token().is_cancelled());
        assert!(live.enter("r").unwrap().run().cancel.token().is_cancelled());
        assert!(!live.enter("r").unwrap().run().cancel.token().is_cancelled(), "it is taken once");
        for number in 0..2 * EARLY_SIGNALS {
            live.signal(&number.to_string(), cancel.clone());
        }
        assert_eq!(live.inner.lock().early.len(), EARLY_SIGNALS);
    }

    #[test]
    fn the_first_reason_counts_and_signals_are_remembered() {
        let cancel = Cancel::default();
        let signal = |id: &str, kind: &str, body: &'static str| PendingSignal {
            signal_id: id.into(),
            kind: kind.into(),
            body: body.into(),
        };
        cancel.signal(&signal("1", "approve", ""));
        assert!(!cancel.token().is_cancelled());
        cancel.signal(&signal("2", "cancel", "because"));
        cancel.signal(&signal("3", "cancel", "later"));
        assert!(cancel.token().is_cancelled());
        assert_eq!((cancel.reason().as_str(), cancel.signals()), ("because", vec!["2".into(), "3".into()]));
        let silent = Cancel::default();
        silent.cancel("");
        assert_eq!(silent.reason(), "kill");
    }
}
