//! Runs as those see them who may: one, many, cancelled, deleted.

use std::time::Duration;

use futures::StreamExt as _;
use sre_identity::Caller;
use sre_proto::error::{Reason, invalid_argument, status};
use sre_proto::gateway::v1 as gateway;
use sre_proto::memory::v1::{
    ListRunsRequest as StoredListRequest, PendingSignal, RunKind, RunRecord, RunState, SignalRequest,
    SignalResponse,
};
use sre_proto::{AccessLevel, Guarded};
use sre_service::Granted;
use tonic::{Code, Status};

use super::acl;
use super::answers::{Closed, ValueView};
use super::core::Engine;
use super::ended::{self, is_ended};
use super::live::CANCEL;
use super::names::{AgentName, RunName, no_such_run};
use super::scope::RunScope;

/// How long an answer waits for a cancelled run to end.
const CANCELLING: Duration = Duration::from_secs(2);
/// How long an answer waits for a run to stand, or to go on.
const STEERING: Duration = Duration::from_secs(2);
const JOBS_PER_PAGE: i32 = 500;
const REASON_CHARACTERS: usize = 1024;

/// A run that the caller may do this with.
pub async fn authorised<R: Guarded>(
    engine: &Engine,
    caller: &Caller,
    request: &R,
    name: &str,
) -> Result<(RunRecord, Granted), Status> {
    let asked = RunName::parse("name", name)?;
    let found = engine.journal.find(&asked.run_id).await?;
    let found = found.filter(|run| of_record(run).is_meant_by(&asked.agent));
    let acl = found.as_ref().map(|run| acl::of_record(run.acl.as_ref())).transpose()?;
    let granted = engine.host.authorizer().check(caller, request, acl.as_ref()).await?;
    found.map(|run| (run, granted)).ok_or_else(|| no_such_run(name))
}

/// The agent of a stored run.
pub fn of_record(run: &RunRecord) -> AgentName {
    AgentName { team: run.team.clone(), agent: run.agent.clone() }
}

/// Lists the runs that the caller may see: all of them, or its own.
pub async fn list(
    engine: &Engine,
    caller: &Caller,
    request: gateway::ListRunsRequest,
) -> Result<gateway::ListRunsResponse, Status> {
    let parent = AgentName::parse("parent", &request.parent)?;
    let authorizer = engine.host.authorizer();
    let all = authorizer.may(caller, &request.resource(), AccessLevel::Read, None).await?;
    let name = authorizer.resolve_name(caller, &request.parent).await?;
    let agent = AgentName::parse("parent", &name)?;
    let own = if all {
        String::new()
    } else {
        // Whoever started a run owns it; a member of the team may have.
        if authorizer.memberships(caller).await?.role_in(&agent.team).is_none() {
            // Not a member: the check refuses and says so in the audit.
            let _ = authorizer.check(caller, &request, None).await?;
        }
        caller.require_candidate()?.to_string()
    };
    if request.page_size < 0 {
        return Err(invalid_argument("page_size", "it cannot be negative"));
    }
    let page = engine
        .journal
        .list(StoredListRequest {
            team: agent.team,
            agent: parent.agent,
            caller: own,
            state: stored_state(request.state()).into(),
            page_size: request.page_size,
            page_token: request.page_token,
            ..StoredListRequest::default()
        })
        .await?;
    Ok(gateway::ListRunsResponse {
        runs: page.runs.iter().map(|run| message(run, None)).collect(),
        next_page_token: page.next_page_token,
    })
}

/// Cancels a run and waits a moment for its end. A finished run stays as it is.
pub async fn cancel(engine: &Engine, run: RunRecord, reason: &str) -> Result<RunRecord, Status> {
    if reason.chars().count() > REASON_CHARACTERS {
        return Err(invalid_argument("reason", format!("it has {REASON_CHARACTERS} characters at most")));
    }
    if is_ended(run.state()) {
        return Ok(run);
    }
    if !signal(engine, &run.run_id, CANCEL, CANCEL, reason).await?.ended {
        let _ = tokio::time::timeout(CANCELLING, ended::wait(engine, &run.run_id)).await;
    }
    engine.journal.run(&run.run_id).await
}

/// Pauses a run and waits a moment until it stands. What is under way is finished first.
pub async fn pause(engine: &Engine, run: RunRecord) -> Result<RunRecord, Status> {
    refuse_ended(run.state(), "paused")?;
    if run.state() == RunState::Paused {
        return Ok(run);
    }
    steer(engine, run, "pause", |state| state == RunState::Paused).await
}

/// Resumes a paused run.
pub async fn resume(engine: &Engine, run: RunRecord) -> Result<RunRecord, Status> {
    refuse_ended(run.state(), "resumed")?;
    steer(engine, run, "resume", |state| state != RunState::Paused).await
}

fn refuse_ended(state: RunState, what: &str) -> Result<(), Status> {
    if is_ended(state) {
        let message = format!("a run that ended cannot be {what}");
        return Err(status(Code::FailedPrecondition, Reason::RunState, message));
    }
    Ok(())
}

/// Signals a run and waits a moment until it stands as wished, or ended.
async fn steer(
    engine: &Engine,
    run: RunRecord,
    kind: &str,
    stands: impl Fn(RunState) -> bool,
) -> Result<RunRecord, Status> {
    // Each is a signal of its own: a run may be paused again.
    let id = format!("{kind}/{}", sre_proto::ids::new_uuid());
    let answer = signal(engine, &run.run_id, &id, kind, "").await?;
    if answer.ended {
        refuse_ended(answer.state(), if kind == "pause" { "paused" } else { "resumed" })?;
    }
    let stood = async {
        loop {
            let Ok(mut pages) = engine.journal.tail(&run.run_id, run.next_sequence - 1).await else { return };
            while let Some(Ok(page)) = pages.next().await {
                if stands(page.state()) || is_ended(page.state()) {
                    return;
                }
            }
        }
    };
    let _ = tokio::time::timeout(STEERING, stood).await;
    engine.journal.run(&run.run_id).await
}

/// Signals a run. Durable first: whoever owns it, now or next, reads it.
pub async fn signal(
    engine: &Engine,
    run_id: &str,
    id: &str,
    kind: &str,
    body: &str,
) -> Result<SignalResponse, Status> {
    let signal =
        PendingSignal { signal_id: id.to_owned(), kind: kind.to_owned(), body: body.to_owned().into() };
    let kept = SignalRequest { run_id: run_id.to_owned(), signal: Some(signal.clone()) };
    let answer = engine.journal.signal(kept).await?;
    if !answer.ended
        && let Some(live) = engine.live.get(run_id)
    {
        live.signal(signal);
    }
    Ok(answer)
}

/// Cancels the jobs of a run that is cancelled. One that cannot be reached in time goes on to its own end.
pub async fn cancel_jobs(scope: &RunScope, reason: &str) {
    let cancelled = tokio::time::timeout(CANCELLING, async {
        let agent = &scope.subject.version.agent;
        let mut page_token = String::new();
        loop {
            let page = scope
                .engine
                .journal
                .list(StoredListRequest {
                    team: agent.team.clone(),
                    agent: agent.agent.clone(),
                    parent_run: scope.id.clone(),
                    page_size: JOBS_PER_PAGE,
                    page_token,
                    ..StoredListRequest::default()
                })
                .await?;
            for run in page.runs.iter().filter(|run| !is_ended(run.state()) && run.parent_run == scope.id) {
                signal(&scope.engine, &run.run_id, CANCEL, CANCEL, reason).await?;
            }
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok::<_, Status>(());
            }
        }
    });
    match cancelled.await {
        Ok(Ok(())) => {}
        Ok(Err(status)) => tracing::warn!(run = scope.id, %status, "jobs of a cancelled run go on"),
        Err(_) => tracing::warn!(run = scope.id, "jobs of a cancelled run were not cancelled in time"),
    }
}

/// A run with its result, once it ended.
pub fn whole(run: &RunRecord) -> Result<gateway::Run, Status> {
    let closed = match is_ended(run.state()) && !run.outcome.is_empty() {
        true => Some(ended::presentable_answer(run)?),
        false => None,
    };
    Ok(message(run, closed.as_ref()))
}

/// A run as a message.
pub fn message(run: &RunRecord, closed: Option<&Closed>) -> gateway::Run {
    let agent = of_record(run);
    gateway::Run {
        name: agent.run(&run.run_id),
        kind: kind(run.kind()).into(),
        state: state(run.state()).into(),
        skill: run.label.clone(),
        version: run.version.clone(),
        caller: run.caller.clone(),
        parent: if run.parent_run.is_empty() { String::new() } else { agent.run(&run.parent_run) },
        create_time: run.create_time,
        end_time: run.end_time,
        result: closed.map(|closed| closed.result(ValueView::None)),
        legacy_json: closed.map(|closed| closed.legacy.clone()).unwrap_or_default(),
    }
}

/// A state as clients see it: whether a run is owned already makes no difference to them.
pub fn state(state: RunState) -> gateway::RunState {
    match state {
        RunState::Unspecified => gateway::RunState::Unspecified,
        RunState::Queued => gateway::RunState::Queued,
        RunState::Ready | RunState::Leased => gateway::RunState::Running,
        RunState::Waiting => gateway::RunState::Waiting,
        RunState::Paused => gateway::RunState::Paused,
        RunState::Done => gateway::RunState::Done,
        RunState::Failed => gateway::RunState::Failed,
        RunState::Cancelled => gateway::RunState::Cancelled,
    }
}

fn stored_state(state: gateway::RunState) -> RunState {
    match state {
        gateway::RunState::Unspecified => RunState::Unspecified,
        gateway::RunState::Queued => RunState::Queued,
        gateway::RunState::Running => RunState::Leased,
        gateway::RunState::Waiting => RunState::Waiting,
        gateway::RunState::Paused => RunState::Paused,
        gateway::RunState::Done => RunState::Done,
        gateway::RunState::Failed => RunState::Failed,
        gateway::RunState::Cancelled => RunState::Cancelled,
    }
}

fn kind(kind: RunKind) -> gateway::RunKind {
    match kind {
        RunKind::Unspecified => gateway::RunKind::Unspecified,
        RunKind::Skill => gateway::RunKind::Skill,
        RunKind::Job => gateway::RunKind::Job,
        RunKind::Turn => gateway::RunKind::Turn,
        RunKind::Debug => gateway::RunKind::Debug,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_map_there_and_back_except_that_clients_see_no_ownership() {
        for number in 1..=7 {
            let shown = gateway::RunState::try_from(number).unwrap();
            assert_eq!(state(stored_state(shown)), shown);
        }
        assert_eq!(state(RunState::Ready), gateway::RunState::Running);
    }

    #[test]
    fn a_run_is_named_under_its_agent_and_its_parent_too() {
        let run = RunRecord {
            run_id: "00-x".into(),
            team: "t".into(),
            agent: "a".into(),
            parent_run: "00-p".into(),
            kind: RunKind::Job.into(),
            ..Default::default()
        };
        let message = message(&run, None);
        assert_eq!(message.name, "teams/t/agents/a/runs/00-x");
        assert_eq!(message.parent, "teams/t/agents/a/runs/00-p");
        assert_eq!(message.kind(), gateway::RunKind::Job);
    }
}
