//! `sre runs watch`: a run's events, until it ends.

use anyhow::Result;
use futures::StreamExt as _;
use serde_json::{Value, json};
use sre_proto::gateway::v1::run_event::Event;
use sre_proto::gateway::v1::{
    EventCursor, RunEnded, RunEvent, RunState, ToolUse, TurnEvent, WatchRunRequest,
};

use super::{parse, state};
use crate::cli::exit::Failure;
use crate::cli::output::Output;
use crate::client::Client;
use crate::dates;

/// Streams that break off are taken up again at the last cursor, so often in a row.
const RESUMPTIONS: u32 = 5;

/// Shows the events.
pub async fn run(output: Output, client: &Client, name: String, after: Option<(i64, i32)>) -> Result<()> {
    let after = after.map(|(sequence, sub)| EventCursor { sequence, sub });
    let ended = follow(client, name, after, |event| show(output, event)).await?;
    if ended.state != i32::from(RunState::Done) {
        return Err(Failure::failed(format!("the run ended {}", state(ended.state))));
    }
    Ok(())
}

/// Hands every event to `seen`, and gives the last one.
pub async fn follow(
    client: &Client,
    name: String,
    mut after: Option<EventCursor>,
    mut seen: impl FnMut(&RunEvent),
) -> Result<RunEnded> {
    let mut broken = 0;
    loop {
        let request = WatchRunRequest { name: name.clone(), after };
        let mut events = client.runs().watch_run(request).await?.into_inner();
        let failure = loop {
            match events.next().await {
                Some(Ok(event)) => {
                    broken = 0;
                    seen(&event);
                    after = event.cursor.or(after);
                    if let Some(Event::RunEnded(ended)) = event.event {
                        return Ok(ended);
                    }
                }
                Some(Err(status)) => break Some(status),
                None => break None,
            }
        };
        broken += 1;
        if broken > RESUMPTIONS {
            return Err(match failure {
                Some(status) => status.into(),
                None => Failure::failed(format!("the events of {name} end before the run does")),
            });
        }
    }
}

fn show(output: Output, event: &RunEvent) {
    let (what, detail) = describe(event);
    let cursor = event.cursor.unwrap_or_default();
    if output.is_json() {
        output
            .json(&json!({"sequence": cursor.sequence, "sub": cursor.sub, "event": what, "detail": detail}));
    } else {
        output.note(&format!("{:>4}.{:<3} {what:20} {}", cursor.sequence, cursor.sub, plain(&detail)));
    }
}

fn describe(event: &RunEvent) -> (&'static str, Value) {
    match &event.event {
        Some(Event::RunOpened(e)) => ("run opened", json!(e.skill)),
        Some(Event::ComponentStarted(e)) => {
            ("component started", json!(format!("{} {}", e.r#type, e.component)))
        }
        Some(Event::ComponentFinished(e)) if e.error.is_empty() => {
            ("component finished", json!(format!("{} {}", e.r#type, e.component)))
        }
        Some(Event::ComponentFinished(e)) => {
            ("component failed", json!(format!("{} {}: {}", e.r#type, e.component, e.error)))
        }
        Some(Event::Content(e)) => ("content", json!(e.text)),
        Some(Event::Log(e)) => ("log", json!(format!("{} {}: {}", e.component, e.level, e.message))),
        Some(Event::ActivationRestarted(e)) => ("restarted", json!(e.components.join(", "))),
        Some(Event::RunStateChanged(e)) => {
            let mut text = state(e.state);
            if !e.components.is_empty() {
                text.push_str(&format!(" for {}", e.components.join(", ")));
            }
            if e.until.is_some() {
                text.push_str(&format!(" until {}", dates::text(e.until.as_ref())));
            }
            ("state", json!(text))
        }
        Some(Event::ApprovalRequested(e)) => ("approval", json!(format!("{}: {}", e.approval, e.title))),
        Some(Event::RunEnded(e)) => ("run ended", parse(&e.legacy_json)),
        Some(Event::Turn(e)) => turn(e),
        None => ("unknown", Value::Null),
    }
}

/// What happens in a turn of a conversation.
fn turn(event: &TurnEvent) -> (&'static str, Value) {
    use sre_proto::gateway::v1::turn_event::Event as Turn;
    let call = |call: &Option<ToolUse>| call.as_ref().map(|call| call.name.clone()).unwrap_or_default();
    match &event.event {
        Some(Turn::Start(e)) => ("prompt", json!(e.text)),
        Some(Turn::Requested(e)) => ("model", json!(e.model)),
        Some(Turn::Content(e)) => ("content", json!(e.text)),
        Some(Turn::Thinking(e)) => ("thinking", json!(e.text)),
        Some(Turn::Answer(e)) => ("answer", json!(e.text)),
        Some(Turn::Usage(e)) => ("usage", json!(e.cost_micros)),
        Some(Turn::ToolInfo(e)) => ("tools", json!(e.calls.len())),
        Some(Turn::ToolCall(e)) => ("tool call", json!(call(&e.call))),
        Some(Turn::ToolResult(e)) => ("tool result", json!(format!("{}: {}", call(&e.call), e.result))),
        Some(Turn::Interrupted(e)) => ("interrupted", json!(e.reason)),
        Some(Turn::Error(e)) => ("error", json!(e.message)),
        Some(Turn::Aborted(e)) => ("aborted", json!(e.reason)),
        Some(Turn::Fallback(e)) => ("fallback", json!(format!("{} -> {}", e.from, e.to))),
        Some(Turn::Compacted(e)) => ("compacted", json!(e.up_to)),
        Some(Turn::Queued(e)) => ("queued", json!(e.before)),
        Some(Turn::PlanTasksAdded(e)) => ("tasks added", parse(&e.tasks_json)),
        Some(Turn::SubTasksAdded(e)) => {
            ("subtasks added", json!({ (e.task_id.as_str()): parse(&e.tasks_json) }))
        }
        Some(Turn::TasksUpdated(e)) => ("task updated", json!(format!("{}: {}", e.task_id, e.status))),
        Some(Turn::TasksCompleted(_)) => ("tasks completed", Value::Null),
        Some(Turn::TasksCleared(_)) => ("tasks cleared", Value::Null),
        None => ("unknown", Value::Null),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost_types::Timestamp;
    use sre_proto::gateway::v1::RunStateChanged;

    #[test]
    fn a_wait_says_who_waits_and_until_when() {
        let changed = RunStateChanged {
            state: RunState::Waiting.into(),
            until: Some(Timestamp { seconds: 0, nanos: 0 }),
            components: vec!["nap".into(), "ask".into()],
        };
        let event = RunEvent { event: Some(Event::RunStateChanged(changed)), ..RunEvent::default() };
        assert_eq!(describe(&event), ("state", json!("waiting for nap, ask until 1970-01-01T00:00:00Z")));
    }
}
