//! A tool as a run: a child of the turn, durable before it is told of, named by the turn and the call. A repeated
//! start finds the first one, so that a tool that was called runs once, whoever goes on with the turn.

use sre_engine::RequestData;
use sre_proto::gateway::v1::turn_event::Event;
use sre_proto::gateway::v1::{SkillCall, TurnContent, run_event};
use sre_proto::memory::v1::RunState;
use tonic::{Code, Status};

use super::machine::Call;
use super::scope::TurnScope;
use super::tools;
use crate::engine::calls::birth::Birth;
use crate::engine::calls::lineage::Lineage;
use crate::engine::ended::{self, is_ended};
use crate::engine::events::Transient;
use crate::engine::journal::queue::worth_repeating;
use crate::engine::launch;
use crate::engine::live::{CANCEL, Hearing};
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

/// The run of a call.
pub struct Running {
    /// Its id.
    pub run: String,
    /// What it says on the way. Begun before the run is opened, for it may say its first words before the turn knows
    /// that it was.
    pub hearing: Hearing,
}

/// Opens the run of a call; or says what is wrong with the call. The outer error is the store's.
pub async fn open(
    scope: &TurnScope,
    request_id: &str,
    call: &Call,
) -> Result<Result<Running, Answer>, Status> {
    let skill =
        SkillCall { skill: call.called.name.clone(), input_json: call.called.arguments.clone().into() };
    let routed = match requests::route(&scope.compiled.plan, Wanted::Skill(skill), &scope.asked.conversation)
    {
        Ok(routed) => routed,
        Err(status) => return Ok(Err(Answer::failure(status.message()))),
    };
    let Routed { request, digest, .. } = &routed;
    let what = format!("{}/{}", scope.version.agent.agent, call.called.name);
    let lineage = match Lineage::kept(&scope.opened.lineage).enter(&what, digest) {
        Ok(lineage) => lineage,
        Err(error) => return Ok(Err(Answer::failure(&error.message))),
    };
    let mut request: RequestData = request.clone();
    request.headers.insert(CONVERSATION_HEADER.into(), scope.asked.conversation.as_str().into());
    let marker = launch::new_marker();
    let birth = Birth {
        engine: &scope.engine,
        parent: &scope.id,
        key: &format!("tool/{request_id}/{}", call.called.id),
        version: &scope.version,
        compiled: &scope.compiled,
        grant: &scope.opened.resume_grant,
        root: &scope.opened.root,
        traceparent: &scope.traceparent(),
        conversation: &scope.asked.conversation,
        lineage: &lineage,
        above: &scope.nesting,
        time: scope.left(),
        redactor: Redactor::new(marker.clone()),
        marker,
    };
    let hearing = scope.engine.live.hear(&birth.run_id()?);
    let run = Box::pin(birth.skill(Routed { request, ..routed })).await?;
    Ok(Ok(Running { run, hearing }))
}

/// Waits for the end of a tool's run. What its components pass through on the way goes on to the conversation's
/// watchers, as long as the run is this engine's: pieces are not kept, and all of them are in the answer.
pub async fn wait(scope: &TurnScope, request_id: &str, running: Running) -> Answer {
    let Running { run, mut hearing } = running;
    let answer = answer(scope, &run);
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
