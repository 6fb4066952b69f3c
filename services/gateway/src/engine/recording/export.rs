//! From a run's journal to its recording.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use futures::StreamExt as _;
use futures::TryStreamExt as _;
use futures::stream::{self, BoxStream};
use prost::Message as _;
use sre_engine::{ActivationKey, Map, RequestData, Value};
use sre_identity::Caller;
use sre_proto::agent::v1::GetVersionRequest;
use sre_proto::agent::v1::agent_data_client::AgentDataClient;
use sre_proto::error::{Reason, status};
use sre_proto::gateway::v1::ExportRunResponse;
use sre_proto::memory::v1::{RecordKind, RunKind, RunRecord};
use sre_service::Role;
use tonic::{Code, Status};

use super::{
    Completion, FORMAT, RecordedAnswer, RecordedEntry, RecordedInput, RecordedOverrides, RecordedRequest,
    RecordedResult, RecordedValue, Recording, state_name,
};
use crate::engine::authority::Authority;
use crate::engine::core::{Engine, internal};
use crate::engine::ended::{self, is_ended};
use crate::engine::journal::records::{EntryKind, Finished, Opened, RecordError};
use crate::engine::journal::store::JournalStore;
use crate::engine::journal::values::StoredValue;
use crate::engine::redact::Redactor;
use crate::engine::runs;
use crate::engine::steps::redactor_of;

/// The largest recording.
const LARGEST_BYTES: usize = 256 << 20;
const CHUNK: usize = 256 << 10;

/// A recording, part by part.
pub type Parts = BoxStream<'static, Result<ExportRunResponse, Status>>;

/// Exports an ended run for a caller who may see it. The definition is read in the caller's own name.
pub async fn export(engine: &Engine, caller: &Caller, run: &RunRecord) -> Result<Parts, Status> {
    let precondition = |message: &str| status(Code::FailedPrecondition, Reason::RunState, message);
    if !is_ended(run.state()) {
        return Err(precondition("the run has not ended: export it when it has"));
    }
    if run.kind() == RunKind::Debug {
        return Err(precondition("a debug session is changed by hand and cannot be replayed: export a run"));
    }
    let tape = Tape::read(engine, run).await?.ok_or_else(|| {
        precondition(
            "the run kept no journal, because its skill has no effects: give it a request_id to have one",
        )
    })?;
    let document = document(engine, caller, &tape.opened).await?;
    let recording = tape.recording(run, document);
    let recording = recording.map_err(|error| internal("a run's journal cannot be exported", &error))?;
    let text = serde_json::to_vec(&recording)
        .map_err(|error| internal("a recording cannot be written as json", &error))?;
    Ok(parts(text.into()))
}

fn parts(mut text: Bytes) -> Parts {
    let parts = std::iter::from_fn(move || {
        let data = text.split_to(text.len().min(CHUNK));
        (!data.is_empty()).then(|| Ok(ExportRunResponse { data }))
    });
    stream::iter(parts).boxed()
}

async fn document(engine: &Engine, caller: &Caller, opened: &Opened) -> Result<serde_json::Value, Status> {
    let (Some(token), Some(claims)) = (caller.presented_token(), caller.token()) else {
        return Err(status(
            Code::PermissionDenied,
            Reason::CredentialsMissing,
            "exporting a run reads its agent's definition in the caller's name: call through the gateway",
        ));
    };
    let expires = UNIX_EPOCH + Duration::from_secs(u64::try_from(claims.exp).unwrap_or_default());
    let authority = Authority::presented(engine.host.tokens().clone(), token.clone(), expires);
    let link = authority.agent_link(engine.host.link(Role::Agent)).await?;
    let request = GetVersionRequest { name: opened.agent.clone(), version: opened.version.clone() };
    let answer = AgentDataClient::new(link).get_version(request).await?.into_inner();
    serde_json::from_slice(&answer.document_json)
        .map_err(|error| internal("an agent's document is not json", &error))
}

/// What a journal says, as people may read it.
pub struct Tape {
    /// The first record.
    pub opened: Opened,
    request: RequestData,
    job_input: Value,
    overrides: Option<Value>,
    components: BTreeMap<String, String>,
    completions: Vec<Completion>,
}

impl Tape {
    /// Reads a run's journal; none where it has none.
    pub async fn read(engine: &Engine, run: &RunRecord) -> Result<Option<Self>, Status> {
        Self::of_journal(&engine.journal, run).await
    }

    /// The same without an engine: of a suite that is stopped.
    pub async fn of_journal(journal: &JournalStore, run: &RunRecord) -> Result<Option<Self>, Status> {
        let redactor = redactor_of(run)?;
        let mut pages = journal.pages(&run.run_id, 0).await?;
        let (mut tape, mut bytes): (Option<Self>, usize) = (None, 0);
        while let Some(page) = pages.try_next().await? {
            for record in page.records {
                if !matches!(record.kind(), RecordKind::Opened | RecordKind::Finished) {
                    continue;
                }
                let record = journal.whole(&run.run_id, record).await?;
                bytes += record.body.len();
                if bytes > LARGEST_BYTES {
                    let limit = LARGEST_BYTES >> 20;
                    let message =
                        format!("the run's journal is larger than {limit} MiB: list its steps instead");
                    return Err(status(Code::ResourceExhausted, Reason::TooLarge, message));
                }
                let taken = match &mut tape {
                    None => Opened::decode(record.body)
                        .map_err(RecordError::from)
                        .and_then(|opened| Self::of(opened, &redactor))
                        .map(|opened| tape = Some(opened)),
                    Some(tape) => tape.take(&record.step, record.body, &redactor),
                };
                taken.map_err(|error| internal("a run's journal cannot be read", &error))?;
            }
        }
        Ok(tape)
    }

    /// Begins with the first record.
    pub fn of(opened: Opened, redactor: &Redactor) -> Result<Self, RecordError> {
        let shown = |value: &StoredValue| value.value().map(|value| redactor.presentable(&value));
        let map = |map: &Map| {
            let shown = redactor.presentable(&Value::object(map.clone()));
            shown.as_object().cloned().unwrap_or_default()
        };
        let request = opened.request.as_ref().map(|request| request.request()).transpose()?;
        let request = request.unwrap_or_default();
        Ok(Self {
            request: RequestData {
                headers: map(&request.headers),
                query: map(&request.query),
                body: redactor.presentable(&request.body),
                params: map(&request.params),
                ..request
            },
            job_input: opened.job_input.as_ref().map(shown).transpose()?.unwrap_or_default(),
            overrides: opened.overrides.as_ref().map(shown).transpose()?,
            components: BTreeMap::new(),
            completions: Vec::new(),
            opened,
        })
    }

    /// Adds a finished record.
    pub fn take(&mut self, step: &str, body: Bytes, redactor: &Redactor) -> Result<(), RecordError> {
        let finished = Finished::decode(body)?;
        let key: ActivationKey = step.parse()?;
        if !finished.component_type.is_empty() {
            self.components.insert(key.component.to_string(), finished.component_type.clone());
        }
        if finished.settled {
            return Ok(());
        }
        let recorded = |value: Value| RecordedValue::of(&redactor.presentable(&value));
        let input = |input: Result<Value, String>| match input {
            Ok(value) => recorded(value).map(RecordedInput::Value),
            Err(error) => Ok(RecordedInput::Error(redactor.presentable_text(&error))),
        };
        let resolved = match &finished.resolved {
            Some(resolved) => Some(resolved.values()?.into_iter().map(input).collect::<Result<_, _>>()?),
            None => None,
        };
        let output = finished.outcome()?.output.map(recorded).transpose()?;
        self.completions.push(Completion { activation: step.to_owned(), output, resolved });
        Ok(())
    }

    /// The recording.
    pub fn recording(self, run: &RunRecord, document: serde_json::Value) -> Result<Recording, Status> {
        let unreadable = |error| internal("a run's journal cannot be exported", &error);
        let Self { opened, request, job_input, overrides, components, completions } = self;
        let closed = ended::presentable_answer(run)?;
        let entry = match opened.entry_kind() {
            EntryKind::Job => RecordedEntry::Job {
                component: opened.component,
                job_id: opened.job_id,
                input: RecordedValue::of(&job_input).map_err(unreadable)?,
            },
            _ => RecordedEntry::Endpoint { component: opened.component },
        };
        let overrides = match overrides {
            Some(set) => Some(RecordedOverrides {
                origin: opened.origin,
                at: opened.fork_at,
                set: RecordedValue::of(&set).map_err(unreadable)?,
            }),
            None => None,
        };
        Ok(Recording {
            format: FORMAT.to_owned(),
            run: runs::of_record(run).run(&run.run_id),
            run_id: run.run_id.clone(),
            version: opened.version,
            digest: opened.digest,
            document,
            entry,
            request: RecordedRequest::of(&request).map_err(unreadable)?,
            overrides,
            components,
            completions,
            answer: RecordedAnswer {
                state: state_name(run.state()),
                legacy: serde_json::from_slice(&closed.legacy).unwrap_or_default(),
                result: RecordedResult::of(&closed),
            },
        })
    }
}
