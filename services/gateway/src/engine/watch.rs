//! Following a run: the records of its journal in order, exactly once, and between them what its owner tells
//! while it happens. The watcher gives transient events their cursor, so that a cursor never promises a record
//! that it did not deliver.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use prost::Message as _;
use sre_engine::ActivationKey;
use sre_identity::Caller;
use sre_proto::gateway::v1::run_event::Event;
use sre_proto::gateway::v1::{
    ActivationRestarted, ComponentFinished, EventCursor, RunEnded, RunEvent, RunOpened,
};
use sre_proto::memory::v1::{JournalRecord, RecordKind, RunRecord, TailResponse};
use tokio::sync::{broadcast, mpsc};
use tonic::Status;

use super::answers::ValueView;
use super::core::{Engine, internal, timestamp};
use super::ended::{self, is_ended};
use super::events::Transient;
use super::journal::records::{Finished, Opened, Spec, TakenOver};
use super::journal::values::StoredValue;
use super::redact::Redactor;
use super::runs;

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
        run_id: run.run_id,
        sender,
        transient: None,
    };
    engine.host.spawn("watch", Box::pin(watcher.run()));
    tokio_stream::wrappers::ReceiverStream::new(events).boxed()
}

struct Watcher {
    engine: Engine,
    caller: Caller,
    run_id: String,
    /// The last record that was delivered, and how many transient events after it.
    sequence: i64,
    sub: i32,
    redactor: Redactor,
    sender: mpsc::Sender<Result<RunEvent, Status>>,
    transient: Option<broadcast::Receiver<Transient>>,
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
            self.listen();
            let stopped = match self.engine.journal.tail(&self.run_id, self.sequence).await {
                Ok(pages) => self.relay(pages).await,
                Err(status) => Err(Stop::Failed(status)),
            };
            match stopped {
                Err(Stop::Failed(status)) if worth_repeating(&status) => tokio::time::sleep(RETRY).await,
                Err(stop) => return stop,
                Ok(()) => {}
            }
        }
    }

    /// Hears the owner where that is this engine.
    fn listen(&mut self) {
        if self.transient.is_none() {
            self.transient = self.engine.live.get(&self.run_id).map(|run| run.events.subscribe());
        }
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
                // A run begins with its first record, whatever its owner tells meanwhile.
                heard = hear(&mut self.transient), if self.sequence > 0 => match heard {
                    Some(transient) => self.tell(transient).await?,
                    None => self.transient = None,
                },
                page = pages.next() => {
                    let Some(page) = page else { return Ok(()) };
                    let page = page?;
                    let state = page.state();
                    for record in page.records {
                        self.deliver(record).await?;
                    }
                    if is_ended(state) {
                        return Err(self.end().await);
                    }
                    self.listen();
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
        self.send(RunEvent {
            cursor: Some(cursor),
            time: Some(timestamp(transient.time)),
            event: Some(transient.event),
        })
        .await
    }

    async fn deliver(&mut self, record: JournalRecord) -> Result<(), Stop> {
        if record.sequence <= self.sequence {
            return Ok(());
        }
        let record = self.engine.journal.whole(&self.run_id, record).await?;
        (self.sequence, self.sub) = (record.sequence, 0);
        let cursor = EventCursor { sequence: record.sequence, sub: 0 };
        let event = event_of(&record, &self.redactor)?;
        if let Some(event) = event {
            self.send(RunEvent { cursor: Some(cursor), time: record.time, event: Some(event) }).await?;
        }
        Ok(())
    }

    async fn send(&self, event: RunEvent) -> Result<(), Stop> {
        self.sender.send(Ok(event)).await.map_err(|_| Stop::Done)
    }
}

/// The next transient event; none where the owner is gone. Never ready without one to hear.
async fn hear(transient: &mut Option<broadcast::Receiver<Transient>>) -> Option<Transient> {
    let Some(receiver) = transient else { return std::future::pending().await };
    loop {
        match receiver.recv().await {
            Ok(transient) => return Some(transient),
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                tracing::debug!(missed, "a slow watcher missed transient events");
            }
            Err(broadcast::error::RecvError::Closed) => return None,
        }
    }
}

fn worth_repeating(status: &Status) -> bool {
    matches!(status.code(), tonic::Code::Unavailable | tonic::Code::DeadlineExceeded)
}

/// The event that a record stands for; none for those that only the engine reads.
fn event_of(record: &JournalRecord, redactor: &Redactor) -> Result<Option<Event>, Status> {
    let unreadable = |error: &dyn std::fmt::Display| internal("a record of a run cannot be read", error);
    Ok(match record.kind() {
        RecordKind::Opened => {
            let opened = Opened::decode(record.body.clone()).map_err(|error| unreadable(&error))?;
            Some(Event::RunOpened(RunOpened { skill: opened.skill, ..RunOpened::default() }))
        }
        RecordKind::Finished => {
            let finished = Finished::decode(record.body.clone()).map_err(|error| unreadable(&error))?;
            finished_event(record, finished, redactor).map_err(|error| unreadable(&error))?
        }
        RecordKind::TakenOver => {
            let taken = TakenOver::decode(record.body.clone()).map_err(|error| unreadable(&error))?;
            Some(Event::ActivationRestarted(ActivationRestarted {
                epoch: taken.epoch,
                components: taken.restarted,
            }))
        }
        _ => None,
    })
}

fn finished_event(
    record: &JournalRecord,
    finished: Finished,
    redactor: &Redactor,
) -> Result<Option<Event>, super::journal::values::ValueError> {
    if finished.resolved.is_some() {
        return Ok(None);
    }
    let output = finished.output.as_ref().map(StoredValue::value).transpose()?;
    let output = output.map(|output| redactor.presentable(&output));
    let key: Option<ActivationKey> = record.step.parse().ok();
    let error = output.as_ref().and_then(|output| {
        ["_error", "error"].iter().filter_map(|key| output.get(key)).find(|error| error.truthy()).cloned()
    });
    Ok(Some(Event::ComponentFinished(ComponentFinished {
        component: key.map_or_else(|| record.step.clone(), |key| Arc::clone(&key.component).to_string()),
        r#type: finished.component_type,
        activation: record.step.clone(),
        output_json: output.map(|output| output.to_json_text().into()).unwrap_or_default(),
        error: error.map(|error| error.to_text()).unwrap_or_default(),
        ..ComponentFinished::default()
    })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::journal::records::record;
    use sre_engine::{Outcome, Value};

    fn key() -> ActivationKey {
        "LOOP:2/A@7".parse().unwrap()
    }

    #[test]
    fn a_finished_component_is_an_event_without_its_secrets() {
        let mut redactor = Redactor::new("n");
        redactor.learn("api", "supersecret");
        let outcome = Outcome::error("cannot use supersecret");
        let finished = Finished::of(&outcome, "APICall", &redactor).unwrap();
        let record = record(RecordKind::Finished, Some(&key()), &finished);
        let event = event_of(&record, &Redactor::new("n")).unwrap();
        let Some(Event::ComponentFinished(event)) = event else { panic!("{event:?}") };
        assert_eq!((event.component.as_str(), event.activation.as_str()), ("A", "LOOP:2/A@7"));
        assert_eq!(event.error, "cannot use {{KEY(api)}}");
        assert!(!String::from_utf8_lossy(&event.output_json).contains("supersecret"));
    }

    #[test]
    fn records_that_only_the_engine_reads_are_no_events() {
        let redactor = Redactor::new("n");
        let resolved = Finished::resolved(&[Ok(Value::from(1))], &redactor).unwrap();
        for record in [
            record(RecordKind::Finished, Some(&key()), &resolved),
            record(RecordKind::Intent, Some(&key()), &()),
            record(RecordKind::Closed, None, &()),
        ] {
            assert!(event_of(&record, &redactor).unwrap().is_none());
        }
    }
}
