//! A session between commands and during one: found by its id, taken from the journal, read, worked on, and put
//! back. A command that breaks off leaves what was there before it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::TryStreamExt as _;
use prost::Message as _;
use sre_engine::debug::DebugRun;
use sre_engine::{EntryId, Limits, Plan, RequestData, RunOptions};
use sre_proto::error::{Reason, reason, status};
use sre_proto::memory::v1::{JournalRecord, PendingSignal, RecordKind, RunRecord, RunState};
use sre_service::Role;
use sre_service::telemetry::spans::TraceParent;
use tonic::{Code, Status};

use super::messages::About;
use super::names::SessionName;
use super::records::{self, DebugStepTaken};
use crate::engine::answers::Ending;
use crate::engine::authority::{self, Authority, Scope};
use crate::engine::core::{Engine, internal};
use crate::engine::ended::is_ended;
use crate::engine::fold;
use crate::engine::journal::clock;
use crate::engine::journal::queue::AppendError;
use crate::engine::journal::records::{Opened, RecordError, record};
use crate::engine::journal::run::{Parked, Parking, RunJournal};
use crate::engine::launch;
use crate::engine::live::Entry;
use crate::engine::names::AgentName;
use crate::engine::plans::{Compiled, Version};
use crate::engine::redact::Redactor;
use crate::engine::scope::{NewScope, RunScope, Subject};
use crate::engine::session::Lease;
use crate::engine::steps::redactor_of;

/// A session ends so long after its last command.
const KEPT: Duration = Duration::from_secs(3 * 60 * 60);
/// The same where nothing can run any more.
const KEPT_CLOSED: Duration = Duration::from_secs(5 * 60);
/// How long a command waits for the one before it.
const BUSY_PATIENCE: Duration = Duration::from_secs(5);
const BUSY_WAIT: Duration = Duration::from_millis(50);
/// Signals that came while a session was put back are consumed; more than so often nobody sends any.
const PUT_BACK_ATTEMPTS: u32 = 8;

/// The run of an open session, if there is one.
pub async fn find(engine: &Engine, name: &SessionName) -> Result<Option<RunRecord>, Status> {
    let found = engine.journal.find_named(&name.owner(), &name.id).await?;
    Ok(found.filter(|run| !is_ended(run.state())))
}

/// The answer for a session that is unknown, expired, or somebody else's.
pub fn no_such_session(name: &SessionName) -> Status {
    status(Code::NotFound, Reason::NotFound, format!("there is no open debug session {name}"))
}

/// What the journal says of a session.
pub struct Stored {
    /// Its first record.
    pub opened: Opened,
    /// What its last command left; none before the first one ended.
    pub last: Option<DebugStepTaken>,
    /// When that was written.
    pub time: SystemTime,
}

impl Stored {
    /// Reads a session's journal.
    pub async fn read(engine: &Engine, run_id: &str) -> Result<Self, Status> {
        let unreadable = |error: RecordError| internal("a debug session's journal cannot be read", &error);
        let mut pages = engine.journal.pages(run_id, 0).await?;
        let (mut first, mut last): (Option<JournalRecord>, Option<JournalRecord>) = (None, None);
        while let Some(page) = pages.try_next().await? {
            for record in page.records {
                match record.kind() {
                    RecordKind::Opened => first = Some(record),
                    RecordKind::DebugStep => last = Some(record),
                    _ => {}
                }
            }
        }
        let first = first.ok_or_else(|| unreadable(RecordError::NotOpened))?;
        let time = last.as_ref().unwrap_or(&first).time;
        let first = engine.journal.whole(run_id, first).await?;
        let last = match last {
            Some(last) => Some(engine.journal.whole(run_id, last).await?),
            None => None,
        };
        let last = last.map(|last| DebugStepTaken::decode(last.body)).transpose();
        Ok(Self {
            opened: Opened::decode(first.body).map_err(|error| unreadable(error.into()))?,
            last: last.map_err(|error| unreadable(error.into()))?,
            time: time.and_then(|time| SystemTime::try_from(time).ok()).unwrap_or(SystemTime::UNIX_EPOCH),
        })
    }

    /// When the session ends unless it gets a command.
    pub fn expires(&self) -> SystemTime {
        self.time + kept(self.last.as_ref().is_some_and(|last| last.closed))
    }

    /// The version that it debugs.
    pub fn version(&self) -> Result<Version, Status> {
        Ok(Version {
            agent: AgentName::parse("agent", &self.opened.agent)?,
            id: self.opened.version.clone(),
            digest: self.opened.digest.clone(),
        })
    }

    /// Its plan, read with the authority that the journal keeps.
    pub async fn compiled(&self, engine: &Engine) -> Result<(Arc<Compiled>, Authority), Status> {
        let authority = Authority::granted(engine.host.tokens().clone(), self.opened.resume_grant.as_str());
        let link = authority.agent_link(engine.host.link(Role::Agent)).await?;
        Ok((engine.plans.plan(link, &self.version()?).await?, authority))
    }

    /// The session to look at: secrets are their references, and nothing can be executed.
    pub fn shown(&self, plan: Arc<Plan>, redactor: &Redactor) -> Result<DebugRun, Status> {
        let unreadable = |error: &dyn std::fmt::Display| internal("a debug session cannot be read", error);
        let Some(last) = &self.last else { return Ok(DebugRun::empty(plan, RunOptions::default())) };
        let state = records::read(&last.state, &|value| redactor.presentable(value));
        let state = state.map_err(|error| unreadable(&error))?;
        DebugRun::restore(plan, state, RunOptions::default()).map_err(|error| unreadable(&error))
    }
}

fn kept(closed: bool) -> Duration {
    if closed { KEPT_CLOSED } else { KEPT }
}

/// A session's run that this engine owns.
pub struct Held {
    engine: Engine,
    row: RunRecord,
    journal: RunJournal,
    entry: Entry,
}

impl Held {
    /// Takes a session, whatever it waits for. A command under way on it is waited for.
    pub async fn take(engine: &Engine, row: &RunRecord) -> Result<(Self, Vec<PendingSignal>), Status> {
        let give_up = tokio::time::Instant::now() + BUSY_PATIENCE;
        let mut lease = engine.lease().await?;
        loop {
            let refused = match engine.journal.take(lease.id(), &row.run_id).await {
                Ok(claimed) => {
                    let row = claimed.run.unwrap_or_default();
                    let signals = claimed.signals;
                    return Ok((Self::own(engine, row, lease).await?, signals));
                }
                Err(status) => status,
            };
            match reason(&refused) {
                Some(Reason::RunBusy) if tokio::time::Instant::now() < give_up => {
                    tokio::time::sleep(BUSY_WAIT).await;
                }
                Some(Reason::Fenced) => lease = engine.lease_after(&lease).await?,
                _ => return Err(refused),
            }
        }
    }

    /// A run that this lease owns already.
    pub async fn own(engine: &Engine, row: RunRecord, lease: Lease) -> Result<Self, Status> {
        let give_up = tokio::time::Instant::now() + BUSY_PATIENCE;
        let entry = loop {
            if let Some(entry) = engine.live.enter(&row.run_id) {
                break entry;
            }
            // This engine still winds up an earlier command.
            if tokio::time::Instant::now() >= give_up {
                return Err(status(
                    Code::FailedPrecondition,
                    Reason::RunBusy,
                    "the session is busy: try again",
                ));
            }
            tokio::time::sleep(BUSY_WAIT).await;
        };
        let journal = RunJournal::new(
            engine.journal.clone(),
            engine.appends.clone(),
            row.run_id.clone(),
            lease,
            row.epoch,
            row.next_sequence,
        );
        Ok(Self { engine: engine.clone(), row, journal, entry })
    }

    /// Notes signals. Returns whether one of them ends the session; others mean nothing to it.
    pub fn heed(&mut self, signals: Vec<PendingSignal>) -> bool {
        let ends = signals.iter().any(|signal| signal.kind == "cancel");
        signals.into_iter().for_each(|signal| self.journal.consume(signal.signal_id));
        ends
    }

    /// Gives the run up until then; what was added to its journal is durable before that.
    pub async fn park(mut self, until: SystemTime) -> Result<(), AppendError> {
        let until = until.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        for _ in 0..PUT_BACK_ATTEMPTS {
            let parking = Parking { until_ms: Some(launch::milliseconds(until)), ..Parking::default() };
            match self.journal.park(parking).await? {
                Parked::Left => return Ok(()),
                Parked::Not(signals) => {
                    if self.heed(signals) {
                        return self.end(RunState::Cancelled, None).await;
                    }
                }
            }
        }
        Err(AppendError::Refused("signals keep coming for it".to_owned()))
    }

    /// Ends the run.
    pub async fn end(
        mut self,
        state: RunState,
        ending: Option<(&Ending, &Redactor)>,
    ) -> Result<(), AppendError> {
        let closed = ending.map(|(ending, redactor)| ending.closed(Some(redactor))).unwrap_or_default();
        self.journal.push(record(RecordKind::Closed, None, &()));
        self.journal.close(state, closed.encode_to_vec().into()).await?;
        self.entry.closed(state, Arc::new(closed));
        Ok(())
    }
}

/// A session that a command works on.
pub struct Taken {
    held: Held,
    /// Its name.
    pub name: SessionName,
    /// The agent's version.
    pub version: String,
    /// Where it stands.
    pub run: DebugRun,
    /// What its components share.
    pub scope: Arc<RunScope>,
    /// Components before which it stops.
    pub breakpoints: Vec<String>,
    before: SystemTime,
}

impl Taken {
    /// Takes a session for a command; none where it has expired meanwhile.
    pub async fn take(engine: &Engine, name: SessionName, row: &RunRecord) -> Result<Option<Self>, Status> {
        let (mut held, signals) = Held::take(engine, row).await?;
        let ends = held.heed(signals);
        let stored = match Stored::read(engine, &row.run_id).await {
            Ok(stored) => stored,
            Err(status) => {
                leave(held, SystemTime::now() + KEPT).await;
                return Err(status);
            }
        };
        let expires = stored.expires();
        if ends || expires <= engine.journal.clock().now() {
            let state = if ends { RunState::Cancelled } else { RunState::Done };
            if let Err(error) = held.end(state, None).await {
                tracing::debug!(run = row.run_id, %error, "a debug session could not be ended");
            }
            return Ok(None);
        }
        match Self::restore(engine, name, held, &stored).await {
            Ok(taken) => Ok(Some(taken)),
            Err((held, status)) => {
                leave(*held, expires).await;
                Err(status)
            }
        }
    }

    /// Goes on with a run that is owned.
    pub async fn restore(
        engine: &Engine,
        name: SessionName,
        held: Held,
        stored: &Stored,
    ) -> Result<Self, (Box<Held>, Status)> {
        match restored(engine, &held, stored).await {
            Ok((scope, run)) => Ok(Self {
                held,
                name,
                version: stored.opened.version.clone(),
                run,
                scope,
                breakpoints: stored.last.as_ref().map(|last| last.breakpoints.clone()).unwrap_or_default(),
                before: stored.expires(),
            }),
            Err(status) => Err((Box::new(held), status)),
        }
    }

    /// The journal, for the intents of effects.
    pub fn working(&mut self) -> (&Arc<RunScope>, &mut DebugRun, &mut RunJournal) {
        (&self.scope, &mut self.run, &mut self.held.journal)
    }

    /// What else messages say of it.
    pub fn about<'a>(&'a self, redactor: &'a Redactor) -> About<'a> {
        About {
            name: &self.name,
            version: &self.version,
            created: self.held.row.create_time,
            expires: self.expires(),
            breakpoints: &self.breakpoints,
            redactor,
        }
    }

    fn expires(&self) -> SystemTime {
        self.held.engine.journal.clock().now() + kept(self.run.is_closed())
    }

    /// The run's id.
    pub fn run_id(&self) -> &str {
        &self.held.row.run_id
    }

    /// Puts the session back as the command left it.
    pub async fn put_back(mut self, command: &str) -> Result<(), Status> {
        let state = records::written(self.run.state(), &self.scope.redactor());
        let taken = DebugStepTaken {
            state: state.map_err(|error| internal("a debug session cannot be written", &error))?,
            breakpoints: self.breakpoints.clone(),
            command: command.to_owned(),
            closed: self.run.is_closed(),
            step: self.run.step(),
        };
        self.held.journal.push(record(RecordKind::DebugStep, None, &taken));
        let until = self.expires();
        self.held.park(until).await.map_err(|error| unwritten(&error))
    }

    /// Puts it back as it was before the command, which failed.
    pub async fn leave(self) {
        leave(self.held, self.before).await;
    }

    /// Ends the session.
    pub async fn end(self, state: RunState) -> Result<(), Status> {
        let (ending, redactor) = (Ending::Answered(self.run.answer()), self.scope.redactor());
        self.held.end(state, Some((&ending, &redactor))).await.map_err(|error| unwritten(&error))
    }
}

async fn leave(held: Held, until: SystemTime) {
    let run_id = held.row.run_id.clone();
    if let Err(error) = held.park(until).await {
        tracing::debug!(run = run_id, %error, "a debug session was not put back; it is taken anew");
    }
}

fn unwritten(error: &AppendError) -> Status {
    match error {
        AppendError::Refused(why) => status(
            Code::ResourceExhausted,
            Reason::TooLarge,
            format!("the session cannot be kept ({why}): it is as it was before this command"),
        ),
        _ => status(
            Code::Unavailable,
            Reason::RoleUnavailable,
            "the session could not be kept: try again, it may be as it was before this command",
        ),
    }
}

async fn restored(
    engine: &Engine,
    held: &Held,
    stored: &Stored,
) -> Result<(Arc<RunScope>, DebugRun), Status> {
    let unreadable = |error: &dyn std::fmt::Display| internal("a debug session cannot be read", error);
    let (compiled, authority) = stored.compiled(engine).await?;
    let plan = compiled.plan.clone();
    let opened = &stored.opened;
    let entry = entry_of(&plan, &opened.component)?;
    let request = opened.request.as_ref().map(|request| request.request()).transpose();
    let request = request.map_err(|error| unreadable(&error))?.unwrap_or_default();
    let session = RequestData { session_id: request.session_id, ..RequestData::default() };
    let time = engine.host.config().gateway.run_deadline();
    let live = held.entry.run();
    let (scopes, version) = (all_scopes(&compiled), stored.version()?);
    let mut scope = RunScope::new(
        engine.clone(),
        NewScope {
            traced: Some(TraceParent::current()),
            lineage: Default::default(),
            above: Vec::new(),
            id: held.row.run_id.clone(),
            subject: Subject { version, compiled, entry, root: opened.root.as_str().into() },
            marker: opened.marker.clone(),
            time,
            left: time,
            authority,
            grant: Some(opened.resume_grant.as_str().into()),
            cancel: live.cancel.clone(),
            inbox: live.inbox.clone(),
            events: live.events.clone(),
            slot: None,
            // A command is waited for: what its components wait for, they wait for in memory.
            waits: None,
            opened: fold::opened_already(),
            epoch: held.row.epoch,
            conversation: String::new(),
        },
        &session,
    );
    // Any component can be put to work by hand, not only those behind the endpoint that was called.
    scope.authority = scope.authority.with_scopes(scopes);
    let variables = plan.resolve_variables(&scope.variable_secrets().await?);
    let options = RunOptions {
        run_id: held.row.run_id.clone(),
        limits: Limits::default(),
        variables,
        ..RunOptions::default()
    };
    let run = match &stored.last {
        None => DebugRun::empty(plan, options),
        Some(last) => {
            let names = records::secret_names(&last.state, &scope.redactor());
            let names = names.map_err(|error| unreadable(&error))?;
            if !names.is_empty() {
                scope.learn(&names.iter().map(String::as_str).collect::<Vec<_>>()).await?;
            }
            let redactor = scope.redactor();
            let state = records::read(&last.state, &|value| redactor.restore(value));
            let state = state.map_err(|error| unreadable(&error))?;
            DebugRun::restore(plan, state, options).map_err(|error| unreadable(&error))?
        }
    };
    Ok((Arc::new(scope), run))
}

/// The entry that a session was started at, else the agent's first endpoint.
pub fn entry_of(plan: &Plan, component: &str) -> Result<EntryId, Status> {
    let first = || plan.nodes().iter().find_map(|node| plan.entry(&node.id));
    plan.entry(component).or_else(first).ok_or_else(|| {
        let message = "the agent has no endpoint, so nothing of it can be run: add an APIEndpoint";
        status(Code::FailedPrecondition, Reason::InvalidAgent, message)
    })
}

/// What the components of an agent declare that they call, whichever endpoint leads to them.
fn all_scopes(compiled: &Compiled) -> Arc<[Scope]> {
    let plan = &compiled.plan;
    let entries =
        plan.nodes().iter().flat_map(|node| plan.entry(&node.id).into_iter().chain(plan.fork(&node.id)));
    let mut all: Vec<Scope> = Vec::new();
    for scope in entries.flat_map(|entry| authority::scopes_of(plan, entry)) {
        if !all.contains(&scope) {
            all.push(scope);
        }
    }
    all.into()
}

/// A session that an engine claimed: its time is over, it was cancelled, or its engine died during a command.
pub async fn claimed(engine: Engine, lease: Lease, row: RunRecord, signals: Vec<PendingSignal>) {
    let run_id = row.run_id.clone();
    let held = match Held::own(&engine, row, lease).await {
        Ok(held) => held,
        // The command that winds up puts it back.
        Err(_) => return,
    };
    if let Err(error) = settle(&engine, held, signals).await {
        tracing::debug!(run = run_id, %error, "a debug session was not put back; it is taken anew");
    }
}

async fn settle(engine: &Engine, mut held: Held, signals: Vec<PendingSignal>) -> Result<(), AppendError> {
    if held.heed(signals) {
        return held.end(RunState::Cancelled, None).await;
    }
    match Stored::read(engine, &held.row.run_id).await {
        Ok(stored) if stored.expires() <= engine.journal.clock().now() => {
            held.end(RunState::Done, None).await
        }
        Ok(stored) => held.park(stored.expires()).await,
        // Looked at again before long.
        Err(status) => {
            tracing::debug!(run = held.row.run_id, %status, "a debug session cannot be read yet");
            let again = clock::moment(engine.journal.clock().now_ms()) + KEPT_CLOSED;
            held.park(again).await
        }
    }
}

/// The redactor of a session's run.
pub fn redactor(row: &RunRecord) -> Result<Redactor, Status> {
    redactor_of(row)
}
