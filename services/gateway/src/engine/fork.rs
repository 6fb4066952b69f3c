//! Forks: a new run from a step of an ended one. What ran before the step keeps what it gave then; the step
//! runs again, with its inputs changed as asked, and so does everything behind it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use prost::Message as _;
use sre_engine::{
    ActivationKey, Effect, EntryId, ForkError, Limits, Map, Plan, Report, RequestData, Run, RunOptions,
    Secrets, Types as _, Value,
};
use sre_identity::{Acl, Caller, Level, decide};
use sre_proto::error::{Reason, invalid_argument, status};
use sre_proto::gateway::v1::ForkRunRequest;
use sre_proto::memory::v1::{JournalRecord, OpenRunRequest, RecordKind, RunKind, RunRecord};
use sre_proto::{AccessLevel, Guarded as _};
use sre_service::telemetry::spans::TraceParent;
use sre_service::{Granted, Role};
use tonic::{Code, Status};

use super::acl;
use super::authority::Authority;
use super::core::{Engine, internal, timestamp};
use super::ended::is_ended;
use super::journal::formats;
use super::journal::records::{EntryKind, Finished, Opened, RecordError, Spec, record};
use super::journal::values::StoredValue;
use super::launch::{self, Claimable};
use super::names::{RunName, no_such_run};
use super::plans::{Compiled, Version};
use super::{requests, runs, start};

/// What a fork keeps, without large outputs: they all go into the one call that opens it.
const KEPT_BYTES: usize = 3 << 20;
/// What begins a marker of a secret.
const MARKER: char = '\u{E000}';

/// Forks a run, for a caller who may run the agent and see the run. Answers once the fork is durable.
pub async fn fork(engine: &Engine, caller: &Caller, request: ForkRunRequest) -> Result<RunRecord, Status> {
    let (agent, token, expires) = start::authorised(caller, &request.agent)?;
    let _granted = audited(engine, caller, &request.resource()).await?;
    requests::request_id(&request.request_id)?;
    let time = start::time_of(request.timeout, engine.host.config().gateway.run_lifetime())?;
    let set = inputs(&request.set_json)?;
    let origin = origin(engine, caller, &request).await?;
    let tape = Tape::read(engine, &origin).await?;
    let mut authority = Authority::presented(engine.host.tokens().clone(), token, expires);
    let link = authority.agent_link(engine.host.link(Role::Agent)).await?;
    let version = match request.version.as_str() {
        "" => Version { agent, id: tape.opened.version.clone(), digest: tape.opened.digest.clone() },
        asked => engine.plans.resolve(link.clone(), &agent, asked).await?,
    };
    let compiled = engine.plans.plan(link, &version).await?;
    let entry = entry_of(&compiled.plan, &tape.opened)?;
    let marker = launch::new_marker();
    let forked = tape.forked(&compiled, entry, &request.at, &origin, &marker)?;
    let grant = authority.grant(time).await?;
    let run_id = sre_proto::ids::new_id();
    let opened = Opened {
        version: version.id.clone(),
        digest: version.digest.clone(),
        resume_grant: grant.to_string(),
        marker: marker.clone(),
        root: caller.root().to_owned(),
        time_ms: launch::milliseconds(time),
        origin: runs::of_record(&origin).run(&origin.run_id),
        fork_at: forked.at.to_string(),
        traceparent: TraceParent::current().as_str().to_owned(),
        overrides: with_inputs(&forked.opened, &forked.at, set)
            .map_err(|error| internal("inputs of a fork cannot be written", &error))?,
        // Whoever forks a run need not be one who may read the conversation that it was part of.
        conversation: String::new(),
        // Nor is it part of the runs that started the other one: it spends for itself.
        above: Vec::new(),
        ..forked.opened
    };
    let root = acl::candidate_of(caller.root())?;
    let row = RunRecord {
        run_id: run_id.clone(),
        team: version.agent.team.clone(),
        agent: version.agent.agent.clone(),
        caller: root.to_string(),
        kind: origin.kind,
        deadline: Some(timestamp(SystemTime::now() + time)),
        spec: Spec { marker }.encode_to_vec().into(),
        // Older engines would not set the inputs.
        record_format: formats::WAITS.max(compiled.record_format()),
        acl: Some((&acl::of_run(&root, &version.agent.agent)?).into()),
        label: origin.label.clone(),
        version: version.id.clone(),
        ..RunRecord::default()
    };
    let mut records = vec![record(RecordKind::Opened, None, &opened)];
    records.extend(forked.kept);
    let mut request = OpenRunRequest {
        run: Some(row),
        // Whoever has a slot claims it, like any other run.
        session: String::new(),
        records: Vec::with_capacity(records.len()),
        input_digest: input_digest(&request),
        request_id: request.request_id,
    };
    for record in records {
        request.records.push(engine.journal.apart(&run_id, record).await?);
    }
    let answer = engine.journal.open(request).await?;
    engine.takeover.look(Claimable::Run);
    answer.run.ok_or_else(|| internal("memory opened a run without naming it", &run_id))
}

/// The token service has decided that the caller may run the agent; here it goes on record.
async fn audited(engine: &Engine, caller: &Caller, resource: &str) -> Result<Granted, Status> {
    let acl = Acl::owned_by(caller.require_candidate()?);
    engine.host.authorizer().check_level(caller, resource, AccessLevel::Read, Some(&acl)).await
}

fn inputs(json: &[u8]) -> Result<Map, Status> {
    if json.is_empty() {
        return Ok(Map::new());
    }
    let value: Value = serde_json::from_slice(json)
        .map_err(|error| invalid_argument("set_json", format!("it is not json: {error}")))?;
    value.as_object().cloned().ok_or_else(|| {
        invalid_argument("set_json", format!("it must be a JSON object of inputs, got {}", value.kind()))
    })
}

/// The run to fork: of this agent, ended, and seen by whoever started this call.
async fn origin(engine: &Engine, caller: &Caller, request: &ForkRunRequest) -> Result<RunRecord, Status> {
    let name = RunName::parse("run", &request.run)?;
    let run = engine.journal.find(&name.run_id).await?.ok_or_else(|| no_such_run(&request.run))?;
    let agent = runs::of_record(&run);
    let root = acl::candidate_of(caller.root())?;
    let teams = engine.host.accounts().resolve(&root).await?.team_ids();
    let seen = decide(&root, &teams, &[Level::Read], &acl::of_record(run.acl.as_ref())?).is_allowed();
    let of_agent = caller.agent().is_some_and(|name| name == agent.to_string());
    if !seen || !of_agent || !agent.is_meant_by(&name.agent) {
        return Err(no_such_run(&request.run));
    }
    let precondition = |message: &str| status(Code::FailedPrecondition, Reason::RunState, message);
    if !is_ended(run.state()) {
        return Err(precondition("the run has not ended: fork it when it has, or cancel it"));
    }
    if !matches!(run.kind(), RunKind::Skill | RunKind::Job) {
        return Err(precondition("only runs of skills and jobs can be forked"));
    }
    Ok(run)
}

fn entry_of(plan: &Plan, opened: &Opened) -> Result<EntryId, Status> {
    let entry = match opened.entry_kind() {
        EntryKind::Job => plan.fork(&opened.component),
        EntryKind::Endpoint | EntryKind::Unspecified => plan.entry(&opened.component),
    };
    entry.ok_or_else(|| {
        let message =
            format!("this version has no component {} to start at: fork an earlier one", opened.component);
        status(Code::FailedPrecondition, Reason::InvalidAgent, message)
    })
}

/// The same request id stands for the same fork.
fn input_digest(request: &ForkRunRequest) -> String {
    let mut digest = blake3::Hasher::new();
    for part in [
        request.agent.as_bytes(),
        request.run.as_bytes(),
        request.at.as_bytes(),
        &request.set_json,
        request.version.as_bytes(),
    ] {
        digest.update(&(part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    format!("b3:{}", digest.finalize().to_hex())
}

/// What the journal of an ended run says.
struct Tape {
    opened: Opened,
    request: RequestData,
    job_input: Map,
    finished: Vec<(ActivationKey, Finished)>,
}

/// A fork that is yet to be written.
struct Forked {
    at: ActivationKey,
    opened: Opened,
    kept: Vec<JournalRecord>,
}

impl Tape {
    async fn read(engine: &Engine, run: &RunRecord) -> Result<Self, Status> {
        let records = engine.journal.load(&run.run_id).await?;
        if records.is_empty() {
            let message =
                "the run kept no journal, because its skill has no effects: give it a request_id to have one";
            return Err(status(Code::FailedPrecondition, Reason::RunState, message));
        }
        Self::of(&records).map_err(|error| internal("a run's journal cannot be read", &error))
    }

    fn of(records: &[JournalRecord]) -> Result<Self, RecordError> {
        let opened = records.first().filter(|record| record.kind() == RecordKind::Opened);
        let opened = Opened::decode(opened.ok_or(RecordError::NotOpened)?.body.clone())?;
        let request = opened.request.as_ref().map(|request| request.request()).transpose()?;
        let job_input = opened.job_input.as_ref().map(StoredValue::value).transpose()?;
        let mut finished = Vec::new();
        for record in records.iter().filter(|record| record.kind() == RecordKind::Finished) {
            let body = Finished::decode(record.body.clone())?;
            if !body.settled {
                finished.push((record.step.parse()?, body));
            }
        }
        Ok(Self {
            request: request.unwrap_or_default(),
            job_input: job_input.and_then(|value| value.as_object().cloned()).unwrap_or_default(),
            opened,
            finished,
        })
    }

    /// Works out what is kept. Secrets stay markers: what depends on them ran, and is taken from its record.
    fn forked(
        self,
        compiled: &Compiled,
        entry: EntryId,
        at: &str,
        origin: &RunRecord,
        marker: &str,
    ) -> Result<Forked, Status> {
        let unreadable = |error: &dyn std::fmt::Display| internal("a run's journal cannot be read", error);
        let plan = &compiled.plan;
        let mut secrets = Secrets::new();
        for name in plan.variable_secret_names() {
            secrets.insert(name.to_string(), format!("{{{{KEY({name})}}}}"));
        }
        let options = RunOptions {
            run_id: origin.run_id.clone(),
            limits: Limits::default(),
            variables: plan.resolve_variables(&secrets),
            job_id: self.opened.job_id.clone(),
            job_input: self.job_input,
            overrides: overrides(&self.opened).map_err(|error| unreadable(&error))?,
            ..RunOptions::default()
        };
        // In another version a component may be gone, or be another one.
        let known = |key: &ActivationKey, finished: &Finished| {
            plan.node(&key.component).is_some_and(|node| {
                finished.component_type.is_empty() || *node.type_name == *finished.component_type
            })
        };
        let finished: Vec<_> =
            self.finished.into_iter().filter(|(key, finished)| known(key, finished)).collect();
        let reports = finished.iter().map(|(key, finished)| {
            let report = match &finished.resolved {
                Some(resolved) => Report::Resolved(resolved.values()?),
                None => Report::Finished(finished.outcome()?),
            };
            Ok::<_, RecordError>((key.clone(), report))
        });
        let reports: Vec<_> = reports.collect::<Result<_, _>>().map_err(|error| unreadable(&error))?;
        let fork =
            Run::fork(plan, entry, &self.request, &options, &reports, at).map_err(|error| refused(&error))?;
        let (from, to) = (marked(&self.opened.marker), marked(marker));
        let (mut kept, mut bytes) = (Vec::with_capacity(fork.keep.len()), 0);
        for position in fork.keep {
            let Some((key, body)) = finished.get(position) else { continue };
            let record = copied(key, body, &origin.run_id, compiled);
            let record = JournalRecord { body: replaced(&record.body, &from, &to), ..record };
            bytes += record.body.len().min(64 << 10);
            if bytes > KEPT_BYTES {
                return Err(status(
                    Code::ResourceExhausted,
                    Reason::TooLarge,
                    "the run did too much before this step for a fork to keep: fork it at an earlier one",
                ));
            }
            kept.push(record);
        }
        let opened = Opened::decode(replaced(&self.opened.encode_to_vec(), &from, &to).as_ref());
        Ok(Forked { at: fork.at, opened: opened.map_err(|error| unreadable(&error))?, kept })
    }
}

/// Inputs that a fork sets, for the state machine.
pub fn overrides(opened: &Opened) -> Result<BTreeMap<ActivationKey, Map>, RecordError> {
    let mut overrides = BTreeMap::new();
    let set = opened.overrides.as_ref().map(StoredValue::value).transpose()?;
    for (key, inputs) in set.iter().filter_map(Value::as_object).flatten() {
        overrides.insert(key.parse()?, inputs.as_object().cloned().unwrap_or_default());
    }
    Ok(overrides)
}

/// What is set in a fork: what its origin set, where that is a fork itself, and over it what is set now.
fn with_inputs(origin: &Opened, at: &ActivationKey, set: Map) -> Result<Option<StoredValue>, RecordError> {
    let mut all = overrides(origin)?;
    all.entry(at.clone()).or_default().extend(set);
    let all = all.into_iter().filter(|(_, inputs)| !inputs.is_empty());
    let all: Map = all.map(|(key, inputs)| (key.to_string().into(), Value::object(inputs))).collect();
    Ok(if all.is_empty() { None } else { Some(StoredValue::of(&Value::object(all))?) })
}

fn refused(error: &ForkError) -> Status {
    match error {
        ForkError::NoComponent(_) => invalid_argument("at", error.to_string()),
        ForkError::NeverRan(_) => status(Code::FailedPrecondition, Reason::RunState, error.to_string()),
    }
}

/// The record as the fork has it, with the key that its effect carried.
fn copied(key: &ActivationKey, body: &Finished, run_id: &str, compiled: &Compiled) -> JournalRecord {
    let node = compiled.plan.node(&key.component);
    let entry = node.and_then(|node| sre_components::registry().lookup(&node.type_name));
    let is_effect = entry.is_none_or(|entry| entry.spec.effect == Effect::Effect);
    let effect_key = match body.effect_key.is_empty() && body.resolved.is_none() && is_effect {
        true => key.idempotency_key(run_id),
        false => body.effect_key.clone(),
    };
    record(RecordKind::Finished, Some(key), &Finished { effect_key, ..body.clone() })
}

fn marked(marker: &str) -> Vec<u8> {
    format!("{MARKER}{marker}:").into_bytes()
}

/// The bytes with the markers of another run. Both numbers have the same length, so that nothing moves.
fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> bytes::Bytes {
    let mut out = bytes.to_vec();
    if from.len() != to.len() || from.len() > out.len() {
        return out.into();
    }
    let mut at = 0;
    while at + from.len() <= out.len() {
        if &out[at..at + from.len()] == from {
            out[at..at + from.len()].copy_from_slice(to);
            at += from.len();
        } else {
            at += 1;
        }
    }
    out.into()
}

#[cfg(test)]
#[path = "fork_tests.rs"]
mod tests;
