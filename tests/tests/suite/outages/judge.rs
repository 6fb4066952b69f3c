//! What outcomes must be like.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::DEADLINE;
use super::calls::Call;
use super::trouble::Trouble;
use crate::harness::load::Outcome;

/// What a busy machine may add to a deadline.
const SLACK: Duration = Duration::from_secs(2);
/// A call that began just when it did may still be answered.
const EDGE: Duration = Duration::from_millis(200);

/// Failures that come late, or do not say what is wrong; one example of each kind.
pub fn unclear(outcomes: &[Outcome], from: Instant) -> Vec<String> {
    let mut wrong = BTreeMap::new();
    for outcome in outcomes {
        let Err(status) = &outcome.result else { continue };
        let mut note = |what: &str| {
            wrong
                .entry(format!("`{}` {what}", outcome.what))
                .or_insert_with(|| format!("after {:?}: {status:?}", outcome.took));
        };
        if outcome.begun + outcome.took < from {
            note("failed without a trouble");
        }
        if outcome.took > DEADLINE + SLACK {
            note("took longer than its deadline");
        }
        if !is_clear(status) {
            note("failed unclearly");
        }
    }
    wrong.into_iter().map(|(what, example)| format!("{what}: {example}")).collect()
}

/// UNAVAILABLE or DEADLINE_EXCEEDED, with the reason for programs, or RESOURCE_EXHAUSTED where others hang on all
/// connections that may be open. Where the client's own clock was faster than the suite's answer there is no reason.
fn is_clear(status: &Status) -> bool {
    let reason = status.get_details_error_info().map(|info| info.reason);
    match (status.code(), reason.as_deref()) {
        (Code::Unavailable, Some("BACKEND_UNAVAILABLE" | "ROLE_UNAVAILABLE")) => true,
        (Code::DeadlineExceeded, Some("DEADLINE_EXCEEDED" | "BACKEND_UNAVAILABLE")) => true,
        (Code::ResourceExhausted, Some("OVERLOADED")) => true,
        (Code::DeadlineExceeded | Code::Cancelled, None) => status.message() == "Timeout expired",
        _ => false,
    }
}

/// Kinds of calls that did without the server in a trouble that nothing can survive: the test troubled nothing.
pub fn untouched(outcomes: &[Outcome], begins: Instant, ends: Instant, calls: &[Call]) -> Vec<String> {
    let mut wrong = Vec::new();
    for what in calls.iter().map(|call| call.writing()) {
        let of_it: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.what == what).collect();
        let within =
            |outcome: &&&Outcome| outcome.begun > begins + EDGE && outcome.begun + outcome.took + EDGE < ends;
        if let Some(done) = of_it.iter().filter(within).find(|outcome| !outcome.failed()) {
            wrong.push(format!("`{what}` needs the server and succeeded without it: {done:?}"));
        }
        // One that waits for its deadline may have begun before the trouble or end after it.
        let troubled = |outcome: &&Outcome| {
            outcome.failed() && outcome.begun < ends && outcome.begun + outcome.took > begins
        };
        if !of_it.iter().copied().any(|outcome| troubled(&outcome)) {
            wrong.push(format!("`{what}` did not fail while the server was away"));
        }
    }
    wrong
}

/// What still failed at the end.
pub fn never_recovered(outcomes: &[Outcome], ends: Instant) -> String {
    let failed = outcomes.iter().rev().find(|outcome| outcome.failed() && outcome.begun > ends);
    format!("does not come back by itself: {failed:?}")
}

/// One line for people who read the log.
pub fn summary(trouble: Trouble, outcomes: &[Outcome], begins: Instant, ends: Instant) -> String {
    let failed: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.failed()).collect();
    let last = failed.iter().map(|outcome| outcome.begun + outcome.took).max();
    let after = last.map_or(Duration::ZERO, |last| last.saturating_duration_since(ends));
    format!(
        "{trouble:?} for {:?}: {} of {} calls failed, the last {after:?} after its end",
        ends - begins,
        failed.len(),
        outcomes.len()
    )
}
