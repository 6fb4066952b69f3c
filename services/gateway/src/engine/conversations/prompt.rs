//! What happens to a prompt: who may, of what, and the run that it becomes.

use std::time::Duration;

use prost::Message as _;
use sre_engine::Binary;
use sre_identity::Caller;
use sre_proto::error::{Reason, invalid_argument, status};
use sre_proto::gateway::v1::prompt_file::Source;
use sre_proto::gateway::v1::{ConcurrencyPolicy, PromptFile, PromptRequest};
use sre_proto::memory::v1::{Conversation, OpenRunRequest, RecordKind, RunKind, RunRecord, RunState};
use sre_service::Role;
use sre_service::telemetry::spans::TraceParent;
use tonic::{Code, Status};

use super::{access, attachments, settings};
use crate::engine::authority::{self, Authority};
use crate::engine::core::{Engine, internal, timestamp};
use crate::engine::files;
use crate::engine::journal::formats;
use crate::engine::journal::records::{Opened, Spec, TurnAsked, TurnFile, record};
use crate::engine::launch::{self, Claimable};
use crate::engine::plans::Version;
use crate::engine::{acl, requests, start, usage};

/// How long a turn may take, unless the caller says.
pub const TIME: Duration = Duration::from_secs(60 * 60);
const TEXT_BYTES: usize = 256 << 10;
const FILES: usize = 20;
const FILES_BYTES: usize = 4 << 20;
const NAME_CHARACTERS: usize = 256;

/// A prompt that may be asked.
struct Ready {
    authority: Authority,
    version: Version,
    record_format: i32,
    turn: TurnAsked,
    root: String,
    request_id: String,
    digest: String,
    time: Duration,
}

/// Opens the run of a prompt; the row may be that of an earlier call with the same request id.
pub async fn open(engine: &Engine, caller: &Caller, request: PromptRequest) -> Result<RunRecord, Status> {
    let mut ready = prepare(engine, caller, request).await?;
    let grant = ready.authority.grant(ready.time).await?;
    let lease = engine.lease().await?;
    match begin(engine, &ready, &grant, lease.clone()).await {
        // The journal was away for longer than the session lives; nothing was written.
        Err(refused) if sre_proto::error::reason(&refused) == Some(Reason::Fenced) => {
            let lease = engine.lease_after(&lease).await?;
            begin(engine, &ready, &grant, lease).await
        }
        answer => answer,
    }
}

async fn prepare(engine: &Engine, caller: &Caller, request: PromptRequest) -> Result<Ready, Status> {
    let name = access::ConversationName::parse("name", &request.name)?;
    let (agent, token, expires) = start::authorised(caller, &name.agent.to_string())?;
    requests::request_id(&request.request_id)?;
    let time = start::time_of(request.timeout, TIME)?;
    let conversation = access::promptable(engine, caller, &request.name).await?;
    if request.text.len() > TEXT_BYTES {
        let message = format!("it has {TEXT_BYTES} bytes at most: send longer texts as files");
        return Err(invalid_argument("text", message));
    }
    if request.text.trim().is_empty() && request.files.is_empty() {
        return Err(invalid_argument("text", "say something, or send a file"));
    }
    let settings = access::settings_of(&conversation)?;
    let concurrency = request.concurrency();
    let led = settings::led(&settings, concurrency);
    // A repeat follows the turn that holds the conversation because of it.
    if led.concurrency == ConcurrencyPolicy::Reject && !conversation.active_turn.is_empty() {
        let root = acl::candidate_of(caller.root())?.to_string();
        let named = async || engine.journal.find_named(&root, &request.request_id).await;
        if request.request_id.is_empty() || named().await?.is_none() {
            let message = "another prompt of the conversation goes on: wait for its end, or cancel it";
            return Err(status(Code::FailedPrecondition, Reason::RunBusy, message));
        }
    }
    let authority = Authority::presented(engine.host.tokens().clone(), token, expires);
    let link = authority.agent_link(engine.host.link(Role::Agent)).await?;
    let version = engine.plans.resolve(link.clone(), &agent, &request.version).await?;
    // Before anything is written: an agent that cannot run cannot be asked.
    let record_format = engine.plans.plan(link, &version).await?.record_format();
    let digest = digest(&name.id, &request);
    let files = stored_files(engine, &authority, &version, &conversation, request.files).await?;
    let turn = TurnAsked {
        conversation: conversation.conversation_id,
        text: request.text,
        files,
        message_id: format!("msg_{}", sre_proto::ids::new_uuid()),
        concurrency: concurrency.into(),
        settings: Some(settings),
        sub: None,
    };
    let root = caller.root().to_owned();
    let request_id = request.request_id;
    Ok(Ready { authority, version, record_format, turn, root, request_id, digest, time })
}

/// The same request id stands for the same prompt.
fn digest(conversation: &str, request: &PromptRequest) -> String {
    let mut digest = blake3::Hasher::new();
    let mut part = |bytes: &[u8]| {
        digest.update(&(bytes.len() as u64).to_le_bytes());
        digest.update(bytes);
    };
    part(conversation.as_bytes());
    part(request.text.as_bytes());
    for file in &request.files {
        part(&file.encode_to_vec());
    }
    format!("b3:{}", digest.finalize().to_hex())
}

/// Files of the message, with what came along stored for the conversation.
async fn stored_files(
    engine: &Engine,
    authority: &Authority,
    version: &Version,
    conversation: &Conversation,
    asked: Vec<PromptFile>,
) -> Result<Vec<TurnFile>, Status> {
    let bytes: usize = asked
        .iter()
        .map(|file| match &file.source {
            Some(Source::Data(data)) => data.len(),
            _ => 0,
        })
        .sum();
    if asked.len() > FILES || bytes > FILES_BYTES {
        let message =
            format!("{FILES} files and {FILES_BYTES} bytes in all at most: store larger ones and name them");
        return Err(invalid_argument("files", message));
    }
    let authority = authority.clone().with_scopes(authority::turn_scopes());
    let owner =
        conversation.owner.parse().map_err(|error| internal("a conversation's owner is nobody", &error))?;
    let mut stored = Vec::with_capacity(asked.len());
    for file in asked {
        if file.name.chars().count() > NAME_CHARACTERS {
            return Err(invalid_argument(
                "files.name",
                format!("it has {NAME_CHARACTERS} characters at most"),
            ));
        }
        let url = match file.source {
            Some(Source::Data(data)) => {
                let suffix: String =
                    file.name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '.').collect();
                let binary = Binary {
                    name: format!("{}-{suffix}", sre_proto::ids::new_uuid()).into(),
                    mimetype: file.mimetype.as_str().into(),
                    data,
                };
                let link = authority.link(engine.host.link(Role::Io), Role::Io).await?;
                let id = &conversation.conversation_id;
                attachments::store(link, &version.agent, id, &owner, &binary).await?
            }
            Some(Source::File(uri)) => {
                files::name_of(&uri, &engine.host, &version.agent).await?;
                uri
            }
            Some(Source::Url(url)) if url.starts_with("https://") || url.starts_with("http://") => url,
            Some(Source::Url(_)) => {
                return Err(invalid_argument("files.url", "it begins with https:// or http://"));
            }
            None => return Err(invalid_argument("files", "a file has no content: give data, file or url")),
        };
        stored.push(TurnFile { name: file.name, mimetype: file.mimetype, url });
    }
    Ok(stored)
}

async fn begin(
    engine: &Engine,
    ready: &Ready,
    grant: &str,
    lease: crate::engine::session::Lease,
) -> Result<RunRecord, Status> {
    let run_id = sre_proto::ids::new_id();
    let marker = launch::new_marker();
    let trace = TraceParent::current();
    let root = acl::candidate_of(&ready.root)?;
    let version = &ready.version;
    let opened = Opened {
        agent: version.agent.to_string(),
        version: version.id.clone(),
        digest: version.digest.clone(),
        resume_grant: grant.to_owned(),
        marker: marker.clone(),
        root: ready.root.clone(),
        time_ms: launch::milliseconds(ready.time),
        traceparent: trace.as_str().to_owned(),
        turn: Some(ready.turn.clone()),
        ..Opened::default()
    };
    let row = RunRecord {
        run_id: run_id.clone(),
        team: version.agent.team.clone(),
        agent: version.agent.agent.clone(),
        caller: root.to_string(),
        kind: RunKind::Turn.into(),
        deadline: Some(timestamp(engine.journal.clock().now() + ready.time)),
        spec: Spec { marker }.encode_to_vec().into(),
        record_format: formats::TURN.max(ready.record_format),
        acl: Some((&acl::of_run(&root, &version.agent.agent)?).into()),
        label: ready.turn.conversation.clone(),
        version: version.id.clone(),
        ..RunRecord::default()
    };
    let mut first = record(RecordKind::Opened, None, &opened);
    first.usage = usage::opened(&row, trace.trace_id()).unwrap_or_default();
    let first = engine.journal.apart(&run_id, first).await?;
    let entry = engine.admission.slot().and_then(|slot| Some((slot, engine.live.enter(&run_id)?)));
    let session = if entry.is_some() { lease.id().to_string() } else { String::new() };
    let request = OpenRunRequest {
        run: Some(row),
        session: session.clone(),
        records: vec![first],
        request_id: ready.request_id.clone(),
        input_digest: ready.digest.clone(),
    };
    let answer = engine.journal.open(request).await?;
    let row = answer.run.ok_or_else(|| internal("memory opened a turn without naming it", &run_id))?;
    let here = row.run_id == run_id && row.state() == RunState::Leased && row.session == session;
    match entry {
        Some((slot, entry)) if here => {
            let work = launch::go_on(engine.clone(), row.clone(), lease, entry, slot);
            engine.host.spawn("run", Box::pin(work));
        }
        _ => engine.takeover.look(Claimable::Run),
    }
    Ok(row)
}
