//! Questions that runs put to people. The question is durable with the record that its component waits; the
//! decision is a row of its own, and the run only needs to hear that there is one.

use std::sync::Arc;
use std::time::Duration;

use sre_components::{ContextError, Decision, Failure, Question, Said};
use sre_engine::{ActivationKey, Map, Value};
use sre_proto::memory::v1::{ApprovalState, RunApproval};
use tonic::{Code, Status};

use super::journal::clock;
use super::journal::records::{WaitKind, Waiting};
use super::scope::RunScope;

/// The kind of a component's own question.
pub const APPROVAL: &str = "approval";
/// The kind of the question whether an effect happened.
pub const UNCERTAIN_EFFECT: &str = "uncertain_effect";

/// How long people have to say whether an effect happened: as long as any authority lasts.
const UNCERTAIN_TIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// After its time the store may still take a decision for so long, by this engine's view of its clock.
const MARGIN: Duration = Duration::from_millis(100);
const RETRY: Duration = Duration::from_millis(200);
const TITLE_CHARACTERS: usize = 300;

/// What a question is about: with the activation this names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// A component asks, for so many times before.
    Component(u32),
    /// An effect that was started so often.
    Effect(u32),
}

/// What people said.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Yes.
    pub approved: bool,
    /// Nobody said anything in time.
    pub expired: bool,
    /// Who.
    pub by: String,
    /// With which words.
    pub comment: String,
    /// What to go on with, where that was said.
    pub output: Option<Value>,
}

impl From<Verdict> for Decision {
    fn from(verdict: Verdict) -> Self {
        let said = Said { by: verdict.by, comment: verdict.comment };
        match (verdict.expired, verdict.approved) {
            (true, _) => Self::Expired,
            (_, true) => Self::Approved(said),
            (_, false) => Self::Rejected(said),
        }
    }
}

/// The question whether an effect happened. The team's admins decide.
pub fn uncertain_effect(title: String, details: Map) -> Question {
    Question { title, details, approvers: vec!["admins".to_owned()], time_limit: UNCERTAIN_TIME }
}

/// Asks, once, and waits for the decision.
pub async fn ask(
    scope: &Arc<RunScope>,
    key: &ActivationKey,
    about: About,
    question: Question,
) -> Result<Verdict, ContextError> {
    let waits = scope.waits.as_ref().ok_or_else(|| {
        ContextError::new(Failure::Unavailable, "a run without a journal cannot ask people")
    })?;
    scope.opened.cancelled().await;
    let id = id_of(&scope.id, key, about);
    let clock = scope.engine.journal.clock();
    let until_ms = clock.now_ms() + super::launch::milliseconds(question.time_limit);
    let (kind, place) = match about {
        About::Component(place) => (APPROVAL, place),
        About::Effect(times) => (UNCERTAIN_EFFECT, times),
    };
    let redactor = scope.redactor();
    let shown = |value: &Value| redactor.presentable(&redactor.redact(value));
    let title: String = redactor.presentable_text(&question.title).chars().take(TITLE_CHARACTERS).collect();
    let approval = RunApproval {
        id: id.clone(),
        component: key.component.to_string(),
        kind: kind.to_owned(),
        title: title.clone(),
        details_json: shown(&Value::object(question.details)).to_json_text().into(),
        approvers: question.approvers,
        expire_time: Some(clock::moment(until_ms).into()),
        ..RunApproval::default()
    };
    let wanted = Waiting {
        kind: WaitKind::Approval.into(),
        until_ms,
        approval: id.clone(),
        title,
        place,
        ..Waiting::default()
    };
    let mut decisions = waits.decisions();
    let (waiting, wait) = waits.begin(key, wanted, Some(approval));
    let mut look = wait.was_known();
    let decided = async {
        loop {
            let left = clock.until(waiting.until_ms + super::launch::milliseconds(MARGIN));
            if look || left.is_zero() {
                match scope.engine.journal.approval(&scope.id, &id).await {
                    Ok(found) => {
                        if let Some(verdict) = found.and_then(verdict_of) {
                            return Ok(verdict);
                        }
                    }
                    Err(status) if is_passing(&status) => {
                        tracing::debug!(run = scope.id, %status, "an approval cannot be read yet");
                        tokio::time::sleep(RETRY).await;
                        continue;
                    }
                    Err(status) => return Err(status.into()),
                }
                if left.is_zero() {
                    return Ok(Verdict { expired: true, ..Verdict::default() });
                }
            }
            look = true;
            tokio::select! {
                // The run ends; what is answered here no longer matters.
                () = scope.cancel.token().cancelled() => {
                    return Err(ContextError::new(Failure::Cancelled, "Agent killed"));
                }
                _ = decisions.changed() => {}
                () = tokio::time::sleep(left) => {}
            }
        }
    };
    scope.lend(decided).await
}

fn is_passing(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted)
}

/// What was decided; none while nobody did.
fn verdict_of(approval: RunApproval) -> Option<Verdict> {
    let decided = |approved| Verdict {
        approved,
        by: approval.decided_by.clone(),
        comment: approval.comment.clone(),
        output: serde_json::from_slice(&approval.decision_json).ok(),
        ..Verdict::default()
    };
    match approval.state() {
        ApprovalState::Approved => Some(decided(true)),
        ApprovalState::Rejected => Some(decided(false)),
        ApprovalState::Expired => Some(Verdict { expired: true, ..Verdict::default() }),
        ApprovalState::Pending | ApprovalState::Unspecified => None,
    }
}

/// The id of a question: the same for everybody who comes to ask it.
fn id_of(run_id: &str, key: &ActivationKey, about: About) -> String {
    let mut digest = blake3::Hasher::new();
    for text in [run_id, &key.to_string(), &format!("{about:?}")] {
        digest.update(&(text.len() as u64).to_le_bytes());
        digest.update(text.as_bytes());
    }
    digest.finalize().to_hex().chars().take(24).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_has_one_name_and_each_another() {
        let key: ActivationKey = "L:3/A@4".parse().unwrap();
        let id = id_of("r", &key, About::Component(0));
        assert_eq!(id, id_of("r", &key, About::Component(0)));
        assert!(id.len() == 24 && id.chars().all(|c| c.is_ascii_hexdigit()), "{id}");
        for other in [
            id_of("s", &key, About::Component(0)),
            id_of("r", &"L:4/A@4".parse().unwrap(), About::Component(0)),
            id_of("r", &key, About::Component(1)),
            id_of("r", &key, About::Effect(0)),
        ] {
            assert_ne!(id, other);
        }
    }

    #[test]
    fn decisions_are_read_from_their_row() {
        let row = |state: ApprovalState| RunApproval {
            state: state.into(),
            decided_by: "user/alice".into(),
            comment: "c".into(),
            decision_json: r#"{"Response":1}"#.into(),
            ..RunApproval::default()
        };
        assert!(verdict_of(row(ApprovalState::Pending)).is_none());
        let rejected = verdict_of(row(ApprovalState::Rejected)).unwrap();
        assert_eq!(rejected.output.as_ref().unwrap().get("Response"), Some(&Value::from(1)));
        let said = Said { by: "user/alice".into(), comment: "c".into() };
        assert_eq!(Decision::from(rejected), Decision::Rejected(said.clone()));
        assert_eq!(
            Decision::from(verdict_of(row(ApprovalState::Approved)).unwrap()),
            Decision::Approved(said)
        );
        assert_eq!(Decision::from(verdict_of(row(ApprovalState::Expired)).unwrap()), Decision::Expired);
    }
}
