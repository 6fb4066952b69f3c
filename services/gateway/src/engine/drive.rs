//! The loop of one run: it executes what is ready, takes in how it ended, and keeps the journal ahead of
//! everything that counts outside. An effect starts when its intent and all that led to it are durable; an
//! answer is given when the run's end is. A run that only waits leaves memory.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use prost::Message as _;
use sre_engine::run::Settled;
use sre_engine::spec::{Flow, OnUncertain};
use sre_engine::{Activation, ActivationKey, Run, Status};
use sre_proto::error::Reason;
use sre_proto::memory::v1::{RecordKind, RunState};
use tokio::time::Instant;

use super::answers::{Closed, Ending};
use super::calls;
use super::checkpoints::{Beside, Checkpoints};
use super::flight::{self, Barrier, Landed, What, is_effect};
use super::journal::queue::AppendError;
use super::journal::records::{Finished, Intent, SignalTaken, record};
use super::journal::run::{Flushed, Parked, Parking, RunJournal};
use super::journal::values::ValueError;
use super::live::CANCEL;
use super::ready::{at, waits_changed, written};
use super::runs;
use super::scope::RunScope;
use super::trace;
use super::usage::{self, Tally};
use super::waits::Patience;

/// Activations of one run that are executed at a time, unless a Map of its agent asks for more; those that wait are
/// not counted.
const IN_FLIGHT: usize = 64;
/// Activations that end at once before others get a turn.
const IN_A_ROW: u32 = 256;

/// A run under way.
pub struct Drive {
    scope: Arc<RunScope>,
    run: Run,
    journal: Option<RunJournal>,
    /// Effects whose intent is durable from before a takeover, and how often they were started.
    intended: HashMap<ActivationKey, u32>,
    /// Effects under way, and how often they were started.
    effects: HashMap<ActivationKey, u32>,
    paused: bool,
    /// Activations that are executed at a time.
    in_flight: usize,
    checkpoints: Checkpoints,
    /// Activations that are ready.
    ready: VecDeque<Activation>,
    /// Activations to be started although they were before: an uncertain effect that shall run again.
    again: VecDeque<Activation>,
    /// Not before this is parking tried: it was refused a moment ago.
    parks_from: Instant,
    /// Of a run without a journal: what it did.
    tally: Tally,
}

/// What a journalled run begins with.
#[derive(Default)]
pub struct Recovered {
    /// Effects that were started and did not finish, and how often.
    pub intended: HashMap<ActivationKey, u32>,
    /// Whether a person paused it.
    pub paused: bool,
    /// Its checkpoints so far.
    pub checkpoints: Checkpoints,
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

/// Where work on a run came to.
pub enum Worked {
    /// Its end.
    Ended(Ending),
    /// It waits, without an owner.
    Parked,
}

/// Where work on a journalled run came to.
pub enum Done {
    /// Its end, durably: the answer as it was given.
    Closed(RunState, Arc<Closed>),
    /// It waits, without an owner.
    Parked,
}

type Flights = FuturesUnordered<BoxFuture<'static, Landed>>;

impl Drive {
    /// A run without a journal.
    pub fn light(scope: Arc<RunScope>, run: Run) -> Self {
        Self::new(scope, run, None, Recovered::default())
    }

    /// A run with one.
    pub fn journalled(scope: Arc<RunScope>, run: Run, journal: RunJournal, recovered: Recovered) -> Self {
        Self::new(scope, run, Some(journal), recovered)
    }

    fn new(scope: Arc<RunScope>, run: Run, journal: Option<RunJournal>, recovered: Recovered) -> Self {
        let in_flight = IN_FLIGHT.max(run.plan().widest_map());
        Self {
            scope,
            run,
            journal,
            intended: recovered.intended,
            effects: HashMap::new(),
            paused: recovered.paused,
            in_flight,
            checkpoints: recovered.checkpoints,
            ready: VecDeque::new(),
            again: VecDeque::new(),
            parks_from: Instant::now(),
            tally: Tally::default(),
        }
    }

    /// Works until the run ends. For runs without a journal, which never park.
    pub async fn to_end(mut self) -> Result<(Ending, Tally), Stopped> {
        match self.work().await? {
            Worked::Ended(ending) => Ok((ending, self.tally)),
            Worked::Parked => Err(Stopped::SessionOver),
        }
    }

    /// Works until the run ends and its end is durable, or until it is parked.
    pub async fn to_durable_end(mut self) -> Result<Done, Stopped> {
        let ending = match self.work().await? {
            Worked::Ended(ending) => ending,
            Worked::Parked => return Ok(Done::Parked),
        };
        let live = ending.closed(None);
        trace::ended(&self.scope, ending.state(), &live);
        if ending.state() == RunState::Cancelled && self.has_jobs() {
            // Before its own end: whoever would have to go on with it does the same.
            runs::cancel_jobs(&self.scope, &self.scope.cancel.reason()).await;
        }
        if ending.state() != RunState::Done {
            calls::cancel_calls(&self.scope, "the run that called it ended").await;
        }
        if let Some(journal) = &mut self.journal {
            let redactor = self.scope.redactor();
            let stored = if redactor.is_empty() { live.clone() } else { ending.closed(Some(&redactor)) };
            for signal in self.scope.inbox.take() {
                journal.consume(signal.signal_id);
            }
            journal.use_up(usage::ended_here(&self.scope, ending.state()));
            journal.push(record(RecordKind::Closed, None, &()));
            journal.close(ending.state(), stored.encode_to_vec().into()).await?;
        }
        Ok(Done::Closed(ending.state(), Arc::new(live)))
    }

    fn has_jobs(&self) -> bool {
        let starts_jobs = |flow| flow == Some(Flow::Async);
        let nodes = self.scope.subject.compiled.plan.nodes();
        nodes.iter().any(|node| starts_jobs(node.entry.map(|entry| entry.spec.flow)))
    }

    async fn work(&mut self) -> Result<Worked, Stopped> {
        let scope = self.scope.clone();
        let deadline = tokio::time::sleep_until(scope.deadline);
        tokio::pin!(deadline);
        let lost = self.journal.as_ref().map(|journal| journal.lease().lost().clone()).unwrap_or_default();
        let mut flights = Flights::new();
        let mut writing: Option<Flushed> = None;
        let mut in_a_row = 0;
        loop {
            self.heed();
            if scope.cancel.token().is_cancelled() {
                self.run.cancel(scope.cancel.reason());
                return Ok(Worked::Ended(Ending::Answered(self.run.answer())));
            }
            if Instant::now() >= scope.deadline {
                return Ok(Worked::Ended(Ending::TimedOut(scope.time)));
            }
            if !self.paused {
                self.ready.extend(self.run.ready());
            }
            if let Err(error) = self.tell_settled() {
                return Ok(Worked::Ended(unwritable(&error)));
            }
            self.checkpoint();
            self.start(&mut flights, &mut writing).await?;
            if self.run.status() == Status::Finished {
                return Ok(Worked::Ended(Ending::Answered(self.run.answer())));
            }
            // What ends at once needs no append of its own.
            if let Some(landed) = flights.next().now_or_never().flatten() {
                if let Err(error) = self.land(landed)? {
                    return Ok(Worked::Ended(unwritable(&error)));
                }
                in_a_row += 1;
                if in_a_row % IN_A_ROW == 0 {
                    tokio::task::yield_now().await;
                }
                continue;
            }
            self.write_waits();
            let parks_at = match self.parks_at(flights.len()) {
                Some(at) if at <= Instant::now() => {
                    if self.park().await? {
                        return Ok(Worked::Parked);
                    }
                    writing = None;
                    continue;
                }
                other => other,
            };
            if writing.is_none()
                && let Some(journal) = &mut self.journal
                && journal.is_dirty()
            {
                writing = Some(journal.flush());
            }
            tokio::select! {
                biased;
                // The next round sees it.
                () = scope.cancel.token().cancelled() => {}
                () = lost.cancelled() => return Err(Stopped::SessionOver),
                Some(landed) = flights.next() => {
                    if let Err(error) = self.land(landed)? {
                        return Ok(Worked::Ended(unwritable(&error)));
                    }
                }
                Some(written) = written(&mut writing) => {
                    written?;
                    writing = None;
                }
                () = scope.inbox.arrived() => {}
                () = waits_changed(&scope) => {}
                () = at(parks_at) => {}
                () = &mut deadline => {}
            }
        }
    }

    /// Acts upon signals. All are consumed with what is written next, also those of kinds nobody knows here.
    fn heed(&mut self) {
        let Some(journal) = &mut self.journal else { return };
        for signal in self.scope.inbox.take() {
            match signal.kind.as_str() {
                CANCEL => {}
                "pause" | "resume" => {
                    let pause = signal.kind == "pause";
                    if self.paused != pause {
                        self.paused = pause;
                        let taken = SignalTaken {
                            kind: signal.kind.clone(),
                            body: signal.body.clone(),
                            id: signal.signal_id.clone(),
                        };
                        journal.push(record(RecordKind::Signal, None, &taken));
                    }
                }
                "approval" => {
                    if let Some(waits) = &self.scope.waits {
                        waits.decide();
                    }
                }
                // It has woken the run; what it is about has a row of its own.
                "job_done" => {}
                kind => {
                    tracing::debug!(run = self.scope.id, kind, "a signal of an unknown kind is passed over")
                }
            }
            journal.consume(signal.signal_id);
        }
    }

    /// Writes down the whole state from time to time.
    fn checkpoint(&mut self) {
        let Some(journal) = &mut self.journal else { return };
        let every = self.scope.engine.host.config().gateway.checkpoint_records;
        if !self.checkpoints.is_due(journal, every) {
            return;
        }
        self.write_waits();
        let Some(journal) = &mut self.journal else { return };
        let intents = self.effects.iter().chain(&self.intended).map(|(key, times)| (key.clone(), *times));
        let beside = Beside {
            intents: intents.collect(),
            waits: self.scope.waits.as_ref().map(|waits| waits.recorded()).unwrap_or_default(),
            paused: self.paused,
        };
        self.checkpoints.write(&mut self.run, journal, &self.scope.redactor(), beside);
    }

    /// Starts what may start.
    async fn start(&mut self, flights: &mut Flights, writing: &mut Option<Flushed>) -> Result<(), Stopped> {
        if let Some(journal) = &mut self.journal
            && journal.is_full()
        {
            journal.flush().await?;
            *writing = None;
        }
        if self.paused || self.ready.is_empty() && self.again.is_empty() {
            return Ok(());
        }
        let waiting = self.scope.waits.as_ref().map_or(0, |waits| waits.count());
        let mut free = self.in_flight.saturating_sub(flights.len().saturating_sub(waiting));
        let again = self.again.len().min(free);
        free -= again;
        let mut starting: Vec<(Activation, Option<u32>)> =
            self.again.drain(..again).map(|activation| (activation, None)).collect();
        for activation in self.ready.drain(..free.min(self.ready.len())) {
            let times = self.intended.remove(&activation.key);
            starting.push((activation, times));
        }
        let mut barrier: Option<Barrier> = None;
        if let Some(journal) = &mut self.journal {
            let effects = starting.iter().filter(|(activation, _)| is_effect(activation));
            let mut any = false;
            for (activation, times) in effects {
                any = true;
                let started = self.effects.entry(activation.key.clone()).or_default();
                *started = times.unwrap_or(*started + 1);
                if times.is_none() {
                    let idempotency_key = activation.key.idempotency_key(&self.scope.id);
                    journal.push(record(
                        RecordKind::Intent,
                        Some(&activation.key),
                        &Intent { idempotency_key },
                    ));
                }
            }
            if any {
                barrier = Some((journal.flush(), journal.lease().clone()));
            }
        }
        for (activation, times) in starting {
            let policy = flight::policy(&activation);
            let scope = self.scope.clone();
            flights.push(match times {
                Some(times) if policy != OnUncertain::Retry => {
                    flight::settle(scope, activation, policy, times).boxed()
                }
                _ => {
                    let before = barrier.clone().filter(|_| is_effect(&activation));
                    flight::execute(scope, activation, before).boxed()
                }
            });
        }
        Ok(())
    }

    /// Writes down, for watchers, what the engine settled by itself.
    fn tell_settled(&mut self) -> Result<(), ValueError> {
        let settled = self.run.take_settled();
        if settled.is_empty() {
            return Ok(());
        }
        let redactor = self.scope.redactor();
        for settled in &settled {
            trace::settled(&self.scope, settled);
            if let Some(journal) = &mut self.journal {
                let Settled { key, node, outcome } = settled;
                self.scope.log_failure(key, &node.type_name, outcome);
                journal.use_up([usage::settled(&self.scope, settled)]);
                journal.push(Finished::settled(settled, &redactor)?);
            }
        }
        Ok(())
    }

    /// Writes down what components wait for.
    fn write_waits(&mut self) {
        let (Some(journal), Some(waits)) = (&mut self.journal, &self.scope.waits) else { return };
        for new in waits.take_unwritten() {
            journal.push(record(RecordKind::Waiting, Some(&new.key), &new.waiting));
            if let Some(approval) = new.approval {
                journal.ask(approval);
            }
        }
    }

    /// When the run may leave memory, if it does nothing but wait, or is paused and nothing is under way.
    fn parks_at(&self, flights: usize) -> Option<Instant> {
        let (Some(_), Some(waits)) = (&self.journal, &self.scope.waits) else { return None };
        if waits.count() < flights {
            return None;
        }
        if self.paused {
            return Some(self.parks_from);
        }
        if !self.ready.is_empty() || !self.again.is_empty() {
            return None;
        }
        let idle = waits.idle(self.patience())?;
        Some(idle.at.max(self.parks_from))
    }

    fn patience(&self) -> Patience {
        Patience::of(&self.scope.engine.host.config().gateway, self.scope.events.is_heard())
    }

    /// Gives the run up until something happens. False where something has happened already.
    async fn park(&mut self) -> Result<bool, Stopped> {
        let patience = self.patience();
        let (Some(journal), Some(waits)) = (&mut self.journal, &self.scope.waits) else { return Ok(false) };
        let parking = if self.paused {
            Parking { paused: true, ..Parking::default() }
        } else {
            match waits.idle(patience) {
                Some(idle) => Parking { until_ms: idle.until_ms, wake_on_end: idle.runs, paused: false },
                None => return Ok(false),
            }
        };
        // It may be told that there are signals which are on their way here by the command stream, too.
        let parked = journal.park(parking).await?;
        match parked {
            Parked::Left => Ok(true),
            Parked::Not(signals) => {
                let grace = self.scope.engine.host.config().gateway.park_grace();
                self.parks_from = Instant::now() + grace;
                for signal in signals {
                    self.scope.signal(signal);
                }
                Ok(false)
            }
        }
    }

    /// Takes in how something ended.
    fn land(&mut self, landed: Landed) -> Result<Result<(), ValueError>, Stopped> {
        let used = match &self.journal {
            Some(_) => usage::landed(&self.scope, &landed),
            None => {
                self.tally.add(&landed);
                Vec::new()
            }
        };
        if let (What::Finished(outcome), Some(_)) = (&landed.what, &self.journal) {
            self.scope.log_failure(&landed.key, &landed.component_type, outcome);
        }
        let Landed { key, component_type, started, what, .. } = landed;
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
            What::Again(activation) => {
                self.again.push_back(*activation);
                return Ok(Ok(()));
            }
            What::Finished(outcome) => self.run.complete(&key, outcome),
            What::Resolved(values) => self.run.resolve(&key, values),
        };
        if let Err(error) = reported {
            // Its result no longer matters to the run.
            tracing::debug!(run = self.scope.id, %error, "a result came too late");
            return Ok(Ok(()));
        }
        self.effects.remove(&key);
        if let Some(waits) = &self.scope.waits {
            waits.forget(&key);
        }
        if let (Some(stored), Some(journal)) = (stored, &mut self.journal) {
            match stored {
                Ok(finished) => {
                    let finished = Finished { started_ms: since_1970(started), ..finished };
                    journal.use_up(used);
                    journal.push(record(RecordKind::Finished, Some(&key), &finished));
                }
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(()))
    }
}

fn unwritable(error: &ValueError) -> Ending {
    Ending::Broken(Reason::Internal, format!("a component's output cannot be written: {error}"))
}

fn since_1970(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map(super::launch::milliseconds).unwrap_or_default()
}
