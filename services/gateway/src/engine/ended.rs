//! Waiting for a run's end and reading its answer, whichever engine works on it.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use prost::Message as _;
use sre_proto::error::Reason;
use sre_proto::memory::v1::{RunRecord, RunState};
use tonic::Status;

use super::answers::{Closed, Ending};
use super::core::{Engine, internal};
use super::journal::queue::worth_repeating;
use super::journal::records::Spec;
use super::live::Over;
use super::redact::Redactor;
use super::scope::RunScope;

/// Wait before a broken stream is opened again.
const RETRY: Duration = Duration::from_millis(100);

/// A run that ended.
pub enum Ended {
    /// Here, a moment ago: the answer as it was given.
    Here(RunState, Arc<Closed>),
    /// Somewhere, some time: its row, with an answer whose secrets are markers.
    Stored(Box<RunRecord>),
}

/// Whether a run of this state has ended.
pub fn is_ended(state: RunState) -> bool {
    matches!(state, RunState::Done | RunState::Failed | RunState::Cancelled)
}

/// The answer of an ended run's row, with markers in place of secrets.
pub fn stored_answer(run: &RunRecord) -> Result<(Closed, Redactor), Status> {
    let closed = match ended_by_the_store(&run.outcome) {
        Some(closed) => closed,
        None => Closed::decode(run.outcome.clone())
            .map_err(|error| internal("a stored answer does not decode", &error))?,
    };
    let spec = Spec::decode(run.spec.clone());
    let spec = spec.map_err(|error| internal("a stored run does not decode", &error))?;
    Ok((closed, Redactor::new(spec.marker)))
}

/// The store ends a run that brings its owners down in words of its own: it knows no answers.
fn ended_by_the_store(outcome: &[u8]) -> Option<Closed> {
    let words: serde_json::Value = serde_json::from_slice(outcome).ok()?;
    let message = words.get("message")?.as_str()?.to_owned();
    Some(Ending::Broken(Reason::Internal, message).closed(None))
}

/// The answer of an ended run for people: secrets as their references.
pub fn presentable_answer(run: &RunRecord) -> Result<Closed, Status> {
    let (closed, redactor) = stored_answer(run)?;
    Ok(closed.map(|value| redactor.presentable(value)))
}

/// The answer of an ended run as it was given, its secrets resolved again by the authority of `scope`.
pub async fn restored_answer(scope: &RunScope, run: &RunRecord) -> Result<Closed, Status> {
    let (closed, mut redactor) = stored_answer(run)?;
    let names = closed.secret_names(&redactor);
    if names.is_empty() {
        return Ok(closed);
    }
    scope.learn(&names.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    scope.adopt_secrets(&mut redactor);
    Ok(closed.map(|value| redactor.restore(value)))
}

/// Waits until a run ended.
pub async fn wait(engine: &Engine, run_id: &str) -> Result<Ended, Status> {
    loop {
        if let Some(mut live) = engine.live.get(run_id) {
            let over = live.over.wait_for(Option::is_some).await.map(|over| over.clone()).ok().flatten();
            if let Some(Over::Closed(state, closed)) = over {
                return Ok(Ended::Here(state, closed));
            }
        }
        let run = engine.journal.run(run_id).await?;
        if is_ended(run.state()) {
            return Ok(Ended::Stored(Box::new(run)));
        }
        if engine.live.get(run_id).is_none() {
            follow(engine, run_id, run.next_sequence - 1).await;
        }
    }
}

/// [`wait`] for runs that have the time to wait until a store that is away comes back.
pub async fn wait_through(engine: &Engine, run_id: &str) -> Result<Ended, Status> {
    loop {
        match wait(engine, run_id).await {
            Err(status) if worth_repeating(&status) => tokio::time::sleep(RETRY).await,
            ended => return ended,
        }
    }
}

/// A run, or none; from a store that may be away for a while.
pub async fn find_through(engine: &Engine, run_id: &str) -> Result<Option<RunRecord>, Status> {
    loop {
        match engine.journal.find(run_id).await {
            Err(status) if worth_repeating(&status) => tokio::time::sleep(RETRY).await,
            found => return found,
        }
    }
}

/// Ready when the run ended, or when it is worth looking again.
async fn follow(engine: &Engine, run_id: &str, after: i64) {
    if let Ok(mut pages) = engine.journal.tail(run_id, after).await {
        while let Some(Ok(page)) = pages.next().await {
            if is_ended(page.state()) {
                return;
            }
        }
    }
    tokio::time::sleep(RETRY).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_the_store_ended_can_be_read() {
        let words = r#"{"error":"poison","message":"claimed 5 times"}"#;
        let run = RunRecord { outcome: words.into(), ..RunRecord::default() };
        let failure = presentable_answer(&run).unwrap().failure.unwrap();
        assert_eq!((failure.reason.as_str(), failure.message.as_str()), ("INTERNAL", "claimed 5 times"));
        let answered = Closed { legacy: "[]".into(), ..Closed::default() };
        let run = RunRecord { outcome: answered.encode_to_vec().into(), ..RunRecord::default() };
        assert_eq!(presentable_answer(&run).unwrap(), answered);
    }
}
