//! The command streams of engines: bounded, coalesced, and complete, because what does not fit is read
//! again from the journal.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::connectors::Journal;
use super::error::JournalError;
use super::ids::{RunId, SessionId};
use super::model::Signal;

/// Signals that wait on a stream before it reads the inboxes instead.
const QUEUED_SIGNALS: usize = 256;

/// What an engine is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// The stream is established.
    Attached,
    /// A signal for a run of the session. It may come twice.
    Signal(RunId, Signal),
    /// Something may be claimable.
    ClaimHint,
    /// The session is no longer valid.
    SessionLost,
}

/// All command streams.
#[derive(Debug, Clone, Default)]
pub struct Commands {
    lines: Arc<Mutex<HashMap<SessionId, Arc<Line>>>>,
}

/// What waits to be sent to one engine.
#[derive(Debug, Default)]
struct Line {
    pending: Mutex<Pending>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    signals: VecDeque<(RunId, Signal)>,
    /// Set where the queue was full, and at the start: the inboxes say what waits.
    read_inboxes: bool,
    hint: bool,
    lost: bool,
    /// A newer stream of the same session took over.
    replaced: bool,
}

impl Line {
    fn tell(&self, change: impl FnOnce(&mut Pending)) {
        change(&mut self.pending.lock());
        self.wake.notify_one();
    }
}

impl Commands {
    /// Opens the stream of a session; an older one of the same session ends.
    pub fn attach(
        &self,
        session: SessionId,
        journal: Arc<dyn Journal>,
        hint_interval: Duration,
        shutdown: CancellationToken,
    ) -> CommandStream {
        let line = Arc::new(Line::default());
        line.tell(|pending| {
            pending.read_inboxes = true;
            // What became claimable before the engine listened.
            pending.hint = true;
        });
        if let Some(older) = self.lines.lock().insert(session, Arc::clone(&line)) {
            older.tell(|pending| pending.replaced = true);
        }
        CommandStream {
            session,
            line,
            lines: Arc::clone(&self.lines),
            journal,
            hint_interval,
            shutdown,
            last_hint: None,
            stage: Stage::Opening,
        }
    }

    /// Hands a signal to the owner's stream, if this process holds it.
    pub fn deliver(&self, session: SessionId, run: RunId, signal: Signal) {
        self.tell(session, |pending| {
            if pending.signals.len() < QUEUED_SIGNALS {
                pending.signals.push_back((run, signal));
            } else {
                pending.signals.clear();
                pending.read_inboxes = true;
            }
        });
    }

    /// Says that signals wait for runs of a session, if this process holds its stream.
    pub fn read_inboxes(&self, session: SessionId) {
        self.tell(session, |pending| pending.read_inboxes = true);
    }

    /// Makes every stream look for what it may have missed.
    pub fn read_all(&self) {
        self.tell_all(|pending| {
            pending.read_inboxes = true;
            pending.hint = true;
        });
    }

    /// Tells every engine that something may be claimable.
    pub fn hint(&self) {
        self.tell_all(|pending| pending.hint = true);
    }

    /// Tells an engine that its session is over.
    pub fn lost(&self, session: SessionId) {
        self.tell(session, |pending| pending.lost = true);
    }

    fn tell(&self, session: SessionId, change: impl FnOnce(&mut Pending)) {
        let line = self.lines.lock().get(&session).cloned();
        if let Some(line) = line {
            line.tell(change);
        }
    }

    fn tell_all(&self, change: impl Fn(&mut Pending)) {
        let lines: Vec<_> = self.lines.lock().values().cloned().collect();
        for line in lines {
            line.tell(&change);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Opening,
    Open,
    Ended,
}

/// The stream of one engine.
pub struct CommandStream {
    session: SessionId,
    line: Arc<Line>,
    lines: Arc<Mutex<HashMap<SessionId, Arc<Line>>>>,
    journal: Arc<dyn Journal>,
    hint_interval: Duration,
    shutdown: CancellationToken,
    last_hint: Option<Instant>,
    stage: Stage,
}

enum Step {
    Send(Command),
    ReadInboxes,
    End,
    Wait(Option<Instant>),
}

impl CommandStream {
    /// The next command; none at the end.
    pub async fn next(&mut self) -> Option<Result<Command, JournalError>> {
        match self.stage {
            Stage::Opening => {
                self.stage = Stage::Open;
                return Some(Ok(Command::Attached));
            }
            Stage::Ended => return None,
            Stage::Open => {}
        }
        loop {
            match self.step() {
                Step::Send(command) => return Some(Ok(command)),
                Step::End => {
                    self.stage = Stage::Ended;
                    return None;
                }
                Step::ReadInboxes => match self.journal.pending_signals(self.session).await {
                    Ok(signals) => self.take_inboxes(signals),
                    Err(error) => {
                        self.stage = Stage::Ended;
                        return Some(Err(error));
                    }
                },
                Step::Wait(until) => {
                    tokio::select! {
                        () = self.line.wake.notified() => {}
                        () = sleep_until(until) => {}
                        () = self.shutdown.cancelled() => self.line.tell(|pending| pending.replaced = true),
                    }
                }
            }
        }
    }

    fn step(&mut self) -> Step {
        let mut pending = self.line.pending.lock();
        if pending.replaced {
            return Step::End;
        }
        if pending.lost {
            self.stage = Stage::Ended;
            return Step::Send(Command::SessionLost);
        }
        if let Some((run, signal)) = pending.signals.pop_front() {
            return Step::Send(Command::Signal(run, signal));
        }
        if pending.read_inboxes {
            pending.read_inboxes = false;
            return Step::ReadInboxes;
        }
        if !pending.hint {
            return Step::Wait(None);
        }
        let now = Instant::now();
        match self.last_hint.map(|last| last + self.hint_interval).filter(|next| *next > now) {
            Some(next) => Step::Wait(Some(next)),
            None => {
                pending.hint = false;
                self.last_hint = Some(now);
                Step::Send(Command::ClaimHint)
            }
        }
    }

    /// The inboxes hold all that waits, in a queue that is as long as they are: bounded by the journal.
    fn take_inboxes(&self, signals: Option<Vec<(RunId, Signal)>>) {
        let mut pending = self.line.pending.lock();
        match signals {
            // Whatever came meanwhile may be in both; engines know signals by their id.
            Some(signals) => pending.signals.extend(signals),
            None => pending.lost = true,
        }
    }
}

impl Drop for CommandStream {
    fn drop(&mut self) {
        let mut lines = self.lines.lock();
        if lines.get(&self.session).is_some_and(|line| Arc::ptr_eq(line, &self.line)) {
            lines.remove(&self.session);
        }
    }
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
