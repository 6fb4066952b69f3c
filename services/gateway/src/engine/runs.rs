//! Runs as those see them who may: one, many, cancelled, deleted.

use std::time::Duration;

use sre_identity::Caller;
use sre_proto::error::invalid_argument;
use sre_proto::gateway::v1 as gateway;
use sre_proto::memory::v1::{
    ListRunsRequest as StoredListRequest, PendingSignal, RunKind, RunRecord, RunState, SignalRequest,
};
use sre_proto::{AccessLevel, Guarded};
use sre_service::Granted;
use tonic::Status;

use super::acl;
use super::answers::{Closed, ValueView};
use super::core::Engine;
use super::ended::{self, is_ended};
use super::names::{AgentName, RunName, no_such_run};

/// How long an answer waits for a cancelled run to end.
const CANCELLING: Duration = Duration::from_secs(2);
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
    let signal =
        PendingSignal { signal_id: "cancel".into(), kind: "cancel".into(), body: reason.to_owned().into() };
    // Durable first: whoever owns the run, now or next, reads it.
    let kept = SignalRequest { run_id: run.run_id.clone(), signal: Some(signal.clone()) };
    let answer = engine.journal.signal(kept).await?;
    if !answer.ended {
        if let Some(live) = engine.live.get(&run.run_id) {
            live.cancel.signal(&signal);
        }
        let _ = tokio::time::timeout(CANCELLING, ended::wait(engine, &run.run_id)).await;
    }
    engine.journal.run(&run.run_id).await
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
