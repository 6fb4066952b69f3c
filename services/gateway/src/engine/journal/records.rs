//! The content of journal records. Fields may be added, never changed or removed, and a store keeps records of
//! every format it ever saw.
//! Which reader a run needs is in [`super::formats`].

mod checkpoint;
mod turn;

use bytes::Bytes;
use prost::Message;
use sre_engine::run::Settled;
use sre_engine::{ActivationKey, Outcome, RequestData, UploadedFile, Value};
use sre_proto::memory::v1::{JournalRecord, RecordKind};

pub use checkpoint::{Checkpoint, OpenIntent, OpenWait};
pub use turn::{OwnTools, SubTurn, TurnAsked, TurnFile};

use super::values::{StoredValue, ValueError};
use crate::engine::redact::Redactor;

/// A record that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The bytes are no record that this engine knows.
    #[error("a record does not decode: {0}")]
    Decode(#[from] prost::DecodeError),
    /// A value in it cannot be read.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// It is about an activation with an impossible name.
    #[error(transparent)]
    Key(#[from] sre_engine::key::InvalidKey),
    /// A checkpoint cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] sre_engine::run::CheckpointError),
    /// The journal does not begin as it should.
    #[error("the journal does not begin with an opened record")]
    NotOpened,
}

/// Where in the plan a run starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum EntryKind {
    /// Not set.
    Unspecified = 0,
    /// An endpoint, with a request.
    Endpoint = 1,
    /// The branch of an Async component, with its inputs as the body.
    Job = 2,
}

/// The first record: what is run, for whom.
#[derive(Clone, PartialEq, Message)]
pub struct Opened {
    /// The agent: `teams/{team}/agents/{agent}`.
    #[prost(string, tag = "1")]
    pub agent: String,
    /// The version of its document.
    #[prost(string, tag = "2")]
    pub version: String,
    /// The digest of its document.
    #[prost(string, tag = "3")]
    pub digest: String,
    /// Where it starts.
    #[prost(enumeration = "EntryKind", tag = "4")]
    pub entry_kind: i32,
    /// The component it starts at.
    #[prost(string, tag = "5")]
    pub component: String,
    /// What it was asked.
    #[prost(message, optional, tag = "6")]
    pub request: Option<StoredRequest>,
    /// The authority to go on with it.
    #[prost(string, tag = "7")]
    pub resume_grant: String,
    /// The number in this run's secret markers.
    #[prost(string, tag = "8")]
    pub marker: String,
    /// What it is called in events: the skill's endpoint, or the component of a job.
    #[prost(string, tag = "9")]
    pub skill: String,
    /// Of a job: the inputs of its Async component.
    #[prost(message, optional, tag = "10")]
    pub job_input: Option<StoredValue>,
    /// Of a job: its id as agents see it.
    #[prost(string, tag = "11")]
    pub job_id: String,
    /// Who started it, as a SPIFFE id.
    #[prost(string, tag = "12")]
    pub root: String,
    /// How long it may take in all, in milliseconds.
    #[prost(uint64, tag = "13")]
    pub time_ms: u64,
    /// Of a fork: the run it was forked from.
    #[prost(string, tag = "20")]
    pub origin: String,
    /// Of a fork: the activation it was forked at.
    #[prost(string, tag = "21")]
    pub fork_at: String,
    /// Of a fork: the inputs that are set, as an object by activation.
    #[prost(message, optional, tag = "22")]
    pub overrides: Option<StoredValue>,
    /// Of a debug session: its id as people see it.
    #[prost(string, tag = "23")]
    pub debug_session: String,
    /// The W3C context of whoever asked for it; empty where nothing was traced.
    #[prost(string, tag = "24")]
    pub traceparent: String,
    /// Of a turn: what it is about.
    #[prost(message, optional, tag = "25")]
    pub turn: Option<TurnAsked>,
    /// Of a run that a model of a conversation called as a tool, and of what such a run starts: the conversation.
    #[prost(string, tag = "26")]
    pub conversation: String,
    /// The calls that it is nested in, outermost first.
    #[prost(string, repeated, tag = "40")]
    pub lineage: Vec<String>,
    /// The runs that it was started from, outermost first, each `{team}/{run}`.
    #[prost(string, repeated, tag = "41")]
    pub above: Vec<String>,
}

/// What a run's row says beside its records, for readers that do not fold it.
#[derive(Clone, PartialEq, Message)]
pub struct Spec {
    /// The number in this run's secret markers.
    #[prost(string, tag = "1")]
    pub marker: String,
}

/// A request.
#[derive(Clone, PartialEq, Message)]
pub struct StoredRequest {
    #[prost(string, tag = "1")]
    method: String,
    #[prost(string, tag = "2")]
    path: String,
    #[prost(message, optional, tag = "3")]
    headers: Option<StoredValue>,
    #[prost(message, optional, tag = "4")]
    query: Option<StoredValue>,
    #[prost(message, optional, tag = "5")]
    body: Option<StoredValue>,
    #[prost(message, optional, tag = "6")]
    params: Option<StoredValue>,
    #[prost(string, optional, tag = "7")]
    session_id: Option<String>,
    #[prost(message, repeated, tag = "8")]
    files: Vec<StoredFile>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredFile {
    #[prost(string, tag = "1")]
    field: String,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    mimetype: String,
    #[prost(bytes = "bytes", tag = "4")]
    data: Bytes,
}

impl StoredRequest {
    /// Stores a request, without the secrets that are known.
    pub fn of(request: &RequestData, redactor: &Redactor) -> Result<Self, ValueError> {
        let stored = |value: &Value| StoredValue::of(&redactor.redact(value)).map(Some);
        Ok(Self {
            method: request.method.clone(),
            path: request.path.clone(),
            headers: stored(&Value::object(request.headers.clone()))?,
            query: stored(&Value::object(request.query.clone()))?,
            body: stored(&request.body)?,
            params: stored(&Value::object(request.params.clone()))?,
            session_id: request.session_id.clone(),
            files: request
                .files
                .iter()
                .map(|file| StoredFile {
                    field: file.field.to_string(),
                    name: file.name.to_string(),
                    mimetype: file.mimetype.to_string(),
                    data: file.data.clone(),
                })
                .collect(),
        })
    }

    /// The request, with its markers.
    pub fn request(&self) -> Result<RequestData, ValueError> {
        let value =
            |stored: &Option<StoredValue>| stored.as_ref().map_or(Ok(Value::Null), StoredValue::value);
        let map = |stored| Ok::<_, ValueError>(value(stored)?.as_object().cloned().unwrap_or_default());
        Ok(RequestData {
            method: self.method.clone(),
            path: self.path.clone(),
            headers: map(&self.headers)?,
            query: map(&self.query)?,
            body: value(&self.body)?,
            params: map(&self.params)?,
            session_id: self.session_id.clone(),
            files: self
                .files
                .iter()
                .map(|file| UploadedFile {
                    field: file.field.as_str().into(),
                    name: file.name.as_str().into(),
                    mimetype: file.mimetype.as_str().into(),
                    data: file.data.clone(),
                })
                .collect(),
        })
    }
}

/// A component finished.
#[derive(Clone, PartialEq, Message)]
pub struct Finished {
    /// Its output with markers; absent where it returned nothing.
    #[prost(message, optional, tag = "1")]
    pub output: Option<StoredValue>,
    /// Its type, for events.
    #[prost(string, tag = "2")]
    pub component_type: String,
    /// Set where its inputs were resolved and it itself is yet to run.
    #[prost(message, optional, tag = "3")]
    pub resolved: Option<Resolved>,
    /// Set where the engine settled it by itself: an event for watchers, nothing to fold.
    #[prost(bool, tag = "4")]
    pub settled: bool,
    /// When it was started, in milliseconds since 1970; 0 where it did not leave the engine.
    #[prost(uint64, tag = "20")]
    pub started_ms: u64,
    /// Of a record that a fork copied: the key that its effect carried in the run it comes from.
    #[prost(string, tag = "21")]
    pub effect_key: String,
}

/// Inputs that were fetched, looked up, read or stored.
#[derive(Clone, PartialEq, Message)]
pub struct Resolved {
    /// One for each that was needed, in order.
    #[prost(message, repeated, tag = "1")]
    pub inputs: Vec<ResolvedInput>,
}

/// What became of one.
#[derive(Clone, PartialEq, Message)]
pub struct ResolvedInput {
    /// Its value.
    #[prost(message, optional, tag = "1")]
    pub value: Option<StoredValue>,
    /// Why there is none.
    #[prost(string, tag = "2")]
    pub error: String,
}

impl Finished {
    /// Stores an outcome, without the secrets that are known.
    pub fn of(outcome: &Outcome, component_type: &str, redactor: &Redactor) -> Result<Self, ValueError> {
        let output = outcome.output.as_ref().map(|output| StoredValue::of(&redactor.redact(output)));
        Ok(Self { output: output.transpose()?, component_type: component_type.to_owned(), ..Self::default() })
    }

    /// The record of something that the engine settled by itself.
    pub fn settled(settled: &Settled, redactor: &Redactor) -> Result<JournalRecord, ValueError> {
        let finished = Self::of(&settled.outcome, &settled.node.type_name, redactor)?;
        Ok(record(RecordKind::Finished, Some(&settled.key), &Self { settled: true, ..finished }))
    }

    /// Stores resolved inputs, without the secrets that are known.
    pub fn resolved(values: &[Result<Value, String>], redactor: &Redactor) -> Result<Self, ValueError> {
        let input = |value: &Result<Value, String>| match value {
            Ok(value) => Ok(ResolvedInput {
                value: Some(StoredValue::of(&redactor.redact(value))?),
                error: String::new(),
            }),
            Err(error) => Ok(ResolvedInput { value: None, error: redactor.redact_text(error) }),
        };
        let inputs = values.iter().map(input).collect::<Result<_, ValueError>>()?;
        Ok(Self { resolved: Some(Resolved { inputs }), ..Self::default() })
    }

    /// The outcome, with its markers.
    pub fn outcome(&self) -> Result<Outcome, ValueError> {
        Ok(Outcome { output: self.output.as_ref().map(StoredValue::value).transpose()? })
    }
}

impl Resolved {
    /// The inputs, with their markers.
    pub fn values(&self) -> Result<Vec<Result<Value, String>>, ValueError> {
        let value = |input: &ResolvedInput| match &input.value {
            Some(value) => value.value().map(Ok),
            None => Ok(Err(input.error.clone())),
        };
        self.inputs.iter().map(value).collect()
    }
}

/// An effect is about to start.
#[derive(Clone, PartialEq, Message)]
pub struct Intent {
    /// The key it carries.
    #[prost(string, tag = "1")]
    pub idempotency_key: String,
}

/// Another owner goes on with the run.
#[derive(Clone, PartialEq, Message)]
pub struct TakenOver {
    /// Its epoch.
    #[prost(int64, tag = "1")]
    pub epoch: i64,
    /// Components whose activations start again.
    #[prost(string, repeated, tag = "2")]
    pub restarted: Vec<String>,
}

/// A signal was acted upon: `pause` and `resume`, of which the last one counts, or `approval`.
#[derive(Clone, PartialEq, Message)]
pub struct SignalTaken {
    /// Its kind.
    #[prost(string, tag = "1")]
    pub kind: String,
    /// Its content.
    #[prost(bytes = "bytes", tag = "2")]
    pub body: Bytes,
    /// Its id.
    #[prost(string, tag = "3")]
    pub id: String,
}

/// What a component waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum WaitKind {
    /// Not set.
    Unspecified = 0,
    /// A time.
    Sleep = 1,
    /// The end of jobs, or a time.
    Jobs = 2,
    /// A decision, or a time.
    Approval = 3,
}

/// The component of the record's step waits. Its first record of a wait counts: whoever goes on with the run
/// waits until the same moment, not for the same time again.
#[derive(Clone, PartialEq, Message)]
pub struct Waiting {
    /// For what.
    #[prost(enumeration = "WaitKind", tag = "1")]
    pub kind: i32,
    /// Until when at most, in milliseconds since 1970 by the store's clock; 0 where no time ends it.
    #[prost(uint64, tag = "2")]
    pub until_ms: u64,
    /// Of [`WaitKind::Jobs`]: the runs whose end it waits for.
    #[prost(string, repeated, tag = "3")]
    pub runs: Vec<String>,
    /// Of [`WaitKind::Approval`]: the id of what is asked.
    #[prost(string, tag = "4")]
    pub approval: String,
    /// Of [`WaitKind::Approval`]: what is asked, in one line.
    #[prost(string, tag = "5")]
    pub title: String,
    /// How many waits of this kind the same activation began before this one.
    #[prost(uint32, tag = "6")]
    pub place: u32,
}

/// A record, before the store gives it its place.
pub fn record(kind: RecordKind, step: Option<&ActivationKey>, body: &impl Message) -> JournalRecord {
    JournalRecord {
        kind: kind.into(),
        step: step.map(ToString::to_string).unwrap_or_default(),
        body: body.encode_to_vec().into(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_request_comes_back_with_its_files() {
        let request = RequestData {
            method: "GET".into(),
            path: "/api/e".into(),
            headers: json(r#"{"X-A":"1"}"#).as_object().unwrap().clone(),
            query: json(r#"{"q":[1,2]}"#).as_object().unwrap().clone(),
            body: json(r#"{"b":{"c":null}}"#),
            files: vec![UploadedFile {
                field: "f".into(),
                name: "a.txt".into(),
                mimetype: "text/plain".into(),
                data: Bytes::from_static(b"hello"),
            }],
            session_id: Some("s".into()),
            ..Default::default()
        };
        let stored = StoredRequest::of(&request, &Redactor::new("n")).unwrap();
        let stored = StoredRequest::decode(stored.encode_to_vec().as_slice()).unwrap();
        let back = stored.request().unwrap();
        assert_eq!(back.method, "GET");
        assert_eq!(back.headers, request.headers);
        assert_eq!(back.query, request.query);
        assert_eq!(back.body, request.body);
        assert_eq!(back.session_id.as_deref(), Some("s"));
        assert_eq!(back.files[0].data, request.files[0].data);
    }

    #[test]
    fn an_outcome_is_written_without_its_secrets() {
        let mut redactor = Redactor::new("n");
        redactor.learn("api", "supersecret");
        let outcome = Outcome::raw(json(r#"{"Reply":"key supersecret"}"#));
        let written = Finished::of(&outcome, "GenAILLM", &redactor).unwrap().encode_to_vec();
        assert!(!written.windows(11).any(|part| part == b"supersecret"));
        let read = Finished::decode(written.as_slice()).unwrap().outcome().unwrap();
        assert_eq!(redactor.restore(&read.output.unwrap()), outcome.output.unwrap());
        let nothing = Finished::of(&Outcome { output: None }, "T", &redactor).unwrap();
        assert_eq!(nothing.outcome().unwrap().output, None);
    }

    #[test]
    fn a_later_format_with_more_fields_still_reads() {
        #[derive(Clone, PartialEq, Message)]
        struct Later {
            #[prost(string, tag = "1")]
            idempotency_key: String,
            #[prost(string, tag = "99")]
            policy: String,
        }
        let later = Later { idempotency_key: "k".into(), policy: "ask".into() };
        let read = Intent::decode(later.encode_to_vec().as_slice()).unwrap();
        assert_eq!(read.idempotency_key, "k");
    }
}
