//! Starting runs: who may, of what, and whether the answer comes before or after the journal.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost::Message as _;
use sre_components::trigger::{Collected, Reply};
use sre_engine::run::Observe;
use sre_engine::{PAYLOADS, RequestData, RunOptions, Value};
use sre_identity::token::Purpose;
use sre_identity::{Caller, Candidate};
use sre_proto::error::{Reason, invalid_argument, status};
use sre_proto::memory::v1::{JournalRecord, OpenRunRequest, RecordKind, RunKind, RunRecord};
use sre_proto::observability::v1::LogLevel;
use sre_service::Role;
use sre_service::telemetry::spans::TraceParent;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use super::acl;
use super::admission::Slot;
use super::answers::{Closed, Ending};
use super::authority::Authority;
use super::core::{Engine, internal, timestamp};
use super::drive::Drive;
use super::ended::{self, Ended};
use super::fold::{LONGEST_RUN, begin};
use super::journal::clock::StoreClock;
use super::journal::opening::{Begun, Opening};
use super::journal::queue::CALLERS_PATIENCE;
use super::journal::records::{EntryKind, Opened, Spec, StoredRequest, record};
use super::launch::{self, Claimable, Fresh};
use super::live::LiveRun;
use super::names::AgentName;
use super::redact::Redactor;
use super::requests::{self, Routed, Wanted};
use super::scope::{NewScope, RunScope, Subject};
use super::session::Lease;
use super::trace::{self, RunSpan};
use super::triggers;
use super::usage;
use super::waits::Waits;

/// What is to be run.
pub struct Asked {
    /// The agent, as the caller names it.
    pub agent: String,
    /// What of it.
    pub wanted: Wanted,
    /// The session.
    pub session_id: String,
    /// Which version.
    pub version: String,
    /// Makes it idempotent.
    pub request_id: String,
    /// How long it may take.
    pub timeout: Option<prost_types::Duration>,
}

/// A run that may be started.
struct Ready {
    subject: Subject,
    authority: Authority,
    root: Candidate,
    routed: Routed,
    request_id: String,
    version_asked: String,
    time: Duration,
    clock: StoreClock,
    trace: TraceParent,
}

/// What became of a call.
pub enum Reached {
    /// A run.
    Run(Answered),
    /// A trigger answered by itself.
    Reply(Reply),
}

/// An answered run.
pub struct Answered {
    /// Its name.
    pub name: String,
    /// Its answer.
    pub closed: Arc<Closed>,
}

/// Runs and answers.
pub async fn run(engine: &Engine, caller: &Caller, asked: Asked) -> Result<Reached, Status> {
    let mut ready = prepare(engine, caller, asked, engine.host.config().gateway.run_deadline()).await?;
    match Box::pin(collected(engine, &mut ready)).await? {
        None => {}
        Some(Started::Reply(reply)) => return Ok(Reached::Reply(reply)),
        Some(Started::AtOnce) => {
            let run = Box::pin(open(engine, &mut ready)).await?;
            let name = ready.subject.version.agent.run(&run.run_id);
            return Ok(Reached::Run(triggers::taken(name)));
        }
    }
    let effects = ready.subject.compiled.plan.has_effects(ready.subject.entry);
    if !effects && ready.request_id.is_empty() {
        return light(engine, ready).await.map(Reached::Run);
    }
    // The run does not hang on its caller: both futures may be dropped, it goes on.
    Box::pin(journalled(engine, ready)).await.map(Reached::Run)
}

/// How a trigger wants its run started, where it does not want to wait for it.
enum Started {
    Reply(Reply),
    AtOnce,
}

/// Has a trigger collect what its run is about. Nothing for a skill.
async fn collected(engine: &Engine, ready: &mut Ready) -> Result<Option<Started>, Status> {
    let Some(request) = ready.routed.trigger.take() else { return Ok(None) };
    let mut new = ready.scope(sre_proto::ids::new_id(), launch::new_marker(), None, None);
    new.traced = None;
    let scope = Arc::new(RunScope::new(engine.clone(), new, &ready.routed.request));
    match triggers::collect(scope, &request).await? {
        Collected::Reply(reply) => Ok(Some(Started::Reply(reply))),
        Collected::Payloads(payloads) => {
            ready.routed.request.body =
                Value::object([(PAYLOADS.into(), Value::array(payloads.items))].into());
            if ready.request_id.is_empty() && !payloads.event.is_empty() {
                // However it is told, it is the same event; of another trigger it is another one, as senders number
                // their deliveries each for themselves.
                let agent = ready.subject.version.agent.to_string();
                let event = digest_of([&agent, &ready.routed.skill, &payloads.event]);
                ready.request_id = format!("trigger-{event}");
                ready.routed.digest = payloads.event;
            }
            Ok(payloads.at_once.then_some(Started::AtOnce))
        }
    }
}

/// Starts and answers once the run is durable.
pub async fn start(engine: &Engine, caller: &Caller, asked: Asked) -> Result<RunRecord, Status> {
    let mut ready = prepare(engine, caller, asked, engine.host.config().gateway.run_lifetime()).await?;
    if let Some(Started::Reply(_)) = Box::pin(collected(engine, &mut ready)).await? {
        let message = "the trigger answered by itself and started no run: use RunSkill";
        return Err(status(Code::FailedPrecondition, Reason::InvalidArgument, message));
    }
    Box::pin(open(engine, &mut ready)).await
}

async fn prepare(engine: &Engine, caller: &Caller, asked: Asked, usual: Duration) -> Result<Ready, Status> {
    let (agent, token, expires) = authorised(caller, &asked.agent)?;
    requests::request_id(&asked.request_id)?;
    let time = time_of(asked.timeout, usual)?;
    let root = acl::candidate_of(caller.root())?;
    let authority = Authority::presented(engine.host.tokens().clone(), token, expires);
    let link = authority.agent_link(engine.host.link(Role::Agent)).await?;
    let version = engine.plans.resolve(link.clone(), &agent, &asked.version).await?;
    let compiled = engine.plans.plan(link, &version).await?;
    let routed = requests::route(&compiled.plan, asked.wanted, &asked.session_id)?;
    let subject = Subject { version, compiled, entry: routed.entry, root: caller.root().into() };
    Ok(Ready {
        subject,
        authority,
        root,
        routed,
        request_id: asked.request_id,
        version_asked: asked.version,
        time,
        clock: engine.journal.clock().clone(),
        trace: TraceParent::current(),
    })
}

/// The agent that the caller's token is for, if it is the one asked for. The token service granted it only to
/// callers who may run that agent.
pub fn authorised(caller: &Caller, asked: &str) -> Result<(AgentName, Arc<str>, SystemTime), Status> {
    let asked = AgentName::parse("agent", asked)?;
    let claims = caller.token().filter(|claims| matches!(claims.purpose, Purpose::Run | Purpose::SubAgent));
    let (Some(claims), Some(token)) = (claims, caller.presented_token()) else {
        return Err(status(
            Code::PermissionDenied,
            Reason::MethodNotAllowed,
            "running an agent needs a token that was obtained for it: call through the gateway",
        ));
    };
    let agent = claims.agent.as_deref().map(|name| AgentName::parse("agent", name)).transpose()?;
    match agent.filter(|agent| agent.is_meant_by(&asked)) {
        Some(agent) => {
            let seconds = u64::try_from(claims.exp).unwrap_or_default();
            Ok((agent, token.clone(), UNIX_EPOCH + Duration::from_secs(seconds)))
        }
        None => {
            tracing::warn!(%asked, presenter = %caller.peer().spiffe_id(), "a token for another agent was presented");
            Err(status(Code::PermissionDenied, Reason::ScopeExceeded, "the token is for another agent"))
        }
    }
}

/// How long a run may take.
pub fn time_of(timeout: Option<prost_types::Duration>, usual: Duration) -> Result<Duration, Status> {
    let Some(timeout) = timeout else { return Ok(usual) };
    let time = Duration::try_from(timeout).ok().filter(|time| !time.is_zero() && *time <= LONGEST_RUN);
    time.ok_or_else(|| invalid_argument("timeout", "it must be longer than nothing and 30 days at most"))
}

/// Runs without a journal and answers; the summary follows behind.
async fn light(engine: &Engine, ready: Ready) -> Result<Answered, Status> {
    let _slot = engine.admission.light()?;
    let began = SystemTime::now();
    let id = sre_proto::ids::new_id();
    let marker = launch::new_marker();
    let new = ready.scope(id, marker.clone(), None, None);
    let Ready { root, routed, .. } = ready;
    let Routed { request, skill, .. } = routed;
    let scope = Arc::new(RunScope::new(engine.clone(), new, &request));
    trace::began(&scope);
    // What the engine settles by itself is only worth telling where somebody looks.
    let shown = scope.span.as_ref().is_some_and(RunSpan::is_recorded);
    let observe = if shown { Observe::Settled } else { Observe::default() };
    let run = begin(&scope, request, RunOptions { observe, ..RunOptions::default() }).await?;
    let ending = match Drive::light(scope.clone(), run).to_end().await {
        Ok((ending, tally)) => {
            engine.light_runs.add(&scope, tally);
            ending
        }
        Err(stopped) => return Err(internal("a run without a journal stopped", &stopped)),
    };
    let closed = ending.closed(None);
    trace::ended(&scope, ending.state(), &closed);
    // What fails before it is executed is not told here, so all that failed is said at the end.
    for failed in &closed.errors {
        engine.lines.write(&scope, &failed.component, LogLevel::Error, || {
            let error = scope.redactor().presentable_text(&failed.message);
            format!("{} ({}) failed: {error}", failed.component_type, failed.component)
        });
    }
    summarise(engine, &scope, &root, Summary { ending: &ending, closed: &closed, marker, skill, began });
    Ok(Answered { name: scope.subject.version.agent.run(&scope.id), closed: Arc::new(closed) })
}

struct Summary<'a> {
    ending: &'a Ending,
    closed: &'a Closed,
    marker: String,
    skill: String,
    began: SystemTime,
}

fn summarise(engine: &Engine, scope: &RunScope, root: &Candidate, summary: Summary<'_>) {
    let agent = &scope.subject.version.agent;
    if !engine.summaries.admits(&agent.team) {
        return;
    }
    let redactor = scope.redactor();
    let outcome = match redactor.is_empty() {
        true => summary.closed.encode_to_vec(),
        false => summary.ending.closed(Some(&redactor)).encode_to_vec(),
    };
    let Ok(acl) = acl::of_run(root, &agent.agent) else { return };
    engine.summaries.push(RunRecord {
        run_id: scope.id.clone(),
        team: agent.team.clone(),
        agent: agent.agent.clone(),
        caller: root.to_string(),
        kind: RunKind::Skill.into(),
        state: summary.ending.state().into(),
        create_time: Some(timestamp(summary.began)),
        end_time: Some(timestamp(SystemTime::now())),
        label: summary.skill,
        version: scope.subject.version.id.clone(),
        acl: Some((&acl).into()),
        spec: Spec { marker: summary.marker }.encode_to_vec().into(),
        outcome: outcome.into(),
        record_format: scope.subject.compiled.record_format(),
        ..RunRecord::default()
    });
}

/// Opens a run, and works on it or attaches to it until it ended.
async fn journalled(engine: &Engine, mut ready: Ready) -> Result<Answered, Status> {
    let run = open(engine, &mut ready).await?;
    let name = ready.subject.version.agent.run(&run.run_id);
    let ended = tokio::select! {
        ended = ended::wait(engine, &run.run_id) => ended?,
        status = engine.appends.unavailable_for(CALLERS_PATIENCE) => return Err(status),
    };
    let closed = match ended {
        Ended::Here(_, closed) => closed,
        Ended::Stored(stored) => {
            // Its secrets are resolved again under the authority of whoever asks again.
            let mut new = ready.scope(run.run_id, String::new(), None, None);
            new.traced = None;
            let scope = RunScope::new(engine.clone(), new, &RequestData::default());
            Arc::new(ended::restored_answer(&scope, &stored).await?)
        }
    };
    Ok(Answered { name, closed })
}

/// Makes a run durable and sees to it that somebody works on it. The row may be that of an earlier call with
/// the same request id.
async fn open(engine: &Engine, ready: &mut Ready) -> Result<RunRecord, Status> {
    let lease = engine.lease().await?;
    let grant = ready.authority.grant(ready.time).await?;
    match open_under(engine, ready, &grant, lease.clone()).await {
        // The journal was away for longer than the session lives; nothing was written.
        Err(status) if sre_proto::error::reason(&status) == Some(Reason::Fenced) => {
            let lease = engine.lease_after(&lease).await?;
            open_under(engine, ready, &grant, lease).await
        }
        answer => answer,
    }
}

async fn open_under(
    engine: &Engine,
    ready: &Ready,
    grant: &Arc<str>,
    lease: Lease,
) -> Result<RunRecord, Status> {
    let run_id = sre_proto::ids::new_id();
    let marker = launch::new_marker();
    let (first, request) = first_record(engine, ready, grant, &run_id, &marker)?;
    let entry = engine.admission.slot().and_then(|slot| Some((slot, engine.live.enter(&run_id)?)));
    let Some((slot, entry)) = entry else {
        let records = vec![engine.journal.apart(&run_id, first).await?];
        let answer = engine.journal.open(OpenRunRequest { records, ..request }).await?;
        engine.takeover.look(Claimable::Run);
        return answer.run.ok_or_else(|| internal("memory opened a run without naming it", &run_id));
    };
    let new = ready.scope(run_id, marker, Some(grant.clone()), Some((entry.run(), slot.clone())));
    let scope = Arc::new(RunScope::new(engine.clone(), new, &ready.routed.request));
    trace::began(&scope);
    let (opening, begun) = Opening::new(request, scope.opened.clone());
    let request = ready.routed.request.clone();
    let fresh = Fresh { scope, first, request, opening, lease, entry, slot };
    engine.host.spawn("run", Box::pin(launch::fresh(engine.clone(), fresh)));
    match begun.await {
        Ok(begun) => match begun? {
            Begun::Here(run) | Begun::Elsewhere(run) => Ok(run),
        },
        Err(_) => Err(launch::not_opened(engine)),
    }
}

/// The first record of a run, and what opens it.
fn first_record(
    engine: &Engine,
    ready: &Ready,
    grant: &str,
    run_id: &str,
    marker: &str,
) -> Result<(JournalRecord, OpenRunRequest), Status> {
    let Subject { version, compiled, entry, root } = &ready.subject;
    let request = StoredRequest::of(&ready.routed.request, &Redactor::new(marker));
    let opened = Opened {
        agent: version.agent.to_string(),
        version: version.id.clone(),
        digest: version.digest.clone(),
        entry_kind: EntryKind::Endpoint.into(),
        component: compiled.plan.entry_node(*entry).id.to_string(),
        request: Some(request.map_err(|error| internal("a request cannot be written", &error))?),
        resume_grant: grant.to_owned(),
        marker: marker.to_owned(),
        skill: ready.routed.skill.clone(),
        root: root.to_string(),
        time_ms: launch::milliseconds(ready.time),
        traceparent: ready.trace.as_str().to_owned(),
        ..Opened::default()
    };
    let row = RunRecord {
        run_id: run_id.to_owned(),
        team: version.agent.team.clone(),
        agent: version.agent.agent.clone(),
        caller: ready.root.to_string(),
        kind: RunKind::Skill.into(),
        deadline: Some(timestamp(engine.journal.clock().now() + ready.time)),
        spec: Spec { marker: marker.to_owned() }.encode_to_vec().into(),
        record_format: compiled.record_format(),
        acl: Some((&acl::of_run(&ready.root, &version.agent.agent)?).into()),
        label: ready.routed.skill.clone(),
        version: version.id.clone(),
        ..RunRecord::default()
    };
    let request = OpenRunRequest {
        run: Some(row),
        request_id: ready.request_id.clone(),
        input_digest: input_digest(ready),
        ..OpenRunRequest::default()
    };
    let mut first = record(RecordKind::Opened, None, &opened);
    if let Some(run) = &request.run {
        first.usage = usage::opened(run, ready.trace.trace_id()).unwrap_or_default();
    }
    Ok((first, request))
}

impl Ready {
    /// The scope of a run of it, which works here where `live` is.
    fn scope(
        &self,
        id: String,
        marker: String,
        grant: Option<Arc<str>>,
        live: Option<(&LiveRun, Slot)>,
    ) -> NewScope {
        let engine_waits = |clock: &StoreClock| Arc::new(Waits::new(clock.clone(), HashMap::new()));
        let (run, slot) = live.unzip();
        NewScope {
            id,
            subject: self.subject.clone(),
            marker,
            time: self.time,
            left: self.time,
            authority: self.authority.clone(),
            grant,
            cancel: run.map(|run| run.cancel.clone()).unwrap_or_default(),
            inbox: run.map(|run| run.inbox.clone()).unwrap_or_default(),
            events: run.map(|run| run.events.clone()).unwrap_or_default(),
            waits: slot.is_some().then(|| engine_waits(&self.clock)),
            slot,
            opened: CancellationToken::new(),
            epoch: 1,
            conversation: String::new(),
            traced: Some(self.trace.clone()),
            lineage: Default::default(),
            above: Vec::new(),
        }
    }
}

/// The same request id stands for the same input of the same agent.
fn input_digest(ready: &Ready) -> String {
    let agent = ready.subject.version.agent.to_string();
    format!("b3:{}", digest_of([&agent, &ready.version_asked, &ready.routed.digest]))
}

fn digest_of(texts: [&str; 3]) -> blake3::Hash {
    let mut digest = blake3::Hasher::new();
    for text in texts {
        digest.update(&(text.len() as u64).to_le_bytes());
        digest.update(text.as_bytes());
    }
    digest.finalize()
}
