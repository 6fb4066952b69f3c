//! Between messages and the domain: into it may fail, out of it cannot.

use std::time::Duration;

use prost::Message as _;
use prost_types::Timestamp;
use sre_proto::memory::v1 as pb;
use sre_proto::memory::v1::{ApprovalState, RecordKind, RunKind, RunState};
use sre_proto::types::v1::{Acl, BlobRef};

use super::approval::{Decision, Question};
use super::error::JournalError;
use super::ids::{IdError, RunId, SessionId};
use super::model::{
    Append, Blob, Close, Hold, NewRecord, Opening, Owner, Parking, Record, Request, Run, RunHead, Session,
    Signal, Summary, Take, is_ended,
};
use super::time::UnixMs;
use crate::llm_context::ConversationAppend;

type Result<T> = std::result::Result<T, JournalError>;

/// The largest body of a record or signal.
const BODY_BYTES: usize = 64 * 1024;
/// The largest spec or outcome.
const CONTENT_BYTES: usize = 1024 * 1024;
/// The longest name, key, label or step.
const TEXT_CHARS: usize = 1024;

/// Runs whose end may wake one run.
const AWAITED_RUNS: usize = 1000;
/// Approvals that one write may ask for.
const APPROVALS: usize = 100;
/// Who may decide one approval.
const APPROVERS: usize = 100;

/// Reads an id.
pub(crate) fn id<T: std::str::FromStr<Err = IdError>>(field: &'static str, text: &str) -> Result<T> {
    text.parse().map_err(|error: IdError| JournalError::invalid(field, error.to_string()))
}

pub(crate) fn timestamp(moment: UnixMs) -> Timestamp {
    let nanos = i32::try_from(moment.0.rem_euclid(1000) * 1_000_000).unwrap_or(0);
    Timestamp { seconds: moment.0.div_euclid(1000), nanos }
}

fn moment(timestamp: Timestamp) -> UnixMs {
    UnixMs(timestamp.seconds.saturating_mul(1000).saturating_add(i64::from(timestamp.nanos / 1_000_000)))
}

pub(super) fn duration(field: &'static str, duration: prost_types::Duration) -> Result<Duration> {
    Duration::try_from(duration).map_err(|_| JournalError::invalid(field, "must not be negative"))
}

impl From<Session> for pb::Session {
    fn from(session: Session) -> Self {
        Self {
            id: session.id.to_string(),
            time_to_live: prost_types::Duration::try_from(session.time_to_live).ok(),
            expire_time: Some(timestamp(session.until)),
        }
    }
}

pub(crate) fn text(field: &'static str, text: String) -> Result<String> {
    if text.chars().count() > TEXT_CHARS {
        return Err(JournalError::invalid(field, format!("is longer than {TEXT_CHARS} characters")));
    }
    Ok(text)
}

pub(crate) fn required(field: &'static str, value: String) -> Result<String> {
    if value.is_empty() {
        return Err(JournalError::invalid(field, "is empty"));
    }
    text(field, value)
}

pub(crate) fn limited(field: &'static str, value: bytes::Bytes, limit: usize) -> Result<bytes::Bytes> {
    if value.len() > limit {
        return Err(JournalError::TooLarge { field, limit_bytes: limit as u64, advice: "put it as a blob" });
    }
    Ok(value)
}

fn run_head(run: pb::RunRecord) -> Result<RunHead> {
    let kind = match run.kind() {
        RunKind::Unspecified => return Err(JournalError::invalid("run.kind", "is not set")),
        kind => kind,
    };
    let parent = match run.parent_run.as_str() {
        "" => None,
        parent => Some(id("run.parent_run", parent)?),
    };
    if parent.is_none() && !run.idempotency_key.is_empty() {
        return Err(JournalError::invalid("run.idempotency_key", "needs parent_run: it is unique with it"));
    }
    Ok(RunHead {
        id: id("run.run_id", &run.run_id)?,
        team: required("run.team", run.team)?,
        agent: required("run.agent", run.agent)?,
        caller: required("run.caller", run.caller)?,
        kind,
        parent,
        idempotency_key: text("run.idempotency_key", run.idempotency_key)?,
        deadline: run.deadline.map(moment),
        spec: limited("run.spec", run.spec, CONTENT_BYTES)?,
        record_format: run.record_format,
        acl: run.acl.map(|acl| acl.encode_to_vec().into()).unwrap_or_default(),
        label: text("run.label", run.label)?,
        version: text("run.version", run.version)?,
    })
}

fn records(records: Vec<pb::JournalRecord>) -> Result<Vec<NewRecord>> {
    records.into_iter().map(NewRecord::try_from).collect()
}

/// Messages of a conversation come with appends alone.
fn without_messages(records: Vec<NewRecord>) -> Result<Vec<NewRecord>> {
    if records.iter().any(|record| record.conversation.is_some()) {
        return Err(JournalError::invalid("records.conversation", "is for appends: write it before"));
    }
    Ok(records)
}

impl TryFrom<pb::JournalRecord> for NewRecord {
    type Error = JournalError;

    fn try_from(record: pb::JournalRecord) -> Result<Self> {
        if record.kind() == RecordKind::Unspecified {
            return Err(JournalError::invalid("records.kind", "is not set"));
        }
        Ok(Self {
            kind: record.kind(),
            step: text("records.step", record.step)?,
            body: limited("records.body", record.body, BODY_BYTES)?,
            blob: record
                .blob
                .map(|blob| {
                    let digest = id("records.blob.digest", &blob.digest)?;
                    Ok::<_, JournalError>(Blob { digest, size_bytes: blob.size_bytes })
                })
                .transpose()?,
            usage: limited("records.usage", record.usage, BODY_BYTES)?,
            conversation: record.conversation.map(ConversationAppend::try_from).transpose()?,
        })
    }
}

impl TryFrom<pb::OpenRunRequest> for Opening {
    type Error = JournalError;

    fn try_from(request: pb::OpenRunRequest) -> Result<Self> {
        let run = request.run.ok_or_else(|| JournalError::invalid("run", "is not set"))?;
        let records = without_messages(records(request.records)?)?;
        if records.first().is_none_or(|record| record.kind != RecordKind::Opened) {
            return Err(JournalError::invalid("records", "the first record must be OPENED"));
        }
        let session = match request.session.as_str() {
            "" => None,
            session => Some(id("session", session)?),
        };
        let caller_request = match request.request_id {
            empty if empty.is_empty() => None,
            request_id => {
                let input_digest = required("input_digest", request.input_digest)?;
                Some(Request { id: text("request_id", request_id)?, input_digest })
            }
        };
        let due = run.due_time.map(moment);
        Ok(Self { head: run_head(run)?, session, due, records, request: caller_request })
    }
}

fn owner(run: &str, session: &str, epoch: i64) -> Result<Owner> {
    Ok(Owner { run: id("run_id", run)?, session: id("session", session)?, epoch })
}

impl TryFrom<pb::AppendRequest> for Append {
    type Error = JournalError;

    fn try_from(request: pb::AppendRequest) -> Result<Self> {
        let close = match request.close_state() {
            RunState::Unspecified if request.outcome.is_empty() => None,
            RunState::Unspecified => {
                return Err(JournalError::invalid("outcome", "is for runs that end: set close_state"));
            }
            state if is_ended(state) => {
                Some(Close { state, outcome: limited("outcome", request.outcome, CONTENT_BYTES)? })
            }
            _ => return Err(JournalError::invalid("close_state", "must be DONE, FAILED or CANCELLED")),
        };
        Ok(Self {
            owner: owner(&request.run_id, &request.session, request.epoch)?,
            records: records(request.records)?,
            close,
            consumed_signals: request.consumed_signals,
            approvals: questions(request.approvals)?,
            expected_sequence: (request.expected_sequence > 0).then_some(request.expected_sequence),
        })
    }
}

impl TryFrom<pb::ParkRequest> for Parking {
    type Error = JournalError;

    fn try_from(request: pb::ParkRequest) -> Result<Self> {
        Ok(Self {
            owner: owner(&request.run_id, &request.session, request.epoch)?,
            until: request.until.map(moment),
            records: without_messages(records(request.records)?)?,
            consumed_signals: request.consumed_signals,
            approvals: questions(request.approvals)?,
            wake_on_end: awaited(&request.wake_on_end)?,
            hold: if request.paused { Hold::Paused } else { Hold::Waiting },
        })
    }
}

fn awaited(runs: &[String]) -> Result<Vec<RunId>> {
    if runs.len() > AWAITED_RUNS {
        let message = format!("names {}, {AWAITED_RUNS} at most", runs.len());
        return Err(JournalError::invalid("wake_on_end", message));
    }
    runs.iter().map(|run| id("wake_on_end", run)).collect()
}

fn questions(approvals: Vec<pb::RunApproval>) -> Result<Vec<Question>> {
    if approvals.len() > APPROVALS {
        return Err(JournalError::invalid("approvals", format!("holds more than {APPROVALS}")));
    }
    approvals.into_iter().map(Question::try_from).collect()
}

impl TryFrom<pb::RunApproval> for Question {
    type Error = JournalError;

    fn try_from(asked: pb::RunApproval) -> Result<Self> {
        if asked.approvers.len() > APPROVERS {
            return Err(JournalError::invalid("approvals.approvers", format!("holds more than {APPROVERS}")));
        }
        let approvers = asked.approvers.into_iter().map(|name| required("approvals.approvers", name));
        Ok(Self {
            id: required("approvals.id", asked.id)?,
            component: text("approvals.component", asked.component)?,
            kind: required("approvals.kind", asked.kind)?,
            title: text("approvals.title", asked.title)?,
            details: limited("approvals.details_json", asked.details_json, BODY_BYTES)?,
            approvers: approvers.collect::<Result<_>>()?,
            expires: asked.expire_time.map(moment),
        })
    }
}

impl TryFrom<pb::DecideRunApprovalRequest> for Decision {
    type Error = JournalError;

    fn try_from(request: pb::DecideRunApprovalRequest) -> Result<Self> {
        let state = request.decision();
        if !matches!(state, ApprovalState::Approved | ApprovalState::Rejected) {
            return Err(JournalError::invalid("decision", "must be APPROVED or REJECTED"));
        }
        let comment = request.comment;
        if comment.len() > BODY_BYTES {
            let limit_bytes = BODY_BYTES as u64;
            return Err(JournalError::TooLarge {
                field: "comment",
                limit_bytes,
                advice: "say it in fewer words",
            });
        }
        Ok(Self {
            state,
            decided_by: required("decided_by", request.decided_by)?,
            comment,
            content: limited("decision_json", request.decision_json, BODY_BYTES)?,
        })
    }
}

impl TryFrom<pb::TakeRunRequest> for Take {
    type Error = JournalError;

    fn try_from(request: pb::TakeRunRequest) -> Result<Self> {
        Ok(Self {
            session: id("session", &request.session)?,
            run: id("run_id", &request.run_id)?,
            max_record_format: request.max_record_format,
        })
    }
}

impl TryFrom<pb::PendingSignal> for Signal {
    type Error = JournalError;

    fn try_from(signal: pb::PendingSignal) -> Result<Self> {
        Ok(Self {
            id: required("signal.signal_id", signal.signal_id)?,
            kind: required("signal.kind", signal.kind)?,
            body: limited("signal.body", signal.body, BODY_BYTES)?,
        })
    }
}

impl From<Signal> for pb::PendingSignal {
    fn from(signal: Signal) -> Self {
        Self { signal_id: signal.id, kind: signal.kind, body: signal.body }
    }
}

impl TryFrom<pb::RunRecord> for Summary {
    type Error = JournalError;

    fn try_from(run: pb::RunRecord) -> Result<Self> {
        let state = run.state();
        if !is_ended(state) {
            return Err(JournalError::invalid("runs.state", "must be DONE, FAILED or CANCELLED"));
        }
        let ended = run.end_time.map(moment);
        let created = run.create_time.map(moment);
        let (Some(created), Some(ended)) = (created, ended) else {
            return Err(JournalError::invalid("runs", "create_time and end_time must be set"));
        };
        let outcome = limited("runs.outcome", run.outcome.clone(), CONTENT_BYTES)?;
        Ok(Self { head: run_head(run)?, state, created, ended, outcome })
    }
}

impl From<Run> for pb::RunRecord {
    fn from(run: Run) -> Self {
        let head = run.head;
        Self {
            run_id: head.id.to_string(),
            team: head.team,
            agent: head.agent,
            caller: head.caller,
            kind: head.kind as i32,
            state: run.state as i32,
            epoch: run.epoch,
            session: run.session.map(|SessionId(id)| id.to_string()).unwrap_or_default(),
            next_sequence: run.next_sequence,
            parent_run: head.parent.map(|parent: RunId| parent.to_string()).unwrap_or_default(),
            create_time: Some(timestamp(run.created)),
            end_time: run.ended.map(timestamp),
            due_time: run.due.map(timestamp),
            deadline: head.deadline.map(timestamp),
            spec: head.spec,
            record_format: head.record_format,
            outcome: run.outcome,
            barren_claims: run.barren_claims,
            // Written by this service as it came; a list without content has none.
            acl: (!head.acl.is_empty()).then(|| Acl::decode(head.acl).ok()).flatten(),
            label: head.label,
            version: head.version,
            idempotency_key: head.idempotency_key,
        }
    }
}

impl From<Record> for pb::JournalRecord {
    fn from(record: Record) -> Self {
        Self {
            sequence: record.sequence,
            epoch: record.epoch,
            kind: record.content.kind as i32,
            step: record.content.step,
            body: record.content.body,
            blob: record.content.blob.map(BlobRef::from),
            time: Some(timestamp(record.time)),
            usage: record.content.usage,
            conversation: None,
        }
    }
}

impl From<Blob> for BlobRef {
    fn from(blob: Blob) -> Self {
        Self { digest: blob.digest.to_string(), size_bytes: blob.size_bytes }
    }
}
