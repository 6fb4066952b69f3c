//! Calls of skills.

use std::sync::Arc;

use sre_components::context::calls::{CallError, CallFailure, SkillAnswer, SkillCalled, SkillResult};
use sre_engine::Value;
use sre_proto::gateway::v1::SkillCall;
use sre_proto::memory::v1::RunState;
use tonic::Code;

use super::birth::Birth;
use super::callee::Callee;
use super::{Caller, failure, wait};
use crate::engine::answers::Closed;
use crate::engine::ended::{self, Ended};
use crate::engine::launch;
use crate::engine::redact::Redactor;
use crate::engine::requests::{self, Routed, Wanted};

/// Calls a skill and waits for its answer.
pub(super) async fn call(caller: &Caller, call: SkillCalled) -> Result<SkillAnswer, CallError> {
    let callee = Callee::find(caller, &call.callee).await?;
    let routed = route(caller, &callee, &call)?;
    let what = format!("{}/{}", callee.version.agent.agent, call.skill);
    let scope = &caller.scope;
    let lineage = scope.lineage.enter(&what, &routed.digest)?;
    let marker = launch::new_marker();
    let mut redactor = Redactor::new(marker.clone());
    if callee.own {
        scope.adopt_secrets(&mut redactor);
    }
    let time = call.time.map_or(scope.left(), |time| time.min(scope.left()));
    // Another agent has no part in the conversation.
    let conversation =
        if callee.version.agent == scope.subject.version.agent { &scope.conversation } else { "" };
    let birth = Birth {
        conversation,
        engine: &scope.engine,
        parent: &scope.id,
        key: &caller.key.idempotency_key(&scope.id),
        version: &callee.version,
        compiled: &callee.compiled,
        grant: &callee.grant,
        root: &scope.subject.root,
        traceparent: &scope.traceparent(),
        lineage: &lineage,
        above: &scope.nesting,
        time,
        redactor,
        marker,
    };
    // From before it begins, so that nothing of it is missed.
    let hearing = scope.engine.live.hear(&birth.run_id().map_err(|status| failure(&status))?);
    let run_id = birth.skill(routed).await.map_err(|status| failure(&status))?;
    let ended = wait::for_end(caller, &run_id, hearing).await?;
    let (state, closed) = answer(caller, &callee, ended, &run_id).await?;
    let mut answer = read(&call.skill, state, &closed)?;
    answer.run = callee.version.agent.run(&run_id);
    Ok(answer)
}

fn route(caller: &Caller, callee: &Callee, call: &SkillCalled) -> Result<Routed, CallError> {
    let input = Value::object(call.input.clone());
    let skill = SkillCall { skill: call.skill.clone(), input_json: input.to_json_text().into() };
    let session = caller.scope.session_id.trim_start_matches("rt-");
    let routed = requests::route(&callee.compiled.plan, Wanted::Skill(skill), session);
    let mut routed = routed.map_err(|status| match status.code() {
        Code::NotFound => CallError::new(
            CallFailure::SkillNotFound,
            format!("Agent '{}' has no skill '{}'", callee.version.agent.agent, call.skill),
        ),
        _ => failure(&status),
    })?;
    // As they are: JSON knows no files.
    if routed.request.method != "GET" {
        routed.request.body = input;
    }
    Ok(routed)
}

/// The answer as this run may see it: another agent's secrets are their references.
async fn answer(
    caller: &Caller,
    callee: &Callee,
    ended: Ended,
    run_id: &str,
) -> Result<(RunState, Arc<Closed>), CallError> {
    match ended {
        Ended::Here(state, closed) if callee.own => Ok((state, closed)),
        Ended::Stored(row) if callee.own => {
            let closed = ended::restored_answer(&caller.scope, &row).await;
            Ok((row.state(), Arc::new(closed.map_err(|status| failure(&status))?)))
        }
        Ended::Stored(row) => presentable(&row),
        Ended::Here(..) => presentable(&wait::row(caller, run_id).await?),
    }
}

fn presentable(row: &sre_proto::memory::v1::RunRecord) -> Result<(RunState, Arc<Closed>), CallError> {
    let closed = ended::presentable_answer(row).map_err(|status| failure(&status))?;
    Ok((row.state(), Arc::new(closed)))
}

fn read(skill: &str, state: RunState, closed: &Closed) -> Result<SkillAnswer, CallError> {
    if let Some(ended) = &closed.failure {
        return Err(wait::of_failure(&format!("Skill '{skill}'"), state, ended));
    }
    if let Some(error) = closed.errors.first() {
        let message = format!("Skill '{skill}' failed: {}", error.message);
        return Err(CallError::new(CallFailure::Failed, message));
    }
    let value = |json: &[u8]| serde_json::from_slice(json).unwrap_or(Value::Null);
    let answer = value(&closed.legacy);
    // What an endpoint itself refuses is in no component's error.
    if closed.http_status >= 400 {
        let said = answer.get("error").map_or_else(|| answer.to_json_text(), Value::to_text);
        return Err(CallError::new(CallFailure::Invalid, format!("Skill '{skill}' failed: {said}")));
    }
    let results = closed
        .results
        .iter()
        .map(|part| SkillResult { component_type: part.component_type.clone(), value: value(&part.json) });
    Ok(SkillAnswer { results: results.collect(), answer, run: String::new() })
}
