//! Following a run: the records of its journal in order, exactly once, and between them what its owner tells
//! while it happens. The watcher gives transient events their cursor, so that a cursor never promises a record
//! that it did not deliver.
//!
//! What an owner tells waits for the first record of that owner's epoch: after a takeover a watcher hears that
//! activations start again before it hears any of their tokens a second time. What was told before a record was written
//! is told before it, also where many records come at once, and all of it before the end.

mod labels;
mod told;

use std::time::{Duration, SystemTime};

use futures::StreamExt as _;
use futures::TryStreamExt as _;
use futures::stream::BoxStream;
use prost::Message as _;
use sre_identity::Caller;
use sre_proto::gateway::v1::run_event::Event;
use sre_proto::gateway::v1::{EventCursor, RunEnded, RunEvent};
use sre_proto::memory::v1::{JournalRecord, RunRecord, TailResponse};
use tokio::sync::mpsc;
use tonic::Status;

use super::answers::ValueView;
use super::core::{Engine, internal, timestamp};
use super::ended::{self, is_ended};
use super::events::Transient;
use super::journal::records::Spec;
use super::journal::run::FIRST_EPOCH;
use super::live::Hearing;
use super::names::AgentName;
use super::redact::Redactor;
use super::runs;
use labels::Labels;

pub use told::{mask, presentable};

/// Events that wait for a slow client.
const AHEAD: usize = 64;
const RETRY: Duration = Duration::from_millis(200);

/// A stream of events.
pub type Events = BoxStream<'static, Result<RunEvent, Status>>;

/// Follows a run from a cursor on.
pub fn follow(engine: &Engine, caller: Caller, run: RunRecord, after: Option<EventCursor>) -> Events {
    let (sender, events) = mpsc::channel(AHEAD);
    let watcher = Watcher {
        engine: engine.clone(),
        caller,
        sequence: after.map_or(0, |cursor| cursor.sequence.max(0)),
        sub: after.map_or(0, |cursor| cursor.sub.max(0)),
        redactor: Spec::decode(run.spec.clone())
            .map(|spec| Redactor::new(spec.marker))
            .unwrap_or_else(|_| Redactor::new("")),
        agent: runs::of_record(&run),
        epoch: 0,
        labels: None,
        sender,
        hearing: Some(engine.live.hear(&run.run_id)),
        run_id: run.run_id,
        owner: None,
    };
    engine.host.spawn("watch", Box::pin(watcher.run()));
    tokio_stream::wrappers::ReceiverStream::new(events).boxed()
}

struct Watcher {
    engine: Engine,
    caller: Caller,
    agent: AgentName,
    run_id: String,
    /// The last record that was delivered, and how many transient events after it.
    sequence: i64,
    sub: i32,
    /// The epoch of that record.
    epoch: i64,
    redactor: Redactor,
    /// What the components are called; read with the first event that names one.
    labels: Option<Labels>,
    sender: mpsc::Sender<Result<RunEvent, Status>>,
    /// What its owner tells, from before it is known to be this engine.
    hearing: Option<Hearing>,
    owner: Option<Owner>,
}

/// The run's owner, where that is this engine.
struct Owner {
    epoch: i64,
    hearing: Hearing,
    /// Heard, and not told yet.
    next: Option<Transient>,
}

/// Why a watcher stops.
enum Stop {
    /// The last event is delivered, or nobody listens.
    Done,
    /// It may not go on, or cannot.
    Failed(Status),
}

impl From<Status> for Stop {
    fn from(status: Status) -> Self {
        Self::Failed(status)
    }
}

impl Watcher {
    async fn run(mut self) {
        let draining = self.engine.host.draining();
        let sender = self.sender.clone();
        let stop = tokio::select! {
            () = sender.closed() => Stop::Done,
            () = draining.cancelled() => Stop::Failed(super::journal::queue::stopping()),
            stop = self.follow() => stop,
        };
        if let Stop::Failed(status) = stop {
            // Nobody listens any more: nothing to say.
            let _ = sender.send(Err(status)).await;
        }
    }

    async fn follow(&mut self) -> Stop {
        loop {
            let stopped = self.attempt().await;
            match stopped {
                Err(Stop::Failed(status)) if worth_repeating(&status) => tokio::time::sleep(RETRY).await,
                Err(stop) => return stop,
                Ok(()) => {}
            }
        }
    }

    async fn attempt(&mut self) -> Result<(), Stop> {
        if self.epoch == 0 && self.sequence > 0 {
            // A cursor of an earlier stream: whose record it stands at.
            let mut pages = self.engine.journal.pages(&self.run_id, self.sequence - 1).await?;
            let page = pages.try_next().await?;
            self.epoch = page.and_then(|page| Some(page.records.first()?.epoch)).unwrap_or_default();
        }
        self.listen().await?;
        let pages = self.engine.journal.tail(&self.run_id, self.sequence).await?;
        self.relay(pages).await
    }

    /// Hears the owner where that is this engine.
    async fn listen(&mut self) -> Result<(), Stop> {
        if self.owner.is_some() {
            return Ok(());
        }
        let live = &self.engine.live;
        let early = self.hearing.get_or_insert_with(|| live.hear(&self.run_id));
        let is_here = live.get(&self.run_id).is_some();
        if !is_here && !early.has_any() {
            return Ok(());
        }
        let from_now_on = live.hear(&self.run_id);
        // Asked after that: no earlier owner can have told what is heard from now on.
        let epoch = self.engine.journal.run(&self.run_id).await?.epoch;
        // What was heard before is the owner's too where there was no other; else nobody knows whose it is.
        let early = self.hearing.take().filter(|_| epoch <= FIRST_EPOCH);
        match early {
            Some(hearing) => self.owner = Some(Owner { epoch, hearing, next: None }),
            None if is_here => self.owner = Some(Owner { epoch, hearing: from_now_on, next: None }),
            None => self.hearing = Some(from_now_on),
        }
        Ok(())
    }

    /// Tells what the owner told before a moment, or all that it told.
    async fn tell_until(&mut self, moment: Option<SystemTime>) -> Result<(), Stop> {
        while self.may_hear() {
            let Some(owner) = &mut self.owner else { break };
            let Some(next) = owner.next.take().or_else(|| owner.hearing.left()) else { break };
            if moment.is_some_and(|moment| next.time >= moment) {
                owner.next = Some(next);
                break;
            }
            self.tell(next).await?;
        }
        Ok(())
    }

    /// Whether what the owner tells may be told now: a record of its epoch, or of the run at all, came before.
    fn may_hear(&self) -> bool {
        self.sequence > 0 && self.owner.as_ref().is_some_and(|owner| owner.epoch <= self.epoch)
    }

    async fn relay(
        &mut self,
        mut pages: BoxStream<'static, Result<TailResponse, Status>>,
    ) -> Result<(), Stop> {
        let mut check = tokio::time::interval(self.engine.host.config().deadlines.revalidate());
        check.tick().await;
        loop {
            tokio::select! {
                biased;
                _ = check.tick() => self.engine.host.authorizer().revalidate(&self.caller).await?,
                heard = hear(&mut self.owner), if self.may_hear() => match heard {
                    Some(transient) => self.tell(transient).await?,
                    None => self.owner = None,
                },
                page = pages.next() => {
                    let Some(page) = page else { return Ok(()) };
                    let page = page?;
                    let state = page.state();
                    self.listen().await?;
                    for record in page.records {
                        // The store's times are whole milliseconds.
                        let time = record.time.and_then(|time| SystemTime::try_from(time).ok());
                        if let Some(time) = time {
                            self.tell_until(Some(time + Duration::from_millis(1))).await?;
                        }
                        self.deliver(record).await?;
                    }
                    if is_ended(state) {
                        self.tell_until(None).await?;
                        return Err(self.end().await);
                    }
                    // A record of the page may have told of another owner.
                    self.listen().await?;
                }
            }
        }
    }

    /// The last event, from the run's row: it holds the answer, and is there for every run that ended.
    async fn end(&mut self) -> Stop {
        match self.ended().await {
            Ok(event) => {
                let _ = self.sender.send(Ok(event)).await;
                Stop::Done
            }
            Err(status) => Stop::Failed(status),
        }
    }

    async fn ended(&mut self) -> Result<RunEvent, Status> {
        let run = self.engine.journal.run(&self.run_id).await?;
        let closed = match run.outcome.is_empty() {
            true => None,
            false => Some(ended::presentable_answer(&run)?),
        };
        let sequence = self.sequence.max(run.next_sequence - 1);
        Ok(RunEvent {
            cursor: Some(EventCursor { sequence, sub: 0 }),
            time: run.end_time,
            event: Some(Event::RunEnded(RunEnded {
                state: runs::state(run.state()).into(),
                legacy_json: closed.as_ref().map(|closed| closed.legacy.clone()).unwrap_or_default(),
                result: closed.as_ref().map(|closed| closed.result(ValueView::None)),
            })),
        })
    }

    async fn tell(&mut self, transient: Transient) -> Result<(), Stop> {
        self.sub += 1;
        let cursor = EventCursor { sequence: self.sequence, sub: self.sub };
        let mut event = transient.event;
        if told::names_a_component(&event) {
            self.labels().await.label(&mut event);
        }
        told::mask_event(&mut event);
        self.send(RunEvent {
            cursor: Some(cursor),
            time: Some(timestamp(transient.time)),
            event: Some(event),
        })
        .await
    }

    async fn labels(&mut self) -> &Labels {
        if self.labels.is_none() {
            self.labels = Some(Labels::of_run(&self.engine, &self.run_id).await);
        }
        self.labels.get_or_insert_default()
    }

    async fn deliver(&mut self, record: JournalRecord) -> Result<(), Stop> {
        if record.sequence <= self.sequence {
            return Ok(());
        }
        let record = self.engine.journal.whole(&self.run_id, record).await?;
        (self.sequence, self.sub) = (record.sequence, 0);
        self.epoch = self.epoch.max(record.epoch);
        if self.owner.as_ref().is_some_and(|owner| owner.epoch < self.epoch) {
            // Somebody took the run over: what the earlier owner still tells counts no more.
            self.owner = None;
        }
        let cursor = EventCursor { sequence: record.sequence, sub: 0 };
        let run = self.agent.run(&self.run_id);
        let event = told::event_of(&record, &self.redactor, &run);
        let event = event.map_err(|error| internal("a record of a run cannot be read", &error))?;
        if let Some(mut event) = event {
            if told::names_a_component(&event) {
                self.labels().await.label(&mut event);
            }
            self.send(RunEvent { cursor: Some(cursor), time: record.time, event: Some(event) }).await?;
        }
        Ok(())
    }

    async fn send(&self, event: RunEvent) -> Result<(), Stop> {
        self.sender.send(Ok(event)).await.map_err(|_| Stop::Done)
    }
}

/// The next transient event; none where the owner is gone. Never ready without one to hear.
async fn hear(owner: &mut Option<Owner>) -> Option<Transient> {
    let Some(owner) = owner else { return std::future::pending().await };
    match owner.next.take() {
        Some(next) => Some(next),
        None => owner.hearing.until_it_leaves().await,
    }
}

fn worth_repeating(status: &Status) -> bool {
    matches!(status.code(), tonic::Code::Unavailable | tonic::Code::DeadlineExceeded)
}
