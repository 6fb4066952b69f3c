//! Questions that runs put to people, and what people said.

use bytes::Bytes;
use prost::Message as _;
use sre_proto::memory::v1 as pb;
use sre_proto::memory::v1::ApprovalState;

use super::ids::RunId;
use super::model::Signal;
use super::time::UnixMs;

/// What a run asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Unique in the run.
    pub id: String,
    /// The component that asks.
    pub component: String,
    /// What kind of question.
    pub kind: String,
    /// One line for people.
    pub title: String,
    /// What is to be decided about, opaque.
    pub details: Bytes,
    /// Who may decide, opaque here: the engine decides.
    pub approvers: Vec<String>,
    /// When nobody may decide any more.
    pub expires: Option<UnixMs>,
}

/// A question as the journal keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// Its place among all approvals of the journal; newer ones have higher places.
    pub place: i64,
    /// The run that asks.
    pub run: RunId,
    /// The run's team.
    pub team: String,
    /// The run's agent.
    pub agent: String,
    /// What it asks.
    pub question: Question,
    /// When it was asked.
    pub created: UnixMs,
    /// Where it stands: a pending one whose time has passed reads as expired.
    pub state: ApprovalState,
    /// What was decided; none where nobody did.
    pub verdict: Option<Verdict>,
}

/// A decision and when it was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The decision.
    pub decision: Decision,
    /// When.
    pub decided: UnixMs,
}

/// What somebody decides. Equal decisions are one: a repeat is answered like the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Approved or rejected.
    pub state: ApprovalState,
    /// Who decides.
    pub decided_by: String,
    /// What they say.
    pub comment: String,
    /// What the decision brings with it, opaque.
    pub content: Bytes,
}

/// Which approvals to list.
#[derive(Debug, Clone, Default)]
pub struct ApprovalFilter {
    /// Of this team.
    pub team: String,
    /// Of this agent.
    pub agent: Option<String>,
    /// Of this run.
    pub run: Option<RunId>,
    /// In this state, as it reads now.
    pub state: Option<ApprovalState>,
    /// With a lower [`Approval::place`] than this.
    pub before: Option<i64>,
    /// At most so many.
    pub limit: u32,
}

impl Approval {
    /// The state that a pending approval reads as at `now`.
    pub fn state_at(state: ApprovalState, expires: Option<UnixMs>, now: UnixMs) -> ApprovalState {
        match state {
            ApprovalState::Pending if expires.is_some_and(|end| end <= now) => ApprovalState::Expired,
            state => state,
        }
    }

    /// The signal that tells the run of its decision.
    pub fn signal(&self) -> Signal {
        Signal {
            id: format!("approval/{}", self.question.id),
            kind: "approval".to_owned(),
            body: pb::RunApproval::from(self.clone()).encode_to_vec().into(),
        }
    }
}

impl From<Approval> for pb::RunApproval {
    fn from(approval: Approval) -> Self {
        use super::convert::timestamp;
        let question = approval.question;
        let mut message = Self {
            id: question.id,
            run_id: approval.run.to_string(),
            team: approval.team,
            agent: approval.agent,
            component: question.component,
            kind: question.kind,
            title: question.title,
            details_json: question.details,
            approvers: question.approvers,
            create_time: Some(timestamp(approval.created)),
            expire_time: question.expires.map(timestamp),
            state: approval.state as i32,
            ..Self::default()
        };
        if let Some(verdict) = approval.verdict {
            message.decided_by = verdict.decision.decided_by;
            message.comment = verdict.decision.comment;
            message.decision_json = verdict.decision.content;
            message.decide_time = Some(timestamp(verdict.decided));
        }
        message
    }
}
