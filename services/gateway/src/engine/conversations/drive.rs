//! The loop of one turn: it does what the machine says next and keeps the journal ahead of everything that counts
//! outside. The model is called when its request is durable; tools are runs of their own, and what they answered is
//! durable before the next call. A turn that only waits leaves memory.

mod ending;
mod tool_calls;

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use sre_proto::error::Reason;
use sre_proto::gateway::v1::turn_event::Event;
use sre_proto::gateway::v1::{ConcurrencyPolicy, TurnQueued};
use sre_proto::memory::v1::{JournalRecord, RecordKind, RunRecord, RunState, StoredMessage};
use tokio::time::Instant;
use tonic::{Code, Status};

use super::attachments::Attachments;
use super::child;
use super::history::{Asked, FileOf, Kept};
use super::machine::{Next, Turn};
use super::model::Asking;
use super::scope::TurnScope;
use super::steps::{Entry, Step};
use crate::engine::admission::Slot;
use crate::engine::answers::{Closed, Ending};
use crate::engine::core::Engine;
use crate::engine::drive::{Done, Stopped};
use crate::engine::ended;
use crate::engine::fold::Unstartable;
use crate::engine::journal::queue::worth_repeating;
use crate::engine::journal::records::{RecordError, TakenOver, record};
use crate::engine::journal::run::{Parked, Parking, RunJournal};
use crate::engine::live::{CANCEL, LiveRun};
use crate::engine::runs;
use crate::engine::usage;

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Bytes of the newest messages that a turn reads: as much as the largest windows hold.
const HISTORY_BYTES: i64 = 4 << 20;

/// A turn that this engine owns, with its journal read.
pub struct Began<'a> {
    /// Its row.
    pub run: &'a RunRecord,
    /// Its records.
    pub records: &'a [JournalRecord],
    /// Its signals and transient events.
    pub live: &'a LiveRun,
    /// Its slot.
    pub slot: &'a Slot,
}

/// Works on a turn until it ended, waits, or is somebody else's.
pub async fn work(engine: &Engine, began: Began<'_>, mut journal: RunJournal) -> Result<Done, Stopped> {
    let scope = match opened(engine, &began, &journal).await {
        Ok(scope) => Arc::new(scope),
        Err(Unstartable::Never(reason, message)) => {
            tracing::warn!(run = began.run.run_id, message, "a turn cannot be gone on with");
            return close(&mut journal, began.run, began.live, Ending::Broken(reason, message).closed(None))
                .await;
        }
        Err(Unstartable::Later(status)) => {
            tracing::info!(run = began.run.run_id, %status, "a turn could not be gone on with in time");
            let ending = Ending::Broken(Reason::RoleUnavailable, status.message().to_owned());
            return close(&mut journal, began.run, began.live, ending.closed(None)).await;
        }
    };
    let mut turn = Turn::new(began.run.run_id.clone(), scope.led.limits.clone());
    let mut was_owned = false;
    // Of a turn without a conversation: its messages are in its steps.
    let mut own_log: Option<Vec<Kept>> = scope.asked.sub.is_some().then(Vec::new);
    for record in began.records.iter().filter(|record| record.kind() == RecordKind::TurnStep) {
        was_owned |= record.epoch > 0;
        match Step::decode(record.body.clone()) {
            Ok(step) => {
                turn.apply(&step);
                if let Some(log) = &mut own_log {
                    keep(log, turn.from, &step.messages);
                }
            }
            Err(error) => {
                let ending = Ending::Broken(Reason::Internal, RecordError::from(error).to_string());
                return close(&mut journal, began.run, began.live, ending.closed(None)).await;
            }
        }
    }
    if was_owned && turn.interrupted() {
        // Written together with the first progress, as for every run.
        let restarted = TakenOver { epoch: began.run.epoch, restarted: vec!["model".to_owned()] };
        journal.push(record(RecordKind::TakenOver, None, &restarted));
    }
    let drive = Drive {
        scope: scope.clone(),
        turn,
        journal,
        log: own_log,
        asking: None,
        attachments: Attachments::default(),
        told_queued: false,
        compacted: false,
        paused: false,
    };
    let span = drive.scope.span.as_ref().map(|turn| turn.span().clone());
    let run = Box::pin(drive.run(began.run));
    let done = match span {
        Some(span) => span.around(run).await,
        None => run.await,
    };
    if let Some(own) = &scope.own_tools {
        own.close().await;
    }
    done
}

/// Adds messages behind those that are there.
fn keep(log: &mut Vec<Kept>, from: i64, messages: &[StoredMessage]) {
    for message in messages {
        let sequence = log.last().map_or(from, |last| last.sequence + 1);
        log.extend(Kept::read(message).map(|kept| Kept { sequence, ..kept }));
    }
}

/// The scope, tried again as long as some service is away.
async fn opened(engine: &Engine, began: &Began<'_>, journal: &RunJournal) -> Result<TurnScope, Unstartable> {
    let until = Instant::now() + crate::engine::fold::time_left(engine, began.run);
    let (gone, cancelled) = (journal.lease().lost().clone(), began.live.cancel.token().clone());
    let mut wait = FIRST_WAIT;
    loop {
        let status = match TurnScope::open(engine, began.run, began.records, began.live, began.slot).await {
            Err(Unstartable::Later(status)) => status,
            other => return other,
        };
        tracing::debug!(run = began.run.run_id, %status, "a turn waits for a service that is away");
        if Instant::now() >= until || gone.is_cancelled() || cancelled.is_cancelled() {
            return Err(Unstartable::Later(status));
        }
        began.slot.lend(tokio::time::sleep(wait)).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

async fn close(
    journal: &mut RunJournal,
    row: &RunRecord,
    live: &LiveRun,
    closed: Closed,
) -> Result<Done, Stopped> {
    close_as(journal, row, live, RunState::Failed, closed).await
}

async fn close_as(
    journal: &mut RunJournal,
    row: &RunRecord,
    live: &LiveRun,
    state: RunState,
    closed: Closed,
) -> Result<Done, Stopped> {
    for signal in live.inbox.take() {
        journal.consume(signal.signal_id);
    }
    journal.use_up(usage::ended(row, state));
    journal.push(record(RecordKind::Closed, None, &()));
    journal.close(state, closed.encode_to_vec().into()).await?;
    Ok(Done::Closed(state, Arc::new(closed)))
}

/// A turn under way.
pub(super) struct Drive {
    pub(super) scope: Arc<TurnScope>,
    pub(super) turn: Turn,
    pub(super) journal: RunJournal,
    /// The newest messages of the conversation, the turn's own among them; none until they are needed.
    pub(super) log: Option<Vec<Kept>>,
    pub(super) asking: Option<Asking>,
    pub(super) attachments: Attachments,
    told_queued: bool,
    pub(super) compacted: bool,
    paused: bool,
}

/// What a wait came to.
pub(super) enum Waited<T> {
    /// What it waited for.
    Ready(T),
    /// It was cancelled, its time is over, or a signal came: the loop sees it.
    Look,
}

impl Drive {
    async fn run(mut self, row: &RunRecord) -> Result<Done, Stopped> {
        loop {
            if self.journal.lease().lost().is_cancelled() {
                return Err(Stopped::SessionOver);
            }
            self.heed();
            let next = self.turn.next();
            if !matches!(next, Next::Over(_)) {
                if self.scope.live.cancel.token().is_cancelled() {
                    let reason = self.scope.live.cancel.reason();
                    self.leave(&reason).await;
                    let entries = self.turn.abort(&reason);
                    self.commit(entries);
                    continue;
                }
                if Instant::now() >= self.scope.deadline {
                    self.leave("the time of the prompt is over").await;
                    self.fail(Reason::DeadlineExceeded, "the prompt took longer than it may");
                    continue;
                }
                if self.paused {
                    if self.park(Parking { paused: true, ..Parking::default() }).await? {
                        return Ok(Done::Parked);
                    }
                    continue;
                }
            }
            match next {
                Next::Enter => {
                    if self.enter().await? {
                        return Ok(Done::Parked);
                    }
                }
                Next::Ask { tools, .. } => Box::pin(self.ask(tools)).await?,
                Next::Plan => {
                    let entries = self.turn.plan(&self.scope.tools);
                    self.commit(entries);
                }
                Next::RunTools(open) => {
                    if Box::pin(self.run_tools(open)).await? {
                        return Ok(Done::Parked);
                    }
                }
                Next::CloseRound => {
                    let entries = self.turn.close_round();
                    self.commit(entries);
                }
                Next::Finish => {
                    let entries = self.turn.finish();
                    self.commit(entries);
                }
                Next::Over(end) => {
                    let (state, closed) = self.closed(end);
                    let live = self.scope.live.clone();
                    return close_as(&mut self.journal, row, &live, state, closed).await;
                }
            }
        }
    }

    /// Acts upon signals, all of which are consumed with what is written next.
    fn heed(&mut self) {
        for signal in self.scope.live.inbox.take() {
            match signal.kind.as_str() {
                "pause" => self.paused = true,
                "resume" => self.paused = false,
                // They have woken the turn.
                _ => {}
            }
            self.journal.consume(signal.signal_id);
        }
    }

    pub(super) fn commit(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            self.turn.apply(&entry.step);
            if let Some(log) = &mut self.log {
                keep(log, self.turn.from, &entry.messages);
            }
            self.journal.push(entry.record(&self.scope.asked.conversation));
        }
    }

    fn fail(&mut self, reason: Reason, message: &str) {
        let entries = self.turn.fail(sre_proto::error::name(reason), message);
        self.commit(entries);
    }

    pub(super) fn fail_by(&mut self, status: &Status) {
        let reason = sre_proto::error::reason(status).unwrap_or(match status.code() {
            Code::DeadlineExceeded => Reason::DeadlineExceeded,
            Code::Unavailable => Reason::RoleUnavailable,
            _ => Reason::Internal,
        });
        self.fail(reason, status.message());
    }

    /// Cancels the tools that are under way.
    async fn leave(&self, reason: &str) {
        let open = self.turn.calls().iter().filter(|call| !call.done && !call.run.is_empty());
        let open: Vec<String> =
            open.map(|call| call.run.rsplit('/').next().unwrap_or_default().to_owned()).collect();
        child::cancel(&self.scope, &open, reason).await;
    }

    /// Waits for something, unless the turn has to look up first.
    pub(super) async fn wait<T>(&self, what: impl Future<Output = T>) -> Result<Waited<T>, Stopped> {
        tokio::select! {
            biased;
            () = self.scope.live.cancel.token().cancelled() => Ok(Waited::Look),
            () = self.journal.lease().lost().cancelled() => Err(Stopped::SessionOver),
            done = what => Ok(Waited::Ready(done)),
            () = tokio::time::sleep_until(self.scope.deadline) => Ok(Waited::Look),
        }
    }

    /// Enters the conversation. True where the turn left memory to wait for those before it.
    async fn enter(&mut self) -> Result<bool, Stopped> {
        let scope = self.scope.clone();
        if scope.asked.sub.is_some() {
            // Nobody else talks there.
            self.begin(0, None);
            return Ok(false);
        }
        let store = &scope.engine.conversations.store;
        let conversation = &scope.asked.conversation;
        let entered = match store.enter(conversation, &scope.id).await {
            Ok(entered) => entered,
            Err(status) if worth_repeating(&status) => {
                self.wait(scope.slot.lend(tokio::time::sleep(FIRST_WAIT))).await?;
                return Ok(false);
            }
            Err(status) => {
                self.fail_by(&status);
                return Ok(false);
            }
        };
        if !entered.holds {
            return self.queue(entered.before).await;
        }
        let Some(log) = self.read_log().await? else { return Ok(false) };
        let plan = log.iter().rev().find_map(|kept| kept.item.plan()).cloned();
        self.log = Some(log);
        self.begin(entered.version, plan.as_ref());
        Ok(false)
    }

    /// What is asked becomes part of the conversation, which has so many messages.
    fn begin(&mut self, version: i64, plan: Option<&serde_json::Value>) {
        let asked = &self.scope.asked;
        let file = |file: &crate::engine::journal::records::TurnFile| FileOf {
            name: file.name.clone(),
            mimetype: file.mimetype.clone(),
            url: file.url.clone(),
        };
        let message = Asked {
            text: asked.text.clone(),
            files: asked.files.iter().map(file).collect(),
            internal: false,
        };
        let entries = self.turn.begin(version, &asked.message_id, message, plan);
        self.commit(entries);
    }

    async fn queue(&mut self, before: String) -> Result<bool, Stopped> {
        let scope = self.scope.clone();
        match scope.led.concurrency {
            ConcurrencyPolicy::Reject => {
                self.fail(Reason::RunBusy, "another prompt of the conversation goes on: wait for its end");
                return Ok(false);
            }
            ConcurrencyPolicy::Interrupt => {
                let reason = "another prompt takes its place";
                if let Err(status) = runs::signal(&scope.engine, &before, CANCEL, CANCEL, reason).await {
                    tracing::debug!(run = scope.id, before, %status, "a turn in the way cannot be cancelled yet");
                }
            }
            ConcurrencyPolicy::Queue | ConcurrencyPolicy::Unspecified => {}
        }
        if !self.told_queued {
            self.told_queued = true;
            let before = scope.run_name(&before);
            self.commit(vec![Entry::event(Event::Queued(TurnQueued { before }))]);
            self.journal.flush().await?;
        }
        let patience = scope.engine.host.config().gateway.park_after();
        let ended = scope.slot.lend(ended::wait_through(&scope.engine, &before));
        match self.wait(tokio::time::timeout(patience, ended)).await? {
            Waited::Ready(Err(_)) => {
                self.park(Parking { wake_on_end: vec![before], ..Parking::default() }).await
            }
            Waited::Ready(Ok(_)) | Waited::Look => Ok(false),
        }
    }

    /// Leaves memory. False where something has happened already.
    async fn park(&mut self, parking: Parking) -> Result<bool, Stopped> {
        // Messages go with appends alone.
        self.journal.flush().await?;
        match self.journal.park(parking).await? {
            Parked::Left => Ok(true),
            Parked::Not(signals) => {
                signals.into_iter().for_each(|signal| self.scope.live.signal(signal));
                Ok(false)
            }
        }
    }

    /// The newest messages; none where the turn has to look up first.
    pub(super) async fn read_log(&mut self) -> Result<Option<Vec<Kept>>, Stopped> {
        let scope = self.scope.clone();
        // What this turn added is part of it: whoever took a turn over has written, and not read anything yet.
        self.journal.flush().await?;
        let store = &scope.engine.conversations.store;
        match self.wait(store.newest(&scope.asked.conversation, HISTORY_BYTES)).await? {
            Waited::Ready(Ok(messages)) => Ok(Some(messages.iter().filter_map(Kept::read).collect())),
            Waited::Ready(Err(status)) if worth_repeating(&status) => {
                self.wait(scope.slot.lend(tokio::time::sleep(FIRST_WAIT))).await?;
                Ok(None)
            }
            Waited::Ready(Err(status)) => {
                self.fail_by(&status);
                Ok(None)
            }
            Waited::Look => Ok(None),
        }
    }
}
