//! Rebuilding a run from its records: what finished is not executed again, what waits goes on waiting.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prost::Message as _;
use sre_engine::run::{Checkpoint as State, Observe};
use sre_engine::{ActivationKey, EntryId, Map, RequestData, Run, RunOptions, Value};
use sre_proto::error::Reason;
use sre_proto::memory::v1::{JournalRecord, RecordKind, RunRecord};
use sre_service::telemetry::spans::TraceParent;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use super::admission::Slot;
use super::authority::Authority;
use super::calls::lineage::Lineage;
use super::checkpoints::{Checkpoints, Saved};
use super::core::Engine;
use super::drive::Recovered;
use super::fork;
use super::journal::records::{
    EntryKind, Finished, Opened, RecordError, SignalTaken, TakenOver, Waiting, record,
};
use super::journal::run::RunJournal;
use super::journal::values::{StoredValue, ValueError};
use super::live::LiveRun;
use super::names::AgentName;
use super::plans::{Compiled, Version};
use super::redact::Redactor;
use super::scope::{NewScope, RunScope, Subject};
use super::trace;
use super::usage;
use super::waits::Waits;

/// The longest that any run may take.
pub const LONGEST_RUN: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A run rebuilt.
pub struct Folded {
    /// What its components share.
    pub scope: Arc<RunScope>,
    /// Its state.
    pub run: Run,
    /// What else the records say.
    pub recovered: Recovered,
}

/// Why a run cannot be set to work.
#[derive(Debug)]
pub enum Unstartable {
    /// Not now: somebody may try again.
    Later(Status),
    /// Never.
    Never(Reason, String),
}

impl From<Status> for Unstartable {
    fn from(status: Status) -> Self {
        match status.code() {
            Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted | Code::Cancelled => {
                Self::Later(status)
            }
            _ => Self::Never(
                sre_proto::error::reason(&status).unwrap_or(Reason::Internal),
                status.message().to_owned(),
            ),
        }
    }
}

impl From<RecordError> for Unstartable {
    fn from(error: RecordError) -> Self {
        Self::Never(Reason::Internal, format!("the run's journal cannot be read: {error}"))
    }
}

impl From<ValueError> for Unstartable {
    fn from(error: ValueError) -> Self {
        RecordError::from(error).into()
    }
}

/// Rebuilds a run from its records.
pub async fn fold(
    engine: &Engine,
    row: &RunRecord,
    records: &[JournalRecord],
    live: &LiveRun,
    slot: &Slot,
    journal: &mut RunJournal,
) -> Result<Folded, Unstartable> {
    let opened = records.first().filter(|record| record.kind() == RecordKind::Opened);
    let opened = opened.ok_or(RecordError::NotOpened)?;
    let opened = Opened::decode(opened.body.clone()).map_err(RecordError::from)?;
    let authority = Authority::granted(engine.host.tokens().clone(), opened.resume_grant.as_str());
    let version = Version {
        agent: AgentName::parse("agent", &opened.agent)?,
        id: opened.version.clone(),
        digest: opened.digest.clone(),
    };
    let agent_link = authority.agent_link(engine.host.link(sre_service::Role::Agent)).await?;
    let compiled = engine.plans.plan(agent_link, &version).await?;
    let at = entry_of(&compiled, &opened)?;
    let mut stored = Stored::read(&opened, &records[1..])?;
    if stored.state.is_err() {
        // Every record is still there; it only takes longer.
        tracing::warn!(run = row.run_id, "a run's checkpoint cannot be read: all of its records are");
        let records = engine.journal.load(&row.run_id).await?;
        stored = Stored::read_all(&opened, &records[1..])?;
    }
    let waits = Waits::new(engine.journal.clock().clone(), stored.waits.clone());
    let scope = Arc::new(RunScope::new(
        engine.clone(),
        NewScope {
            traced: Some(TraceParent::kept(&opened.traceparent)),
            lineage: Lineage::kept(&opened.lineage),
            above: opened.above.clone(),
            id: row.run_id.clone(),
            subject: Subject { version, compiled, entry: at, root: opened.root.as_str().into() },
            marker: opened.marker.clone(),
            time: Duration::from_millis(opened.time_ms),
            left: time_left(engine, row),
            authority,
            grant: Some(opened.resume_grant.as_str().into()),
            cancel: live.cancel.clone(),
            inbox: live.inbox.clone(),
            events: live.events.clone(),
            slot: Some(slot.clone()),
            waits: Some(Arc::new(waits)),
            opened: opened_already(),
            epoch: row.epoch,
            conversation: opened.conversation.clone(),
        },
        &stored.request,
    ));
    let stored = stored.with_secrets(&scope).await?;
    let options = RunOptions {
        observe: Observe::Settled,
        job_id: opened.job_id.clone(),
        job_input: stored.job_input,
        overrides: fork::overrides(&opened)?,
        ..RunOptions::default()
    };
    let states = stored.state.unwrap_or_default();
    let mut run = match states.is_empty() {
        true => begin(&scope, stored.request, options).await?,
        false => restore(&scope, stored.request, options, states).await?,
    };
    for (key, done) in stored.done {
        let taken = match done {
            Done::Finished(outcome) => run.complete(&key, outcome),
            Done::Resolved(values) => run.resolve(&key, values),
        };
        if let Err(error) = taken {
            // The agent's secrets or limits changed meanwhile; what it led to is executed anew.
            tracing::warn!(run = row.run_id, %error, "a journalled result does not fit the run any more");
        }
    }
    for settled in run.take_settled().iter().filter(|settled| !stored.told.contains(&settled.key)) {
        trace::settled(&scope, settled);
        journal.use_up([usage::settled(&scope, settled)]);
        journal.push(Finished::settled(settled, &scope.redactor())?);
    }
    let under_way: HashSet<&ActivationKey> = run.under_way().collect();
    let intended = stored.intended.into_iter().filter(|(key, _)| under_way.contains(key)).collect();
    if stored.was_owned {
        // What waits was not interrupted: it goes on.
        let restarted = under_way.iter().filter(|key| !stored.waits.contains_key(**key));
        let restarted: Vec<String> = restarted.map(|key| key.component.to_string()).collect();
        if !restarted.is_empty() {
            // Written together with the first progress, so that a run that breaks each owner shows none.
            journal.push(record(RecordKind::TakenOver, None, &TakenOver { epoch: row.epoch, restarted }));
        }
    }
    let recovered = Recovered { intended, paused: stored.paused, checkpoints: stored.checkpoints };
    Ok(Folded { scope, run, recovered })
}

/// What a run whose journal exists says of its opening.
pub fn opened_already() -> CancellationToken {
    let opened = CancellationToken::new();
    opened.cancel();
    opened
}

/// Goes on from the checkpoints of a run.
async fn restore(
    scope: &RunScope,
    request: RequestData,
    options: RunOptions,
    states: Vec<State>,
) -> Result<Run, Unstartable> {
    let plan = scope.subject.compiled.plan.clone();
    let variables = plan.resolve_variables(&scope.variable_secrets().await?);
    let options = RunOptions { run_id: scope.id.clone(), variables, ..options };
    Run::restore(plan, scope.subject.entry, request, options, states)
        .map_err(|error| Unstartable::Never(Reason::Internal, error.to_string()))
}

/// Starts the state machine of a run. Its id and the agent's variables are put into the options here.
pub async fn begin(scope: &RunScope, request: RequestData, options: RunOptions) -> Result<Run, Status> {
    let plan = scope.subject.compiled.plan.clone();
    let variables = plan.resolve_variables(&scope.variable_secrets().await?);
    let options = RunOptions { run_id: scope.id.clone(), variables, ..options };
    Ok(Run::start(plan, scope.subject.entry, request, options))
}

/// Where a run starts.
pub fn entry_of(compiled: &Compiled, opened: &Opened) -> Result<EntryId, Unstartable> {
    let entry = match opened.entry_kind() {
        EntryKind::Job => compiled.plan.fork(&opened.component),
        EntryKind::Endpoint | EntryKind::Unspecified => compiled.plan.entry(&opened.component),
    };
    entry.ok_or_else(|| {
        Unstartable::Never(
            Reason::InvalidAgent,
            format!("the agent has no component {} to start at", opened.component),
        )
    })
}

/// How long a run may still take.
pub fn time_left(engine: &Engine, run: &RunRecord) -> Duration {
    let deadline = run.deadline.and_then(|deadline| SystemTime::try_from(deadline).ok());
    let now = engine.journal.clock().now();
    deadline.map_or(LONGEST_RUN, |deadline| deadline.duration_since(now).unwrap_or_default())
}

enum Done {
    Finished(sre_engine::Outcome),
    Resolved(Vec<Result<Value, String>>),
}

/// What the records say.
struct Stored {
    request: RequestData,
    job_input: Map,
    done: Vec<(ActivationKey, Done)>,
    /// Effects that were to start, and how often.
    intended: HashMap<ActivationKey, u32>,
    waits: HashMap<ActivationKey, Vec<Waiting>>,
    paused: bool,
    /// Whether an engine worked on it.
    was_owned: bool,
    /// What the engine settled and watchers were told of.
    told: HashSet<ActivationKey>,
    /// The state that the rest follows, in parts; none where it follows the beginning.
    state: Result<Vec<State>, RecordError>,
    checkpoints: Checkpoints,
    /// Whether checkpoints count, or every record.
    reads: Reads,
}

/// What a run is rebuilt from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reads {
    Checkpoints,
    Everything,
}

impl Stored {
    /// What the checkpoints and the records behind them say.
    fn read(opened: &Opened, records: &[JournalRecord]) -> Result<Self, RecordError> {
        Self::of(opened, records, Reads::Checkpoints)
    }

    /// What all records say.
    fn read_all(opened: &Opened, records: &[JournalRecord]) -> Result<Self, RecordError> {
        Self::of(opened, records, Reads::Everything)
    }

    fn of(opened: &Opened, records: &[JournalRecord], reads: Reads) -> Result<Self, RecordError> {
        let request = opened.request.as_ref().map(|request| request.request()).transpose()?;
        let job_input = opened.job_input.as_ref().map(StoredValue::value).transpose()?;
        let mut stored = Self {
            request: request.unwrap_or_default(),
            job_input: job_input.and_then(|value| value.as_object().cloned()).unwrap_or_default(),
            done: Vec::new(),
            intended: HashMap::new(),
            waits: HashMap::new(),
            paused: false,
            was_owned: false,
            told: HashSet::new(),
            state: Ok(Vec::new()),
            checkpoints: Checkpoints::default(),
            reads,
        };
        for record in records {
            stored.add(record)?;
        }
        Ok(stored)
    }

    fn add(&mut self, record: &JournalRecord) -> Result<(), RecordError> {
        // A run that was opened without an owner waited for a slot: what its records intend was not begun.
        let owned = record.epoch > 0;
        self.was_owned |= owned;
        match record.kind() {
            RecordKind::Finished => {
                let finished = Finished::decode(record.body.clone())?;
                let key: ActivationKey = record.step.parse()?;
                if finished.settled {
                    self.told.insert(key);
                    return Ok(());
                }
                let done = match &finished.resolved {
                    Some(resolved) => Done::Resolved(resolved.values()?),
                    None => {
                        self.intended.remove(&key);
                        self.waits.remove(&key);
                        Done::Finished(finished.outcome()?)
                    }
                };
                self.done.push((key, done));
            }
            RecordKind::Intent if owned => *self.intended.entry(record.step.parse()?).or_default() += 1,
            RecordKind::Waiting => {
                let waiting = Waiting::decode(record.body.clone())?;
                self.waits.entry(record.step.parse()?).or_default().push(waiting);
            }
            RecordKind::Checkpoint if self.reads == Reads::Checkpoints => self.take_checkpoint(record),
            RecordKind::Signal => match SignalTaken::decode(record.body.clone())?.kind.as_str() {
                "pause" => self.paused = true,
                "resume" => self.paused = false,
                _ => {}
            },
            _ => {}
        }
        Ok(())
    }

    /// A checkpoint stands for everything before it.
    fn take_checkpoint(&mut self, record: &JournalRecord) {
        match (Saved::read(record), &mut self.state) {
            (Ok(saved), Ok(states)) => {
                states.push(saved.state);
                self.checkpoints.last = saved.sequence;
                self.intended = saved.beside.intents.into_iter().collect();
                self.waits = HashMap::new();
                for (key, waiting) in saved.beside.waits {
                    self.waits.entry(key).or_default().push(waiting);
                }
                self.paused = saved.beside.paused;
                self.done.clear();
                self.told.clear();
            }
            (Err(error), _) => self.state = Err(error),
            (Ok(_), Err(_)) => {}
        }
    }

    /// Puts the secrets back in place of their markers.
    async fn with_secrets(mut self, scope: &RunScope) -> Result<Self, Status> {
        let redactor = scope.redactor();
        let mut names: Vec<String> = Vec::new();
        self.each_value(&mut |value| {
            names.extend(redactor.names_in(value));
        });
        if names.is_empty() {
            return Ok(self);
        }
        names.sort();
        names.dedup();
        scope.learn(&names.iter().map(String::as_str).collect::<Vec<_>>()).await?;
        let redactor: Redactor = scope.redactor();
        self.each_value(&mut |value| *value = redactor.restore(value));
        Ok(self)
    }

    fn each_value(&mut self, visit: &mut dyn FnMut(&mut Value)) {
        let mut each = |map: &mut Map| map.values_mut().for_each(&mut *visit);
        each(&mut self.request.headers);
        each(&mut self.request.query);
        each(&mut self.request.params);
        each(&mut self.job_input);
        visit(&mut self.request.body);
        for state in self.state.iter_mut().flatten() {
            state.each_value(visit);
        }
        for (_, done) in &mut self.done {
            match done {
                Done::Finished(outcome) => outcome.output.iter_mut().for_each(&mut *visit),
                Done::Resolved(values) => values.iter_mut().flatten().for_each(&mut *visit),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::journal::records::{Intent, WaitKind};
    use sre_engine::Outcome;

    fn key(text: &str) -> ActivationKey {
        text.parse().unwrap()
    }

    fn written(epoch: i64, record: JournalRecord) -> JournalRecord {
        JournalRecord { epoch, ..record }
    }

    fn intent(step: &str) -> JournalRecord {
        record(RecordKind::Intent, Some(&key(step)), &Intent::default())
    }

    #[test]
    fn only_what_an_owner_began_is_uncertain() {
        let finished = Finished::of(&Outcome::raw(Value::from(1)), "T", &Redactor::new("n")).unwrap();
        let queued = Stored::read(&Opened::default(), &[written(0, intent("A@1"))]).unwrap();
        assert!(queued.intended.is_empty() && !queued.was_owned, "it waited for a slot");
        let stored = Stored::read(
            &Opened::default(),
            &[
                written(1, intent("A@1")),
                written(1, intent("B@1")),
                written(1, record(RecordKind::Finished, Some(&key("A@1")), &finished)),
                written(2, intent("B@1")),
            ],
        )
        .unwrap();
        assert_eq!(stored.intended, [(key("B@1"), 2)].into());
        assert!(stored.was_owned);
    }

    #[test]
    fn waits_and_pauses_are_found_again() {
        let waiting = Waiting { kind: WaitKind::Sleep.into(), until_ms: 5, ..Waiting::default() };
        let signal = |kind: &str| {
            let taken = SignalTaken { kind: kind.into(), ..SignalTaken::default() };
            written(1, record(RecordKind::Signal, None, &taken))
        };
        let wait = |step: &str| written(1, record(RecordKind::Waiting, Some(&key(step)), &waiting));
        let finished = Finished::of(&Outcome::raw(Value::from(1)), "T", &Redactor::new("n")).unwrap();
        let done = written(1, record(RecordKind::Finished, Some(&key("A@1")), &finished));
        let records = [wait("A@1"), wait("B@1"), done, signal("pause"), signal("resume"), signal("pause")];
        let stored = Stored::read(&Opened::default(), &records).unwrap();
        assert_eq!(stored.waits, [(key("B@1"), vec![waiting])].into());
        assert!(stored.paused);
        assert!(!Stored::read(&Opened::default(), &records[..5]).unwrap().paused);
    }
}
