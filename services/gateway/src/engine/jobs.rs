//! Jobs: the branches below Async components. A job is a run of its own, durable before the component that
//! started it goes on, and named by its parent and the effect's key: a repeated start finds the first one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use prost::Message as _;
use sre_components::{ContextError, Failure, JobStatus, JobView};
use sre_engine::{ActivationKey, Map, RequestData, Value};
use sre_proto::memory::v1::{OpenRunRequest, RecordKind, RunKind, RunRecord, RunState};
use tokio::time::Instant;

use super::acl;
use super::core::{internal, timestamp};
use super::ended::{self, Ended};
use super::job_id;
use super::journal::records::{EntryKind, Opened, Spec, StoredRequest, WaitKind, Waiting, record};
use super::journal::values::StoredValue;
use super::launch::{self, Claimable};
use super::redact::Redactor;
use super::scope::RunScope;

/// How long a job may take.
const TIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Starts the branch below an Async component of a run; gives the job's id.
pub async fn start(
    parent: &Arc<RunScope>,
    component: &str,
    idempotency_key: &str,
    input: Map,
) -> Result<String, ContextError> {
    let engine = &parent.engine;
    let invalid = |message: &str| ContextError::new(Failure::Internal, message);
    let run_id = sre_proto::ids::child_id(&parent.id, idempotency_key)
        .ok_or_else(|| invalid("the run has a malformed id"))?;
    let job_id = job_id::of_run(component, &run_id).ok_or_else(|| invalid("the job has a malformed id"))?;
    parent
        .subject
        .compiled
        .plan
        .fork(component)
        .ok_or_else(|| invalid("only an Async component can start a job"))?;
    let grant = parent.grant.clone().ok_or_else(|| invalid("a run without a journal cannot start jobs"))?;
    let version = &parent.subject.version;
    let root = acl::candidate_of(&parent.subject.root)?;
    let marker = launch::new_marker();
    let mut redactor = Redactor::new(marker.clone());
    parent.adopt_secrets(&mut redactor);
    let request = RequestData {
        method: parent.request.method.clone(),
        path: parent.request.path.clone(),
        session_id: Some(parent.session_id.trim_start_matches("rt-").to_owned()),
        ..RequestData::default()
    };
    let unwritable = |error| ContextError::from(internal("a job's input cannot be written", &error));
    let opened = Opened {
        agent: version.agent.to_string(),
        version: version.id.clone(),
        digest: version.digest.clone(),
        entry_kind: EntryKind::Job.into(),
        component: component.to_owned(),
        request: Some(StoredRequest::of(&request, &redactor).map_err(unwritable)?),
        resume_grant: grant.to_string(),
        marker: marker.clone(),
        skill: component.to_owned(),
        job_input: Some(StoredValue::of(&redactor.redact(&Value::object(input))).map_err(unwritable)?),
        job_id: job_id.clone(),
        root: parent.subject.root.to_string(),
        time_ms: launch::milliseconds(TIME),
        traceparent: parent.traceparent(),
        lineage: parent.lineage.to_kept(),
        above: parent.nesting.to_kept(),
        conversation: parent.conversation.clone(),
        ..Opened::default()
    };
    let run = RunRecord {
        run_id: run_id.clone(),
        team: version.agent.team.clone(),
        agent: version.agent.agent.clone(),
        caller: root.to_string(),
        kind: RunKind::Job.into(),
        parent_run: parent.id.clone(),
        idempotency_key: idempotency_key.to_owned(),
        deadline: Some(timestamp(engine.journal.clock().now() + TIME)),
        spec: Spec { marker }.encode_to_vec().into(),
        record_format: parent.subject.compiled.record_format(),
        acl: Some((&acl::of_run(&root, &version.agent.agent)?).into()),
        label: component.to_owned(),
        version: version.id.clone(),
        ..RunRecord::default()
    };
    let first = record(RecordKind::Opened, None, &opened);
    let first = engine.journal.apart(&run_id, first).await?;
    // Left for anybody with a slot, also this engine: it hears of it at once.
    let request =
        OpenRunRequest { run: Some(run), session: String::new(), records: vec![first], ..Default::default() };
    engine.journal.open(request).await?;
    engine.takeover.look(Claimable::Job);
    Ok(job_id)
}

/// Waits until so many of the jobs ended, none is pending, or the time is over. The wait is the activation's
/// so-many-eth.
pub async fn wait(
    scope: &Arc<RunScope>,
    key: &ActivationKey,
    place: u32,
    ids: &[String],
    count: usize,
    max: Duration,
) -> Result<Vec<JobView>, ContextError> {
    let mut views: Vec<JobView> = Vec::with_capacity(ids.len());
    let mut ends = FuturesUnordered::new();
    let mut pending: BTreeMap<usize, String> = BTreeMap::new();
    for (at, id) in ids.iter().enumerate() {
        let mut view = JobView { id: id.clone(), status: JobStatus::Unknown, output: None };
        if let Some(run) = find(scope, id).await? {
            if ended::is_ended(run.state()) {
                (view.status, view.output) = outcome(scope, Ended::Stored(Box::new(run))).await?;
            } else {
                view.status = JobStatus::Pending;
                pending.insert(at, run.run_id.clone());
                let engine = scope.engine.clone();
                ends.push(async move { (at, ended::wait_through(&engine, &run.run_id).await) });
            }
        }
        views.push(view);
    }
    let wanted = |views: &[JobView]| {
        views.iter().filter(|view| view.status != JobStatus::Pending).count() < count.min(views.len())
    };
    if !wanted(&views) {
        return Ok(views);
    }
    let runs = |pending: &BTreeMap<usize, String>| pending.values().cloned().collect::<Vec<_>>();
    if scope.waits.is_some() {
        scope.opened.cancelled().await;
    }
    let clock = scope.engine.journal.clock();
    let (left, wait) = match &scope.waits {
        Some(waits) => {
            let waiting = Waiting {
                kind: WaitKind::Jobs.into(),
                until_ms: clock.now_ms() + launch::milliseconds(max),
                runs: runs(&pending),
                place,
                ..Waiting::default()
            };
            let (waiting, wait) = waits.begin(key, waiting, None);
            wait.for_runs(runs(&pending));
            (clock.until(waiting.until_ms), Some(wait))
        }
        None => (max, None),
    };
    let until = Instant::now() + left;
    while wanted(&views) {
        let next = tokio::select! {
            () = tokio::time::sleep_until(until) => break,
            () = scope.cancel.token().cancelled() => break,
            next = ends.next() => next,
        };
        let Some((at, ended)) = next else { break };
        pending.remove(&at);
        if let Some(wait) = &wait {
            wait.for_runs(runs(&pending));
        }
        if let Some(view) = views.get_mut(at) {
            (view.status, view.output) = outcome(scope, ended?).await?;
        }
    }
    Ok(views)
}

/// The run of a job id, if it is a job of this agent.
async fn find(scope: &RunScope, id: &str) -> Result<Option<RunRecord>, ContextError> {
    let Some(run_id) = job_id::to_run(id) else { return Ok(None) };
    let run = ended::find_through(&scope.engine, &run_id).await?;
    let agent = &scope.subject.version.agent;
    Ok(run.filter(|run| {
        run.kind() == RunKind::Job
            && run.team == agent.team
            && run.agent == agent.agent
            && job_id::of_run(&run.label, &run_id).as_deref() == Some(id)
    }))
}

async fn outcome(scope: &RunScope, ended: Ended) -> Result<(JobStatus, Option<Value>), ContextError> {
    let (state, closed) = match ended {
        Ended::Here(state, closed) => (state, closed),
        Ended::Stored(run) if run.state() == RunState::Done => {
            (RunState::Done, Arc::new(ended::restored_answer(scope, &run).await?))
        }
        Ended::Stored(run) => (run.state(), Arc::default()),
    };
    Ok(match state {
        RunState::Done => (JobStatus::Done, Some(closed.legacy_value())),
        _ => (JobStatus::Failed, None),
    })
}
