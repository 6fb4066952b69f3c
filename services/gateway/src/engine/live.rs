//! The journalled runs that this engine works on now.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sre_proto::memory::v1::{PendingSignal, RunState};
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::answers::Closed;
use super::events::{RunEvents, Transient};
use super::inbox::Inbox;

/// The reason where whoever cancels gives none.
const DEFAULT_REASON: &str = "kill";
/// The kind of the signal that cancels a run.
pub const CANCEL: &str = "cancel";

/// Signals kept for runs that were claimed and not entered yet.
const EARLY_SIGNALS: usize = 256;
/// For so long: a run is entered at once after its claim, and an older signal may have been acted upon since.
const EARLY: Duration = Duration::from_secs(5);

/// All of them, by run id.
#[derive(Clone, Default)]
pub struct Live {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    runs: HashMap<String, LiveRun>,
    early: VecDeque<(String, PendingSignal, Instant)>,
    /// Events of runs that somebody waits to hear, and that this engine does not work on yet.
    awaited: HashMap<String, RunEvents>,
}

/// One of them, as others of this process see it.
#[derive(Clone)]
pub struct LiveRun {
    /// Its transient events.
    pub events: RunEvents,
    /// The way to cancel it.
    pub cancel: Cancel,
    /// Its signals.
    pub inbox: Inbox,
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
}

impl LiveRun {
    /// A signal came.
    pub fn signal(&self, signal: PendingSignal) {
        deliver(&self.cancel, &self.inbox, signal);
    }
}

/// Puts a signal into an inbox. Components in flight hear at once that their run is cancelled.
pub fn deliver(cancel: &Cancel, inbox: &Inbox, signal: PendingSignal) {
    if signal.kind == CANCEL {
        cancel.cancel(&String::from_utf8_lossy(&signal.body));
    }
    inbox.put(signal);
}

impl Cancel {
    /// Cancels; the first reason counts.
    pub fn cancel(&self, reason: &str) {
        let reason = if reason.is_empty() { DEFAULT_REASON } else { reason };
        self.asked.lock().reason.get_or_insert_with(|| reason.to_owned());
        self.token.cancel();
    }

    /// Cancelled together with the run.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Why it was cancelled.
    pub fn reason(&self) -> String {
        self.asked.lock().reason.clone().unwrap_or_else(|| DEFAULT_REASON.to_owned())
    }
}

impl Live {
    /// Notes that this engine works on a run, until the entry is dropped. None where it does already.
    pub fn enter(&self, run_id: &str) -> Option<Entry> {
        let (ended, over) = watch::channel(None);
        let mut inner = self.inner.lock();
        if inner.runs.contains_key(run_id) {
            return None;
        }
        let run = LiveRun {
            events: inner.awaited.remove(run_id).unwrap_or_default(),
            cancel: Cancel::default(),
            inbox: Inbox::default(),
            over,
        };
        inner.runs.insert(run_id.to_owned(), run.clone());
        inner.early.retain(|(early, signal, came)| {
            if early == run_id && came.elapsed() < EARLY {
                run.signal(signal.clone());
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

    /// Hears a run from its first event on, whenever this engine works on it; ends with the guard.
    pub fn hear(&self, run_id: &str) -> Hearing {
        Hearing { live: self.clone(), run_id: run_id.to_owned(), events: Some(self.subscribe(run_id)) }
    }

    fn subscribe(&self, run_id: &str) -> broadcast::Receiver<Transient> {
        let mut inner = self.inner.lock();
        match inner.runs.get(run_id) {
            Some(run) => run.events.subscribe(),
            None => inner.awaited.entry(run_id.to_owned()).or_default().subscribe(),
        }
    }

    /// A signal came for a run of this engine, which may have claimed it a moment ago and not entered it yet.
    pub fn signal(&self, run_id: &str, signal: PendingSignal) {
        let mut inner = self.inner.lock();
        if let Some(run) = inner.runs.get(run_id) {
            run.signal(signal);
            return;
        }
        if inner.early.len() >= EARLY_SIGNALS {
            inner.early.pop_front();
        }
        inner.early.push_back((run_id.to_owned(), signal, Instant::now()));
    }
}

/// Hears a run.
pub struct Hearing {
    live: Live,
    run_id: String,
    /// None where the run left this engine.
    events: Option<broadcast::Receiver<Transient>>,
}

impl Hearing {
    /// The next event; waits for as long as there is none here. What a slow listener missed is left out.
    pub async fn next(&mut self) -> Transient {
        loop {
            if let Some(event) = self.until_it_leaves().await {
                return event;
            }
            // It may come back.
            self.events = Some(self.live.subscribe(&self.run_id));
        }
    }

    /// The next event; none once the run left this engine.
    pub async fn until_it_leaves(&mut self) -> Option<Transient> {
        loop {
            match self.events.as_mut()?.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    tracing::debug!(run = self.run_id, missed, "a slow listener missed transient events");
                }
                Err(broadcast::error::RecvError::Closed) => self.events = None,
            }
        }
    }

    /// Whether there is an event already.
    pub fn has_any(&self) -> bool {
        self.events.as_ref().is_some_and(|events| !events.is_empty())
    }

    /// An event that is there already.
    pub fn left(&mut self) -> Option<Transient> {
        loop {
            match self.events.as_mut()?.try_recv() {
                Ok(event) => return Some(event),
                Err(broadcast::error::TryRecvError::Lagged(_)) => {}
                Err(_) => return None,
            }
        }
    }
}

impl Drop for Hearing {
    fn drop(&mut self) {
        self.events = None;
        let mut inner = self.live.inner.lock();
        if inner.awaited.get(&self.run_id).is_some_and(|events| !events.is_heard()) {
            inner.awaited.remove(&self.run_id);
        }
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
    async fn a_listener_hears_a_run_from_its_first_event_on_and_again_when_it_comes_back() {
        use sre_proto::gateway::v1::run_event::Event;
        use sre_proto::gateway::v1::{ContentChunk, RunOpened};
        let live = Live::default();
        let mut hearing = live.hear("r");
        for _ in 0..2 {
            let entry = live.enter("r").unwrap();
            entry.run().events.emit(|| Event::RunOpened(RunOpened::default()));
            entry.run().events.emit(|| Event::Content(ContentChunk::default()));
            assert!(matches!(hearing.next().await.event, Event::RunOpened(_)));
            drop(entry);
            assert!(matches!(hearing.left().unwrap().event, Event::Content(_)));
            // It waits for the run from here on.
            tokio::select! {
                biased;
                _ = hearing.next() => panic!("nothing happened"),
                () = tokio::task::yield_now() => {}
            }
        }
        drop(hearing);
        assert!(live.inner.lock().awaited.is_empty());
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
    fn the_first_reason_counts_and_every_signal_is_kept() {
        let live = Live::default();
        let entry = live.enter("r").unwrap();
        let signal = |id: &str, kind: &str, body: &'static str| PendingSignal {
            signal_id: id.into(),
            kind: kind.into(),
            body: body.into(),
        };
        let cancel = &entry.run().cancel;
        live.signal("r", signal("1", "approval", ""));
        assert!(!cancel.token().is_cancelled());
        live.signal("r", signal("2", "cancel", "because"));
        live.signal("r", signal("3", "cancel", "later"));
        assert!(cancel.token().is_cancelled());
        assert_eq!(cancel.reason(), "because");
        assert_eq!(entry.run().inbox.take().len(), 3);
        let silent = Cancel::default();
        silent.cancel("");
        assert_eq!(silent.reason(), "kill");
    }
}
