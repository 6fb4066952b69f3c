//! The loop of one run: it executes what is ready, takes in how it ended, and keeps the journal ahead of
//! everything that counts outside. An effect starts when its intent and all that led to it are durable; an
//! answer is given when the run's end is.

use std::collections::{HashSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use prost::Message as _;
use sre_components::Call;
use sre_engine::run::Settled;
use sre_engine::{Activation, ActivationKey, ActivationKind, Effect, Map, Node, Outcome, Run, Status, Value};
use sre_proto::error::Reason;
use sre_proto::gateway::v1::ComponentStarted;
use sre_proto::gateway::v1::run_event::Event;
use sre_proto::memory::v1::{JournalRecord, RecordKind};

use super::answers::{Closed, Ending};
use super::context::ActivationContext;
use super::journal::queue::AppendError;
use super::journal::records::{Finished, Intent, record};
use super::journal::run::{Flushed, RunJournal};
use super::journal::values::ValueError;
use super::redact::Redactor;
use super::scope::RunScope;
use super::session::Lease;

/// Activations of one run that are executed at a time.
const IN_FLIGHT: usize = 64;
/// Records that may wait to be written before the run waits for the journal.
const UNWRITTEN: usize = 1_000;

/// A run under way.
pub struct Drive {
    scope: Arc<RunScope>,
    run: Run,
    journal: Option<RunJournal>,
    /// Effects whose intent is durable from before a takeover.
    intended: HashSet<ActivationKey>,
}

/// Why work on a run ended without its end.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// The journal cannot be written, or belongs to another owner by now.
    #[error(transparent)]
    Journal(#[from] AppendError),
    /// The engine's session is over.
    #[error("the engine's session is over")]
    SessionOver,
}

/// Something that was executed.
struct Landed {
    key: ActivationKey,
    component_type: Arc<str>,
    /// When it left the engine.
    started: SystemTime,
    what: What,
}

enum What {
    Finished(Outcome),
    Resolved(Vec<Result<Value, String>>),
    /// It was not executed.
    Stopped(Stopped),
}

impl Drive {
    /// A run without a journal.
    pub fn light(scope: Arc<RunScope>, run: Run) -> Self {
        Self { scope, run, journal: None, intended: HashSet::new() }
    }

    /// A run with one.
    pub fn journalled(
        scope: Arc<RunScope>,
        run: Run,
        journal: RunJournal,
        intended: HashSet<ActivationKey>,
    ) -> Self {
        Self { scope, run, journal: Some(journal), intended }
    }

    /// Works until the run ends.
    pub async fn to_end(mut self) -> Result<Ending, Stopped> {
        self.work().await
    }

    /// Works until the run ends and its end is durable.
    pub async fn to_durable_end(mut self) -> Result<(Ending, Closed), Stopped> {
        let ending = self.work().await?;
        let live = ending.closed(None);
        if let Some(journal) = &mut self.journal {
            let redactor = self.scope.redactor();
            let stored = if redactor.is_empty() { live.clone() } else { ending.closed(Some(&redactor)) };
            for signal in self.scope.cancel.signals() {
                journal.consume(signal);
            }
            journal.push(record(RecordKind::Closed, None, &()));
            journal.close(ending.state(), stored.encode_to_vec().into()).await?;
        }
        Ok((ending, live))
    }

    async fn work(&mut self) -> Result<Ending, Stopped> {
        let scope = self.scope.clone();
        let deadline = tokio::time::sleep_until(scope.deadline);
        tokio::pin!(deadline);
        let lost = self.journal.as_ref().map(|journal| journal.lease().lost().clone()).unwrap_or_default();
        let mut waiting: VecDeque<Activation> = VecDeque::new();
        let mut flights: FuturesUnordered<BoxFuture<'static, Landed>> = FuturesUnordered::new();
        let mut writing: Option<Flushed> = None;
        loop {
            if scope.cancel.token().is_cancelled() {
                self.run.cancel(scope.cancel.reason());
                return Ok(Ending::Answered(self.run.answer()));
            }
            waiting.extend(self.run.ready());
            if let Err(error) = self.tell_settled() {
                return Ok(unwritable(&error));
            }
            self.start(&mut waiting, &mut flights, &mut writing).await?;
            if self.run.status() == Status::Finished {
                return Ok(Ending::Answered(self.run.answer()));
            }
            tokio::select! {
                biased;
                // The next round sees it.
                () = scope.cancel.token().cancelled() => {}
                () = lost.cancelled() => return Err(Stopped::SessionOver),
                Some(landed) = flights.next() => {
                    if let Err(error) = self.land(landed)? {
                        return Ok(unwritable(&error));
                    }
                }
                Some(written) = written(&mut writing) => {
                    written?;
                    writing = None;
                }
                () = &mut deadline => return Ok(Ending::TimedOut(scope.time)),
            }
            if writing.is_none()
                && let Some(journal) = &mut self.journal
                && journal.is_dirty()
            {
                writing = Some(journal.flush());
            }
        }
    }

    /// Starts what may start.
    async fn start(
        &mut self,
        waiting: &mut VecDeque<Activation>,
        flights: &mut FuturesUnordered<BoxFuture<'static, Landed>>,
        writing: &mut Option<Flushed>,
    ) -> Result<(), Stopped> {
        if let Some(journal) = &mut self.journal
            && journal.unwritten() > UNWRITTEN
        {
            journal.flush().await?;
            *writing = None;
        }
        let free = IN_FLIGHT.saturating_sub(flights.len()).min(waiting.len());
        let starting: Vec<Activation> = waiting.drain(..free).collect();
        let mut barrier = None;
        if let Some(journal) = &mut self.journal {
            let effects: Vec<&Activation> =
                starting.iter().filter(|activation| is_effect(activation)).collect();
            for activation in &effects {
                if !self.intended.contains(&activation.key) {
                    let idempotency_key = activation.key.idempotency_key(&self.scope.id);
                    journal.push(record(
                        RecordKind::Intent,
                        Some(&activation.key),
                        &Intent { idempotency_key },
                    ));
                }
            }
            if !effects.is_empty() {
                barrier = Some((journal.flush(), journal.lease().clone()));
            }
        }
        for activation in starting {
            let before = barrier.clone().filter(|_| is_effect(&activation));
            flights.push(execute(self.scope.clone(), activation, before).boxed());
        }
        Ok(())
    }

    /// Writes down, for watchers, what the engine settled by itself.
    fn tell_settled(&mut self) -> Result<(), ValueError> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        let settled = self.run.take_settled();
        if !settled.is_empty() {
            let redactor = self.scope.redactor();
            for settled in &settled {
                journal.push(settled_record(settled, &redactor)?);
            }
        }
        Ok(())
    }

    /// Takes in how something ended.
    fn land(&mut self, landed: Landed) -> Result<Result<(), ValueError>, Stopped> {
        let Landed { key, component_type, started, what } = landed;
        let redactor = self.journal.is_some().then(|| self.scope.redactor());
        let stored = match (&what, redactor) {
            (What::Finished(outcome), Some(redactor)) => {
                Some(Finished::of(outcome, &component_type, &redactor))
            }
            (What::Resolved(values), Some(redactor)) => Some(Finished::resolved(values, &redactor)),
            _ => None,
        };
        let reported = match what {
            What::Stopped(stopped) => return Err(stopped),
            What::Finished(outcome) => self.run.complete(&key, outcome),
            What::Resolved(values) => self.run.resolve(&key, values),
        };
        if let Err(error) = reported {
            // Its result no longer matters to the run.
            tracing::debug!(run = self.scope.id, %error, "a result came too late");
            return Ok(Ok(()));
        }
        if let (Some(stored), Some(journal)) = (stored, &mut self.journal) {
            match stored {
                Ok(finished) => {
                    let finished = Finished { started_ms: since_1970(started), ..finished };
                    journal.push(record(RecordKind::Finished, Some(&key), &finished));
                }
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(()))
    }
}

/// The record of something that the engine settled by itself.
pub fn settled_record(settled: &Settled, redactor: &Redactor) -> Result<JournalRecord, ValueError> {
    let finished = Finished::of(&settled.outcome, &settled.node.type_name, redactor)?;
    Ok(record(RecordKind::Finished, Some(&settled.key), &Finished { settled: true, ..finished }))
}

fn unwritable(error: &ValueError) -> Ending {
    Ending::Broken(Reason::Internal, format!("a component's output cannot be written: {error}"))
}

fn is_effect(activation: &Activation) -> bool {
    activation.effect == Effect::Effect && activation.kind == ActivationKind::Execute
}

/// Ready when the append on its way is; never while there is none.
async fn written(writing: &mut Option<Flushed>) -> Option<Result<(), AppendError>> {
    match writing {
        Some(flushed) => Some(flushed.await),
        None => std::future::pending().await,
    }
}

fn since_1970(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map(super::launch::milliseconds).unwrap_or_default()
}

/// What a component runs with, for watchers: its declared inputs, not the variables under them.
fn shown_input(scope: &RunScope, node: &Node, input: &Map) -> bytes::Bytes {
    let declared = node.inputs.iter().filter_map(|port| {
        let value = input.get(&port.name)?;
        Some((port.name.clone(), value.clone()))
    });
    let redactor = scope.redactor();
    redactor.presentable(&redactor.redact(&Value::object(declared.collect()))).to_json_text().into()
}

async fn execute(scope: Arc<RunScope>, activation: Activation, before: Option<(Flushed, Lease)>) -> Landed {
    let Activation { key, node, input, kind, .. } = activation;
    let component_type = node.type_name.clone();
    let mut started = SystemTime::now();
    let landed =
        |started, what| Landed { key: key.clone(), component_type: component_type.clone(), started, what };
    if let Some((written, lease)) = before {
        if let Err(error) = written.await {
            return landed(started, What::Stopped(error.into()));
        }
        if lease.held().await.is_err() {
            return landed(started, What::Stopped(Stopped::SessionOver));
        }
        started = SystemTime::now();
    }
    scope.events.emit(|| {
        Event::ComponentStarted(ComponentStarted {
            component: key.component.to_string(),
            r#type: component_type.to_string(),
            activation: key.to_string(),
            name: node.display_name.to_string(),
            title: node.title.to_string(),
            input_json: shown_input(&scope, &node, &input),
        })
    });
    let context = ActivationContext::new(scope.clone(), key.clone());
    let work = async {
        match &kind {
            ActivationKind::Resolve(needs) => {
                let mut values = Vec::with_capacity(needs.len());
                for need in needs {
                    let value = sre_components::binary_io::perform(&context, need).await;
                    values.push(value.map_err(|error| error.message));
                }
                What::Resolved(values)
            }
            ActivationKind::Execute => match scope.engine.registry.component(&component_type) {
                Some(component) => {
                    let call = Call { input: &input, node: &node, context: &context };
                    What::Finished(component.process(call).await)
                }
                None => What::Finished(Outcome::error(format!("Component {component_type} not found"))),
            },
        }
    };
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(what) => landed(started, what),
        Err(_) => {
            tracing::error!(run = scope.id, component = %key.component, %component_type, "a component panicked");
            let outcome =
                Outcome::error(format!("{component_type} failed inside; the engine's log says where"));
            let what = match kind {
                ActivationKind::Execute => What::Finished(outcome),
                ActivationKind::Resolve(needs) => What::Resolved(
                    needs.iter().map(|_| Err("an input could not be resolved".to_owned())).collect(),
                ),
            };
            landed(started, what)
        }
    }
}
