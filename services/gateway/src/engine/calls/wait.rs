//! Waiting for the end of a call, without the run's slot and, where it takes long, without its place in memory.

use std::collections::BTreeSet;

use sre_components::context::calls::{CallError, CallFailure};
use sre_proto::error::Reason;
use sre_proto::gateway::v1::run_event::Event;
use sre_proto::gateway::v1::turn_event::Event as Turn;
use sre_proto::gateway::v1::{ContentChunk, RunFailure, TurnEvent};
use sre_proto::memory::v1::{RunRecord, RunState};

use super::{Caller, failure};
use crate::engine::ended::{self, Ended};
use crate::engine::events::Transient;
use crate::engine::journal::queue::worth_repeating;
use crate::engine::journal::records::{WaitKind, Waiting};
use crate::engine::live::{CANCEL, Hearing};
use crate::engine::{runs, scope::RunScope};

const RETRY: std::time::Duration = std::time::Duration::from_millis(100);

/// Waits for a run's end. What its components pass through on the way goes on to the watchers of the run that calls, as
/// long as both are this engine's: pieces are not kept, and all of them are in the answer.
pub(super) async fn for_end(caller: &Caller, run_id: &str, mut hearing: Hearing) -> Result<Ended, CallError> {
    let end = end_of(caller, run_id);
    tokio::pin!(end);
    let ended = loop {
        tokio::select! {
            biased;
            heard = hearing.next() => pass_on(caller, heard),
            ended = &mut end => break ended,
        }
    };
    while let Some(heard) = hearing.left() {
        pass_on(caller, heard);
    }
    ended
}

/// Words of a component that passes them through, in the skill that is called or in a tool of a talk. What a talk's own
/// model says is its component's to tell.
fn pass_on(caller: &Caller, heard: Transient) {
    let (text, thinking) = match heard.event {
        Event::Content(piece) => (piece.text, piece.thinking),
        Event::Turn(TurnEvent { event: Some(Turn::Content(piece)) }) if piece.passed_through => {
            (piece.text, false)
        }
        Event::Turn(TurnEvent { event: Some(Turn::Thinking(piece)) }) if piece.passed_through => {
            (piece.text, true)
        }
        _ => return,
    };
    let component = || caller.key.component.to_string();
    caller.scope.events.emit(|| Event::Content(ContentChunk { component: component(), text, thinking }));
}

async fn end_of(caller: &Caller, run_id: &str) -> Result<Ended, CallError> {
    let scope = &caller.scope;
    if scope.waits.is_some() {
        scope.opened.cancelled().await;
    }
    let _wait = scope.waits.as_ref().map(|waits| {
        let waiting = Waiting {
            kind: WaitKind::Jobs.into(),
            runs: vec![run_id.to_owned()],
            place: caller.place,
            ..Waiting::default()
        };
        let (_, wait) = waits.begin(&caller.key, waiting, None);
        wait.for_runs(vec![run_id.to_owned()]);
        wait
    });
    let ended = scope.lend(ended::wait_through(&scope.engine, run_id));
    ended.await.map_err(|status| failure(&status))
}

/// The row of an ended run.
pub(super) async fn row(caller: &Caller, run_id: &str) -> Result<RunRecord, CallError> {
    loop {
        match caller.scope.engine.journal.run(run_id).await {
            Err(status) if worth_repeating(&status) => tokio::time::sleep(RETRY).await,
            found => return found.map_err(|status| failure(&status)),
        }
    }
}

/// Why a run as a whole failed.
pub(super) fn of_failure(what: &str, state: RunState, ended: &RunFailure) -> CallError {
    let named = |reason: Reason| ended.reason == sre_proto::error::name(reason);
    let kind = match state {
        RunState::Cancelled => CallFailure::Cancelled,
        _ if named(Reason::DeadlineExceeded) => CallFailure::Timeout,
        _ if named(Reason::RoleUnavailable) || named(Reason::BackendUnavailable) => CallFailure::Unavailable,
        _ => CallFailure::Failed,
    };
    match what {
        "" => CallError::new(kind, ended.message.clone()),
        what => CallError::new(kind, format!("{what} failed: {}", ended.message)),
    }
}

/// Cancels what the components of a run call when the run ends before they do.
pub async fn cancel_calls(scope: &RunScope, reason: &str) {
    let Some(waits) = &scope.waits else { return };
    let waited = waits.recorded().into_iter().map(|(_, waiting)| waiting);
    // A wait for jobs has an end of its own, and jobs are cancelled by whoever started them.
    let waited = waited.filter(|waiting| waiting.kind() == WaitKind::Jobs && waiting.until_ms == 0);
    let calls: BTreeSet<String> = waited.flat_map(|waiting| waiting.runs).collect();
    for run in &calls {
        if let Err(status) = runs::signal(&scope.engine, run, CANCEL, CANCEL, reason).await {
            tracing::warn!(run = scope.id, call = run, %status, "what a cancelled run called goes on");
        }
    }
}
