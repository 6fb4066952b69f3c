//! What processes that share the database tell each other.
//!
//! Each has one connection of its own for it and sends at most one notice in 20 ms, after its commits: a
//! `NOTIFY` inside a transaction would make all commits queue for one lock. Notices may be lost with the process
//! or the connection that would have told them; whoever waits looks for itself now and then.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sre_store::pg::Pg;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::runtime_context::changes::{Change, Observed};
use crate::runtime_context::ids::{RunId, SessionId};

/// Notices of one process come at most this often.
const PAUSE: Duration = Duration::from_millis(20);
/// A process that has nothing to tell says so this often.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);
/// One that was silent for this long is gone.
const GONE_AFTER: Duration = Duration::from_secs(16);
/// How often those who wait look for themselves where notices come,
const LOOK: Duration = Duration::from_secs(1);
/// and where they do not.
pub(super) const LOOK_ALONE: Duration = Duration::from_millis(250);
/// A notice holds less than 8000 bytes; a run takes 36.
const MOST_RUNS: usize = 180;
/// Sessions in one notice.
const MOST_SESSIONS: usize = 20;
/// Notices that wait to be heard.
const HEARD: usize = 256;

/// What this process tells others and hears from them. Clones share it.
#[derive(Clone)]
pub(super) struct Notices {
    inner: Arc<Inner>,
}

struct Inner {
    /// This process among those that listen.
    process: String,
    channel: String,
    pending: Mutex<Pending>,
    wake: Notify,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct Pending {
    runs: BTreeSet<RunId>,
    inboxes: BTreeSet<SessionId>,
    over: BTreeSet<SessionId>,
    claimable: bool,
    rescheduled: bool,
    /// More than a notice holds.
    missed: bool,
}

#[derive(Debug, Default)]
struct State {
    listening: bool,
    /// When another process was last heard.
    other_heard: Option<Instant>,
}

impl Notices {
    pub(super) fn new(process: uuid::Uuid, schema: Option<&str>) -> Self {
        let process = process.simple().to_string();
        // The last digits of a UUIDv7 are random.
        let process = process[process.len() - 12..].to_owned();
        let channel = format!("sre_journal_{}", schema.unwrap_or("public"));
        let inner = Inner {
            process,
            channel,
            pending: Mutex::default(),
            wake: Notify::new(),
            state: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// How often those who wait must look for themselves.
    pub(super) fn poll_interval(&self) -> Duration {
        if self.inner.state.lock().listening { LOOK } else { LOOK_ALONE }
    }

    fn others(&self) -> bool {
        self.inner.state.lock().other_heard.is_some_and(|heard| heard.elapsed() < GONE_AFTER)
    }

    /// Notes what to tell others, if there are any.
    pub(super) fn tell(&self, changes: &[Change]) {
        if changes.is_empty() || !self.others() {
            return;
        }
        let mut pending = self.inner.pending.lock();
        for change in changes {
            match change {
                Change::Run(run) => {
                    pending.runs.insert(*run);
                }
                Change::Signal { session, .. } | Change::Inbox(session) => {
                    pending.inboxes.insert(*session);
                }
                Change::SessionOver(session) => {
                    pending.over.insert(*session);
                }
                Change::Claimable => pending.claimable = true,
                Change::Rescheduled => pending.rescheduled = true,
                Change::Missed => pending.missed = true,
            }
        }
        if pending.runs.len() > MOST_RUNS || pending.inboxes.len() + pending.over.len() > MOST_SESSIONS {
            *pending = Pending { missed: true, claimable: true, ..Pending::default() };
        }
        drop(pending);
        self.inner.wake.notify_one();
    }

    /// Sends and hears until dropped.
    pub(super) async fn run(self, pg: Pg, observed: Observed) {
        let mut deaf = false;
        loop {
            match pg.listen(&self.inner.channel, HEARD).await {
                Ok((listener, heard)) => {
                    self.inner.state.lock().listening = true;
                    if deaf {
                        // What was said while nobody listened.
                        observed.tell([Change::Missed, Change::Claimable]);
                    }
                    self.exchange(&listener, heard, &observed).await;
                    self.inner.state.lock().listening = false;
                }
                Err(error) => tracing::warn!(%error, "the journal hears no other process, trying again"),
            }
            deaf = true;
            observed.tell([Change::Missed]);
            sleep(LOOK_ALONE).await;
        }
    }

    /// Until the connection ends.
    async fn exchange(
        &self,
        listener: &sre_store::pg::listen::Listener,
        mut heard: mpsc::Receiver<String>,
        observed: &Observed,
    ) {
        let mut next_send = Instant::now();
        let mut sign_of_life = Instant::now();
        let mut look = Instant::now() + LOOK;
        let mut waiting = false;
        loop {
            let send_at = if waiting { next_send.min(sign_of_life) } else { sign_of_life };
            tokio::select! {
                notice = heard.recv() => {
                    let Some(notice) = notice else { return };
                    if self.hear(&notice, observed) {
                        // A newcomer must hear of us before its first change.
                        sign_of_life = Instant::now();
                    }
                }
                () = self.inner.wake.notified() => waiting = true,
                () = sleep_until(send_at.max(next_send)) => {
                    waiting = false;
                    let notice = self.take();
                    next_send = Instant::now() + PAUSE;
                    sign_of_life = Instant::now() + SIGN_OF_LIFE;
                    let deadline = Instant::now() + SIGN_OF_LIFE;
                    let sent = timeout_at(deadline, listener.notify(&self.inner.channel, &notice)).await;
                    if !matches!(sent, Ok(Ok(()))) {
                        return;
                    }
                }
                () = sleep_until(look) => {
                    look = Instant::now() + LOOK;
                    if self.others() {
                        observed.tell([Change::Missed]);
                    }
                }
            }
        }
    }

    /// The notice to send: this process, and what changed.
    fn take(&self) -> String {
        let pending = std::mem::take(&mut *self.inner.pending.lock());
        let mut notice = self.inner.process.clone();
        // Writing into text never fails.
        for run in &pending.runs {
            let _ = write!(notice, " r{:02x}{}", run.partition, run.uuid.simple());
        }
        for (letter, sessions) in [('i', &pending.inboxes), ('o', &pending.over)] {
            for SessionId(session) in sessions {
                let _ = write!(notice, " {letter}{}", session.simple());
            }
        }
        for (told, letter) in [(pending.claimable, " c"), (pending.rescheduled, " d"), (pending.missed, " m")]
        {
            if told {
                notice.push_str(letter);
            }
        }
        notice
    }

    /// Passes on what another process said; true where it was not known before.
    fn hear(&self, notice: &str, observed: &Observed) -> bool {
        let mut words = notice.split(' ');
        let from = words.next().unwrap_or_default();
        if from == self.inner.process {
            return false;
        }
        let known = self.others();
        self.inner.state.lock().other_heard = Some(Instant::now());
        if from.is_empty() {
            observed.tell([Change::Missed, Change::Claimable]);
        }
        observed.tell(words.filter_map(change));
        !known
    }
}

/// A change from its word; one that a newer release says and this one does not know is left out.
fn change(word: &str) -> Option<Change> {
    let (letter, rest) = word.split_at_checked(1)?;
    let session = || rest.parse().ok().map(SessionId);
    match letter {
        "r" => {
            let (partition, uuid) = rest.split_at_checked(2)?;
            let partition = u8::from_str_radix(partition, 16).ok()?;
            Some(Change::Run(RunId { partition, uuid: uuid.parse().ok()? }))
        }
        "i" => session().map(Change::Inbox),
        "o" => session().map(Change::SessionOver),
        "c" => Some(Change::Claimable),
        "d" => Some(Change::Rescheduled),
        _ => Some(Change::Missed),
    }
}
