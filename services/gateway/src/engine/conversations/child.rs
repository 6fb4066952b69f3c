//! A tool as a run: a child of the turn, durable before it is told of, named by the turn and the call. A repeated
//! start finds the first one, so that a tool that was called runs once, whoever goes on with the turn.

use prost::Message as _;
use sre_engine::RequestData;
use sre_proto::gateway::v1::turn_event::Event;
use sre_proto::gateway::v1::{SkillCall, TurnContent, run_event};
use sre_proto::memory::v1::{OpenRunRequest, RecordKind, RunKind, RunRecord, RunState};
use tonic::{Code, Status};

use super::machine::Call;
use super::scope::TurnScope;
use super::tools;
use crate::engine::acl;
use crate::engine::core::{internal, timestamp};
use crate::engine::ended::{self, is_ended};
use crate::engine::events::Transient;
use crate::engine::journal::queue::worth_repeating;
use crate::engine::journal::records::{EntryKind, Opened, Spec, StoredRequest, record};
use crate::engine::launch::{self, Claimable};
use crate::engine::live::CANCEL;
use crate::engine::redact::Redactor;
use crate::engine::requests::{self, Routed, Wanted};
use crate::engine::runs;

/// The header under which the reference tells tools their conversation.
const CONVERSATION_HEADER: &str = "x-conversation-id";

/// What a tool answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What the model reads.
    pub text: String,
    /// It failed.
    pub failed: bool,
}

impl Answer {
    /// A failure in these words.
    pub fn failure(message: &str) -> Self {
        Self { text: serde_json::json!({ "error": message }).to_string(), failed: true }
    }
}

/// Opens the run of a call; or says what is wrong with the call. The outer error is the store's.
pub async fn open(
    scope: &TurnScope,
    request_id: &str,
    call: &Call,
) -> Result<Result<String, Answer>, Status> {
    let skill =
        SkillCall { skill: call.called.name.clone(), input_json: call.called.arguments.clone().into() };
    let routed = match requests::route(&scope.compiled.plan, Wanted::Skill(skill), &scope.asked.conversation)
    {
        Ok(routed) => routed,
        Err(status) => return Ok(Err(Answer::failure(status.message()))),
    };
    let key = format!("tool/{request_id}/{}", call.called.id);
    let Some(run_id) = sre_proto::ids::child_id(&scope.id, &key) else {
        return Err(internal("a turn has a malformed id", &scope.id));
    };
    let (row, opened) = described(scope, &run_id, &key, routed)?;
    let first = scope.engine.journal.apart(&run_id, record(RecordKind::Opened, None, &opened)).await?;
    // Left for anybody with a slot, also this engine: it hears of it at once.
    let request = OpenRunRequest { run: Some(row), records: vec![first], ..OpenRunRequest::default() };
    scope.engine.journal.open(request).await?;
    scope.engine.takeover.look(Claimable::Job);
    Ok(Ok(run_id))
}

fn described(
    scope: &TurnScope,
    run_id: &str,
    key: &str,
    routed: Routed,
) -> Result<(RunRecord, Opened), Status> {
    let Routed { mut request, entry, skill, .. } = routed;
    request.headers.insert(CONVERSATION_HEADER.into(), scope.asked.conversation.as_str().into());
    let request: RequestData = request;
    let version = &scope.version;
    let root = acl::candidate_of(&scope.opened.root)?;
    let marker = launch::new_marker();
    let stored = StoredRequest::of(&request, &Redactor::new(marker.clone()));
    let time = scope.left();
    let opened = Opened {
        agent: version.agent.to_string(),
        version: version.id.clone(),
        digest: version.digest.clone(),
        entry_kind: EntryKind::Endpoint.into(),
        component: scope.compiled.plan.entry_node(entry).id.to_string(),
        request: Some(stored.map_err(|error| internal("a tool's request cannot be written", &error))?),
        resume_grant: scope.opened.resume_grant.clone(),
        marker: marker.clone(),
        skill: skill.clone(),
        root: scope.opened.root.clone(),
        time_ms: launch::milliseconds(time),
        traceparent: scope.traceparent(),
        conversation: scope.asked.conversation.clone(),
        ..Opened::default()
    };
    let row = RunRecord {
        run_id: run_id.to_owned(),
        team: version.agent.team.clone(),
        agent: version.agent.agent.clone(),
        caller: root.to_string(),
        kind: RunKind::Skill.into(),
        parent_run: scope.id.clone(),
        idempotency_key: key.to_owned(),
        deadline: Some(timestamp(scope.engine.journal.clock().now() + time)),
        spec: Spec { marker }.encode_to_vec().into(),
        record_format: scope.compiled.record_format(),
        acl: Some((&acl::of_run(&root, &version.agent.agent)?).into()),
        label: skill,
        version: version.id.clone(),
        ..RunRecord::default()
    };
    Ok((row, opened))
}

/// Waits for the end of a tool's run. What its components pass through on the way goes on to the conversation's
/// watchers, as long as the run is this engine's: pieces are not kept, and all of them are in the answer.
pub async fn wait(scope: &TurnScope, request_id: &str, run_id: &str) -> Answer {
    let mut hearing = scope.engine.live.hear(run_id);
    let answer = answer(scope, run_id);
    tokio::pin!(answer);
    let answer = loop {
        tokio::select! {
            biased;
            heard = hearing.next() => pass_on(scope, request_id, heard),
            answer = &mut answer => break answer,
        }
    };
    while let Some(heard) = hearing.left() {
        pass_on(scope, request_id, heard);
    }
    answer
}

fn pass_on(scope: &TurnScope, request_id: &str, heard: Transient) {
    let run_event::Event::Content(piece) = heard.event else { return };
    scope.tell(|| {
        let request_id = request_id.to_owned();
        let content = TurnContent { request_id, text: piece.text, passed_through: true };
        if piece.thinking { Event::Thinking(content) } else { Event::Content(content) }
    });
}

/// The answer of a tool's run, once it ended. Secrets in its answer are their references: neither the model nor the history
/// learns them.
async fn answer(scope: &TurnScope, run_id: &str) -> Answer {
    let waited = async {
        ended::wait_through(&scope.engine, run_id).await?;
        loop {
            match scope.engine.journal.run(run_id).await {
                Err(status) if worth_repeating(&status) => {
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
                other => return other,
            }
        }
    };
    let row = match scope.slot.lend(waited).await {
        Ok(row) => row,
        Err(status) if status.code() == Code::NotFound => {
            return Answer::failure("the tool's run was deleted");
        }
        Err(status) => return Answer::failure(status.message()),
    };
    match ended::presentable_answer(&row) {
        Ok(closed) => {
            let failed = row.state() != RunState::Done || closed.http_status >= 400;
            let text = match (&closed.failure, row.state()) {
                (Some(failure), RunState::Failed | RunState::Cancelled) => {
                    return Answer::failure(&failure.message);
                }
                _ => tools::result_text(&closed.legacy),
            };
            Answer { text, failed }
        }
        Err(status) => Answer::failure(status.message()),
    }
}

/// Cancels the tools that a turn still waits for.
pub async fn cancel(scope: &TurnScope, runs: &[String], reason: &str) {
    for run in runs {
        let row = scope.engine.journal.find(run).await.ok().flatten();
        if row.is_none_or(|row| is_ended(row.state())) {
            continue;
        }
        if let Err(status) = runs::signal(&scope.engine, run, CANCEL, CANCEL, reason).await {
            tracing::warn!(run = scope.id, tool = run, %status, "a tool of a cancelled turn goes on");
        }
    }
}
