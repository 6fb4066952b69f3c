//! Setting a run to work: from a first record, written a moment ago or found in the journal.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prost::Message as _;
use sre_engine::run::Observe;
use sre_engine::{ActivationKey, EntryId, Limits, Map, RequestData, Run, RunOptions, Value};
use sre_proto::error::Reason;
use sre_proto::memory::v1::{JournalRecord, RecordKind, RunRecord};
use tonic::{Code, Status};

use super::admission::Slot;
use super::answers::{Closed, Ending};
use super::authority::Authority;
use super::core::Engine;
use super::drive::{self, Drive, Stopped};
use super::journal::records::{EntryKind, Finished, Opened, RecordError, TakenOver, record};
use super::journal::run::RunJournal;
use super::journal::values::{StoredValue, ValueError};
use super::live::Entry;
use super::names::AgentName;
use super::plans::{Compiled, Version};
use super::redact::Redactor;
use super::scope::{NewScope, RunScope, Subject};
use super::session::Lease;

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// The longest that any run may take.
pub const LONGEST_RUN: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What can be claimed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimable {
    /// A job that this engine opened.
    Job,
    /// A run that this engine opened and had no slot for.
    Run,
}

/// A time as records hold it.
pub fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A number for a run's secret markers.
pub fn new_marker() -> String {
    // Random, not derived from the run's id, which its caller knows.
    format!("{:032x}", rand::random::<u128>())
}

/// A run that this engine owns, with its journal read.
pub struct Owned {
    /// Its row.
    pub run: RunRecord,
    /// Its records.
    pub records: Vec<JournalRecord>,
    /// The lease that owns it.
    pub lease: Lease,
    /// This engine's work on it.
    pub entry: Entry,
    /// The slot it takes.
    pub slot: Slot,
}

/// Why a run cannot be set to work.
enum Unstartable {
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

/// Works on a run until it ended, or until it is somebody else's.
pub async fn work(engine: Engine, owned: Owned) {
    let Owned { run, records, lease, entry, slot } = owned;
    let mut journal = RunJournal::new(
        engine.journal.clone(),
        engine.appends.clone(),
        run.run_id.clone(),
        lease.clone(),
        run.epoch,
        run.next_sequence,
    );
    let folded = patiently(&engine, &run, &records, &entry, &slot, &mut journal).await;
    let ended = match folded {
        Ok(Folded { scope, run, intended }) => {
            Box::pin(Drive::journalled(scope, run, journal, intended).to_durable_end()).await
        }
        Err(Unstartable::Never(reason, message)) => {
            tracing::warn!(run = run.run_id, message, "a run cannot be gone on with");
            fail(journal, Ending::Broken(reason, message)).await
        }
        Err(Unstartable::Later(status)) => {
            tracing::info!(run = run.run_id, %status, "a run could not be gone on with in time");
            fail(journal, Ending::TimedOut(time_left(&run))).await
        }
    };
    match ended {
        Ok((ending, closed)) => entry.closed(ending.state(), Arc::new(closed)),
        Err(Stopped::SessionOver) => {}
        Err(Stopped::Journal(error)) => {
            tracing::debug!(run = run.run_id, %error, "work on a run stopped");
            drop(entry);
            engine.takeover.hand_back(&run, &lease).await;
        }
    }
}

/// Folds, and tries again as long as some service is away. The run is kept meanwhile: giving it back would
/// count as a claim without progress.
async fn patiently(
    engine: &Engine,
    row: &RunRecord,
    records: &[JournalRecord],
    entry: &Entry,
    slot: &Slot,
    journal: &mut RunJournal,
) -> Result<Folded, Unstartable> {
    let until = tokio::time::Instant::now() + time_left(row);
    let gone = journal.lease().lost().clone();
    let cancelled = entry.run().cancel.token().clone();
    let mut wait = FIRST_WAIT;
    loop {
        let status = match fold(engine, row, records, entry, slot, journal).await {
            Err(Unstartable::Later(status)) => status,
            other => return other,
        };
        tracing::debug!(run = row.run_id, %status, "a run waits for a service that is away");
        if tokio::time::Instant::now() >= until || gone.is_cancelled() || cancelled.is_cancelled() {
            return Err(Unstartable::Later(status));
        }
        slot.lend(tokio::time::sleep(wait)).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

async fn fail(mut journal: RunJournal, ending: Ending) -> Result<(Ending, Closed), Stopped> {
    let closed = ending.closed(None);
    journal.push(record(RecordKind::Closed, None, &()));
    journal.close(ending.state(), closed.encode_to_vec().into()).await?;
    Ok((ending, closed))
}

struct Folded {
    scope: Arc<RunScope>,
    run: Run,
    intended: HashSet<ActivationKey>,
}

/// Rebuilds a run from its records: what finished is not executed again.
async fn fold(
    engine: &Engine,
    row: &RunRecord,
    records: &[JournalRecord],
    entry: &Entry,
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
    let stored = Stored::read(&opened, &records[1..])?;
    let scope = Arc::new(RunScope::new(
        engine.clone(),
        NewScope {
            id: row.run_id.clone(),
            subject: Subject { version, compiled, entry: at, root: opened.root.as_str().into() },
            marker: opened.marker.clone(),
            time: Duration::from_millis(opened.time_ms),
            left: time_left(row),
            authority,
            grant: Some(opened.resume_grant.as_str().into()),
            cancel: entry.run().cancel.clone(),
            events: entry.run().events.clone(),
            slot: Some(slot.clone()),
        },
        &stored.request,
    ));
    let stored = stored.with_secrets(&scope).await?;
    let mut run =
        begin(&scope, stored.request, opened.job_id.clone(), stored.job_input, Observe::Settled).await?;
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
        journal.push(drive::settled_record(settled, &scope.redactor())?);
    }
    let intended: HashSet<ActivationKey> =
        stored.intended.into_iter().filter(|key| run.under_way().any(|known| known == key)).collect();
    if records.len() > 1 {
        // Written together with the first progress, so that a run that breaks each owner shows none.
        let restarted = run.under_way().map(|key| key.component.to_string()).collect();
        journal.push(record(RecordKind::TakenOver, None, &TakenOver { epoch: row.epoch, restarted }));
    }
    Ok(Folded { scope, run, intended })
}

/// Starts the state machine of a run.
pub async fn begin(
    scope: &RunScope,
    request: RequestData,
    job_id: String,
    job_input: Map,
    observe: Observe,
) -> Result<Run, Status> {
    let plan = scope.subject.compiled.plan.clone();
    let options = RunOptions {
        run_id: scope.id.clone(),
        limits: Limits::default(),
        observe,
        variables: plan.resolve_variables(&scope.variable_secrets().await?),
        job_id,
        job_input,
        ..RunOptions::default()
    };
    Ok(Run::start(plan, scope.subject.entry, request, options))
}

fn entry_of(compiled: &Compiled, opened: &Opened) -> Result<EntryId, Unstartable> {
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

fn time_left(run: &RunRecord) -> Duration {
    let deadline = run.deadline.and_then(|deadline| SystemTime::try_from(deadline).ok());
    deadline.map_or(LONGEST_RUN, |deadline| deadline.duration_since(SystemTime::now()).unwrap_or_default())
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
    intended: Vec<ActivationKey>,
    /// What the engine settled and watchers were told of.
    told: HashSet<ActivationKey>,
}

impl Stored {
    fn read(opened: &Opened, records: &[JournalRecord]) -> Result<Self, RecordError> {
        let request = opened.request.as_ref().map(|request| request.request()).transpose()?;
        let job_input = opened.job_input.as_ref().map(StoredValue::value).transpose()?;
        let mut stored = Self {
            request: request.unwrap_or_default(),
            job_input: job_input.and_then(|value| value.as_object().cloned()).unwrap_or_default(),
            done: Vec::new(),
            intended: Vec::new(),
            told: HashSet::new(),
        };
        for record in records {
            match record.kind() {
                RecordKind::Finished => {
                    let finished = Finished::decode(record.body.clone())?;
                    if finished.settled {
                        stored.told.insert(record.step.parse()?);
                        continue;
                    }
                    let done = match &finished.resolved {
                        Some(resolved) => Done::Resolved(resolved.values()?),
                        None => Done::Finished(finished.outcome()?),
                    };
                    stored.done.push((record.step.parse()?, done));
                }
                RecordKind::Intent => stored.intended.push(record.step.parse()?),
                _ => {}
            }
        }
        Ok(stored)
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
        for (_, done) in &mut self.done {
            match done {
                Done::Finished(outcome) => outcome.output.iter_mut().for_each(&mut *visit),
                Done::Resolved(values) => values.iter_mut().flatten().for_each(&mut *visit),
            }
        }
    }
}
