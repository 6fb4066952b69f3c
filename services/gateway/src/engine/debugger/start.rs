//! Starting a session: who may, of what, and its first cycle.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prost::Message as _;
use sre_engine::{EntryId, Map, RequestData};
use sre_identity::{Acl, Caller};
use sre_proto::error::{Reason, status};
use sre_proto::gateway::v1::DebugStep;
use sre_proto::memory::v1::{OpenRunRequest, RecordKind, RunKind, RunRecord, RunState};
use sre_service::Role;
use tonic::{Code, Status};

use super::commands::{self, aside};
use super::names::{self, SessionName};
use super::session::{self, Held, Stored, Taken};
use crate::engine::acl;
use crate::engine::authority::Authority;
use crate::engine::core::{Engine, internal, timestamp};
use crate::engine::ended::is_ended;
use crate::engine::fold::LONGEST_RUN;
use crate::engine::journal::formats;
use crate::engine::journal::records::{EntryKind, Opened, Spec, StoredRequest, record};
use crate::engine::launch;
use crate::engine::plans::{Compiled, Version};
use crate::engine::redact::Redactor;
use crate::engine::requests::{self, Wanted};
use crate::engine::start::authorised;

/// The authority of a session, which may be kept for long; its rights are checked with every use.
const GRANTED_FOR: Duration = LONGEST_RUN;

/// What is to be debugged.
#[derive(Default)]
pub struct Asked {
    /// The agent, as the caller names it.
    pub agent: String,
    /// What to call; none starts with nothing active.
    pub wanted: Option<Wanted>,
    /// The session of components' memory.
    pub session_id: String,
    /// Which version.
    pub version: String,
    /// The debug session's id; empty makes one.
    pub id: String,
    /// Components before which it stops.
    pub breakpoints: Vec<String>,
    /// Outputs that stand for executions.
    pub mocks: Map,
}

/// What may be started.
struct Ready {
    name: SessionName,
    version: Version,
    compiled: Arc<Compiled>,
    authority: Authority,
    root: String,
    called: Option<(EntryId, RequestData)>,
    request: RequestData,
    label: String,
    breakpoints: Vec<String>,
    mocks: Map,
}

/// Starts a session for a caller who may write the definition; where something is called, its endpoint runs.
pub async fn start(engine: &Engine, caller: &Caller, asked: Asked) -> Result<DebugStep, Status> {
    let ready = prepare(engine, caller, asked).await?;
    let engine_too = engine.clone();
    aside(engine, Box::pin(async move { Box::pin(begin(&engine_too, ready)).await })).await
}

async fn prepare(engine: &Engine, caller: &Caller, asked: Asked) -> Result<Ready, Status> {
    let (agent, token, expires) = authorised(caller, &asked.agent)?;
    let mut authority = Authority::presented(engine.host.tokens().clone(), token, expires);
    let link = authority.agent_link(engine.host.link(Role::Agent)).await?;
    let version = engine.plans.resolve(link.clone(), &agent, &asked.version).await?;
    let compiled = engine.plans.plan(link, &version).await?;
    let plan = &compiled.plan;
    commands::check_breakpoints(plan, &asked.breakpoints)?;
    let id = if asked.id.is_empty() { names::new_id("dbg") } else { asked.id };
    let name = SessionName::new(version.agent.clone(), &id)?;
    let (called, request, label) = match asked.wanted {
        Some(wanted) => {
            let routed = requests::route(plan, wanted, &asked.session_id)?.not_a_trigger()?;
            (Some((routed.entry, routed.request.clone())), routed.request, routed.skill)
        }
        None => {
            let session_id = Some(asked.session_id).filter(|id| !id.is_empty());
            (None, RequestData { session_id, ..RequestData::default() }, String::new())
        }
    };
    // Before anything is written: an agent without an endpoint cannot be debugged.
    session::entry_of(plan, "")?;
    authority.grant(GRANTED_FOR).await?;
    Ok(Ready {
        name,
        version,
        compiled,
        authority,
        root: caller.root().to_owned(),
        called,
        request,
        label,
        breakpoints: asked.breakpoints,
        mocks: asked.mocks,
    })
}

async fn begin(engine: &Engine, mut ready: Ready) -> Result<DebugStep, Status> {
    let mut lease = engine.lease().await?;
    let opened = opened(&mut ready).await?;
    let row = loop {
        let request = opening(engine, &ready, &opened, lease.id()).await?;
        match engine.journal.open(request).await {
            Ok(answer) => {
                let row = answer
                    .run
                    .ok_or_else(|| internal("memory opened a session without naming it", &ready.name))?;
                match answer.attached {
                    false => break row,
                    // One of this id ended a while ago: it makes room.
                    true if is_ended(row.state()) => engine.journal.delete(&row.run_id).await?,
                    true => return Err(taken_already(&ready.name)),
                }
            }
            Err(refused) => match sre_proto::error::reason(&refused) {
                Some(Reason::Fenced) => lease = engine.lease_after(&lease).await?,
                Some(Reason::AlreadyExists) => {
                    match engine.journal.find_named(&ready.name.owner(), &ready.name.id).await? {
                        Some(row) if is_ended(row.state()) => engine.journal.delete(&row.run_id).await?,
                        _ => return Err(taken_already(&ready.name)),
                    }
                }
                _ => return Err(refused),
            },
        }
    };
    let held = match row.state() {
        RunState::Leased => Held::own(engine, row, lease).await?,
        // The team has as many as it may: sessions of people do not wait behind runs.
        _ => Held::take(engine, &row).await?.0,
    };
    let stored = Stored { opened, last: None, time: engine.journal.clock().now() };
    let taken = Taken::restore(engine, ready.name, held, &stored).await;
    let taken = match taken {
        Ok(taken) => taken,
        Err((held, status)) => {
            if let Err(error) = held.end(RunState::Failed, None).await {
                tracing::debug!(%error, "a debug session that cannot begin was not ended");
            }
            return Err(status);
        }
    };
    first(taken, ready.called, ready.breakpoints, ready.mocks).await
}

async fn first(
    mut taken: Taken,
    called: Option<(EntryId, RequestData)>,
    breakpoints: Vec<String>,
    mocks: Map,
) -> Result<DebugStep, Status> {
    taken.breakpoints = breakpoints;
    if let Err(error) = taken.run.set_mocks(mocks) {
        taken.end(RunState::Failed).await?;
        return Err(sre_proto::error::invalid_argument("mocks", error.to_string()));
    }
    let mut reports = Vec::new();
    if let Some((entry, request)) = called {
        taken.run.call_again(entry, request);
        match commands::cycle(&mut taken).await {
            Ok(report) => reports.push(report),
            Err(status) => {
                taken.end(RunState::Failed).await?;
                return Err(status);
            }
        }
    }
    let legacy = reports.last().map(|report| report.legacy_step_json(&taken.name.id));
    let step = commands::told(&taken, &reports, legacy.as_ref(), None);
    taken.put_back("start").await?;
    Ok(step)
}

async fn opened(ready: &mut Ready) -> Result<Opened, Status> {
    let marker = launch::new_marker();
    let grant = ready.authority.grant(GRANTED_FOR).await?;
    let request = StoredRequest::of(&ready.request, &Redactor::new(marker.clone()));
    let component =
        ready.called.as_ref().map(|(entry, _)| ready.compiled.plan.entry_node(*entry).id.to_string());
    Ok(Opened {
        agent: ready.version.agent.to_string(),
        version: ready.version.id.clone(),
        digest: ready.version.digest.clone(),
        entry_kind: EntryKind::Endpoint.into(),
        component: component.unwrap_or_default(),
        request: Some(request.map_err(|error| internal("a request cannot be written", &error))?),
        resume_grant: grant.to_string(),
        marker,
        skill: ready.label.clone(),
        root: ready.root.clone(),
        time_ms: launch::milliseconds(LONGEST_RUN),
        debug_session: ready.name.id.clone(),
        ..Opened::default()
    })
}

async fn opening(
    engine: &Engine,
    ready: &Ready,
    opened: &Opened,
    session: &str,
) -> Result<OpenRunRequest, Status> {
    let run_id = sre_proto::ids::new_id();
    let root = acl::candidate_of(&ready.root)?;
    let first = record(RecordKind::Opened, None, opened);
    Ok(OpenRunRequest {
        run: Some(RunRecord {
            run_id: run_id.clone(),
            team: ready.version.agent.team.clone(),
            agent: ready.version.agent.agent.clone(),
            caller: ready.name.owner(),
            kind: RunKind::Debug.into(),
            deadline: Some(timestamp(engine.journal.clock().now() + LONGEST_RUN)),
            spec: Spec { marker: opened.marker.clone() }.encode_to_vec().into(),
            record_format: formats::WAITS.max(ready.compiled.record_format()),
            // Whoever started it, and nobody else: the agent does not debug itself.
            acl: Some((&Acl::owned_by(&root)).into()),
            label: ready.name.id.clone(),
            version: ready.version.id.clone(),
            ..RunRecord::default()
        }),
        session: session.to_owned(),
        records: vec![engine.journal.apart(&run_id, first).await?],
        request_id: ready.name.id.clone(),
        // Of no input: what counts is the id alone.
        input_digest: format!(
            "debug/{}",
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |t| t.as_nanos())
        ),
    })
}

fn taken_already(name: &SessionName) -> Status {
    status(
        Code::AlreadyExists,
        Reason::AlreadyExists,
        format!("the debug session {name} is open: step it, or choose another id"),
    )
}
