//! A run in one document: all that is needed to repeat it without any service. [`export`] writes it from the
//! journal, [`replay`] folds it again: no component is executed, each gives what it gave then.

pub mod export;
pub mod replay;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sre_engine::{RequestData, UploadedFile, Value};

pub use replay::{ReplayError, Replayed, replay};

use super::journal::values::{StoredBinary, StoredValue, ValueError};

/// What a recording says it is. Later formats have another number.
pub const FORMAT: &str = "sre.recording/1";

/// A recorded run. Secrets are their references, `{{KEY(name)}}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recording {
    /// [`FORMAT`].
    pub format: String,
    /// The run's name.
    pub run: String,
    /// Its id: names of files derive from it.
    pub run_id: String,
    /// The agent's version.
    pub version: String,
    /// The digest of its document.
    pub digest: String,
    /// The agent's document.
    pub document: serde_json::Value,
    /// Where the run started.
    pub entry: RecordedEntry,
    /// What it was asked.
    pub request: RecordedRequest,
    /// Of a fork: what was set at which component.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overrides: Option<RecordedOverrides>,
    /// The types of the components that ran, by component id.
    pub components: BTreeMap<String, String>,
    /// What they gave, in the order of the journal.
    pub completions: Vec<Completion>,
    /// How it ended.
    pub answer: RecordedAnswer,
}

/// Where a run starts.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum RecordedEntry {
    /// At an endpoint.
    #[serde(rename_all = "camelCase")]
    Endpoint {
        /// The component.
        component: String,
    },
    /// At an Async component, as a job.
    #[serde(rename_all = "camelCase")]
    Job {
        /// The component.
        component: String,
        /// The job's id, as agents see it.
        job_id: String,
        /// The inputs of the component.
        input: RecordedValue,
    },
}

/// A request.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RecordedRequest {
    method: String,
    path: String,
    headers: RecordedValue,
    query: RecordedValue,
    body: RecordedValue,
    params: RecordedValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    files: Vec<RecordedBytes>,
}

/// What a fork set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordedOverrides {
    /// The run that was forked.
    pub origin: String,
    /// The activation.
    pub at: String,
    /// The inputs that were set, as an object by activation.
    pub set: RecordedValue,
}

/// What became of an activation.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Completion {
    /// Its name.
    pub activation: String,
    /// What it gave; absent where it returned nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<RecordedValue>,
    /// Present where only its inputs were fetched, looked up, read or stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved: Option<Vec<RecordedInput>>,
}

/// A resolved input: a value, or why there is none.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RecordedInput {
    /// The value.
    Value(RecordedValue),
    /// Why there is none.
    Error(String),
}

/// How a run ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordedAnswer {
    /// `DONE`, `FAILED` or `CANCELLED`.
    pub state: String,
    /// The answer as the reference gives it.
    pub legacy: serde_json::Value,
    /// The typed result.
    pub result: RecordedResult,
}

/// A typed result.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RecordedResult {
    /// What the leaves produced.
    pub results: Vec<RecordedPart>,
    /// Errors no handler took.
    pub errors: Vec<RecordedPart>,
    /// Components that waited in vain, with the inputs that were missing.
    pub starved: Vec<(String, Vec<String>)>,
    /// Why the run as a whole failed: reason and message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<(String, String)>,
}

/// One component's part of a result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordedPart {
    /// Component id.
    pub component: String,
    /// Its type.
    pub component_type: String,
    /// Its output, or the details of its error.
    pub output: serde_json::Value,
    /// Its error.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// A value: JSON, and beside it the bytes that no service stores.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RecordedValue {
    json: Value,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    binaries: Vec<RecordedBytes>,
}

/// Bytes: of a value, with their place in it, or uploaded, with the form field as the place.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RecordedBytes {
    place: Vec<String>,
    name: String,
    mimetype: String,
    base64: String,
}

/// A recorded value that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BadValue {
    /// Its bytes are not base64.
    #[error("recorded bytes are not base64: {0}")]
    Base64(#[from] base64::DecodeError),
    /// Its bytes have no place.
    #[error(transparent)]
    Value(#[from] ValueError),
}

impl RecordedValue {
    /// Records a value.
    pub fn of(value: &Value) -> Result<Self, ValueError> {
        let stored = StoredValue::of(value)?;
        let binaries = stored.binaries.iter().map(|binary| RecordedBytes {
            place: binary.place.clone(),
            name: binary.name.clone(),
            mimetype: binary.mimetype.clone(),
            base64: STANDARD.encode(&binary.data),
        });
        Ok(Self { binaries: binaries.collect(), json: StoredValue { binaries: vec![], ..stored }.value()? })
    }

    /// The value.
    pub fn value(&self) -> Result<Value, BadValue> {
        if self.binaries.is_empty() {
            return Ok(self.json.clone());
        }
        let binaries = self.binaries.iter().map(|binary| {
            Ok(StoredBinary {
                place: binary.place.clone(),
                name: binary.name.clone(),
                mimetype: binary.mimetype.clone(),
                data: STANDARD.decode(&binary.base64)?.into(),
            })
        });
        let json: Bytes = self.json.to_json_text().into();
        Ok(StoredValue { json, binaries: binaries.collect::<Result<_, BadValue>>()? }.value()?)
    }
}

impl RecordedRequest {
    /// Records a request.
    pub fn of(request: &RequestData) -> Result<Self, ValueError> {
        let object = |map: &sre_engine::Map| RecordedValue::of(&Value::object(map.clone()));
        let files = request.files.iter().map(|file| RecordedBytes {
            place: vec![file.field.to_string()],
            name: file.name.to_string(),
            mimetype: file.mimetype.to_string(),
            base64: STANDARD.encode(&file.data),
        });
        Ok(Self {
            method: request.method.clone(),
            path: request.path.clone(),
            headers: object(&request.headers)?,
            query: object(&request.query)?,
            body: RecordedValue::of(&request.body)?,
            params: object(&request.params)?,
            session_id: request.session_id.clone(),
            files: files.collect(),
        })
    }

    /// The request.
    pub fn request(&self) -> Result<RequestData, BadValue> {
        let object = |value: &RecordedValue| {
            Ok::<_, BadValue>(value.value()?.as_object().cloned().unwrap_or_default())
        };
        let file = |file: &RecordedBytes| {
            Ok::<_, BadValue>(UploadedFile {
                field: file.place.first().map(String::as_str).unwrap_or_default().into(),
                name: file.name.as_str().into(),
                mimetype: file.mimetype.as_str().into(),
                data: STANDARD.decode(&file.base64)?.into(),
            })
        };
        Ok(RequestData {
            method: self.method.clone(),
            path: self.path.clone(),
            headers: object(&self.headers)?,
            query: object(&self.query)?,
            body: self.body.value()?,
            params: object(&self.params)?,
            session_id: self.session_id.clone(),
            files: self.files.iter().map(file).collect::<Result<_, _>>()?,
        })
    }
}

impl RecordedResult {
    /// Records a typed result.
    pub fn of(closed: &super::answers::Closed) -> Self {
        let part = |part: &super::answers::Part| RecordedPart {
            component: part.component.clone(),
            component_type: part.component_type.clone(),
            output: serde_json::from_slice(&part.json).unwrap_or_default(),
            message: part.message.clone(),
        };
        let failure = closed.failure.as_ref();
        Self {
            results: closed.results.iter().map(part).collect(),
            errors: closed.errors.iter().map(part).collect(),
            starved: closed.starved.iter().map(|s| (s.component.clone(), s.missing_inputs.clone())).collect(),
            failure: failure.map(|failure| (failure.reason.clone(), failure.message.clone())),
        }
    }
}

/// The word for a state.
pub fn state_name(state: sre_proto::memory::v1::RunState) -> String {
    state.as_str_name().trim_start_matches("RUN_STATE_").to_owned()
}
