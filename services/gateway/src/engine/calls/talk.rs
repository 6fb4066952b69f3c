//! Talks with a model that has tools: a turn without a conversation, whose messages are in its own journal.

use sre_components::context::calls::{CallError, CallFailure, Talk};
use sre_engine::{EntryId, Value};
use sre_proto::gateway::v1::{CompactionPolicy, ConversationSettings};
use sre_proto::memory::v1::RunState;

use super::birth::Birth;
use super::callee::Callee;
use super::{Caller, failure, wait};
use crate::engine::core::internal;
use crate::engine::ended;
use crate::engine::journal::records::{EntryKind, OwnTools, SubTurn, TurnAsked};
use crate::engine::journal::values::StoredValue;
use crate::engine::launch;
use crate::engine::redact::Redactor;

/// Asks, and waits for all that the model says.
pub(super) async fn talk(caller: &Caller, talk: Talk) -> Result<String, CallError> {
    let callee = Callee::find(caller, &talk.callee).await?;
    let scope = &caller.scope;
    let known = scope.redactor();
    // Neither the model nor what is kept of the talk learns secrets.
    let (prompt, instructions) =
        (known.presentable_text(&talk.prompt), known.presentable_text(&talk.instructions));
    let what = match talk.own_tools {
        Some(_) => format!("{}/{}", callee.version.agent.agent, caller.key.component),
        None => callee.version.agent.agent.clone(),
    };
    let digest = blake3::hash(prompt.as_bytes()).to_hex();
    let lineage = scope.lineage.enter(&what, &digest)?;
    let marker = launch::new_marker();
    let mut redactor = Redactor::new(marker.clone());
    scope.adopt_secrets(&mut redactor);
    let own_tools = talk.own_tools.map(|input| {
        let input = StoredValue::of(&redactor.redact(&Value::object(input)));
        let input = input.map_err(|error| failure(&internal("a talk's input cannot be written", &error)))?;
        Ok(OwnTools { activation: caller.key.to_string(), input: Some(input) })
    });
    let asked = TurnAsked {
        text: prompt,
        message_id: format!("msg_{}", sre_proto::ids::new_uuid()),
        settings: Some(ConversationSettings {
            model: talk.model,
            system_prompt: instructions,
            max_rounds: i32::try_from(talk.rounds).unwrap_or(i32::MAX),
            max_tool_calls: i32::try_from(talk.tool_calls).unwrap_or(i32::MAX),
            compaction: CompactionPolicy::Unspecified.into(),
            ..ConversationSettings::default()
        }),
        sub: Some(SubTurn { own_tools: own_tools.transpose()? }),
        ..TurnAsked::default()
    };
    let birth = Birth {
        conversation: "",
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
        time: scope.left(),
        redactor,
        marker,
    };
    let entry = entry(caller, scope.subject.entry);
    // From before it begins, so that nothing of it is missed.
    let hearing = scope.engine.live.hear(&birth.run_id().map_err(|status| failure(&status))?);
    let run_id = birth.turn(asked, entry, caller.key.component.to_string()).await;
    let run_id = run_id.map_err(|status| failure(&status))?;
    wait::for_end(caller, &run_id, hearing).await?;
    let row = wait::row(caller, &run_id).await?;
    let closed = ended::presentable_answer(&row).map_err(|status| failure(&status))?;
    if let Some(ended) = &closed.failure {
        return Err(wait::of_failure("", row.state(), ended));
    }
    match serde_json::from_slice::<serde_json::Value>(&closed.legacy) {
        Ok(answer) if row.state() == RunState::Done => {
            Ok(answer.get("text").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned())
        }
        _ => Err(CallError::new(CallFailure::Failed, "the talk ended without an answer")),
    }
}

/// Where the run of the component began: what that lets it call, its tools may call.
fn entry(caller: &Caller, entry: EntryId) -> (EntryKind, String) {
    let plan = &caller.scope.subject.compiled.plan;
    let component = plan.entry_node(entry).id.to_string();
    match plan.entry(&component) == Some(entry) {
        true => (EntryKind::Endpoint, component),
        false => (EntryKind::Job, component),
    }
}
