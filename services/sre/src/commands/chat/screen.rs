//! What a chat shows of its events: for people text as it comes, for scripts one JSON object a line.

use std::io::Write as _;

use serde_json::{Value, json};
use sre_proto::gateway::v1::conversation_event::Event;
use sre_proto::gateway::v1::turn_event::Event as Turn;
use sre_proto::gateway::v1::{ConversationEvent, ToolUse};

use super::talk::failure_of;
use crate::cli::output::{Output, complain};

/// The longest result that is shown of a tool.
const RESULT_CHARACTERS: usize = 200;

/// Shows the events of one prompt.
pub struct Screen {
    output: Output,
    /// What was shown of the answer that comes.
    shown: String,
    /// A tool passed words of its own through, on the line that is open.
    passed: bool,
}

impl Screen {
    /// Nothing shown yet.
    pub fn new(output: Output) -> Self {
        Self { output, shown: String::new(), passed: false }
    }

    /// Shows one.
    pub fn show(&mut self, event: &ConversationEvent) {
        if self.output.is_json() {
            if let Some(json) = as_json(event) {
                self.output.json(&json);
            }
            return;
        }
        match &event.event {
            Some(Event::TurnEvent(event)) => {
                if let Some(event) = &event.event {
                    self.turn(event);
                }
            }
            Some(Event::ActivationRestarted(_)) => {
                self.end_line();
                complain("(another engine goes on; the answer begins anew)");
            }
            Some(Event::End(end)) => {
                self.end_line();
                if let Some(failure) = failure_of(end) {
                    complain(&format!("({failure})"));
                }
            }
            Some(Event::StateChanged(_)) | None => {}
        }
    }

    fn turn(&mut self, event: &Turn) {
        match event {
            // A tool's own words are no part of the answer that follows.
            Turn::Content(content) if content.passed_through => {
                self.passed = true;
                print(&content.text);
            }
            Turn::Content(content) => {
                self.shown.push_str(&content.text);
                print(&content.text);
            }
            // Pieces may have been missed: what is missing follows.
            Turn::Answer(answer) => {
                match answer.text.strip_prefix(self.shown.as_str()) {
                    Some(rest) => {
                        print(rest);
                        self.shown.push_str(rest);
                    }
                    None => {
                        self.end_line();
                        print(&answer.text);
                        self.shown.clone_from(&answer.text);
                    }
                }
                self.end_line();
            }
            Turn::ToolCall(called) => complain(&format!("calling {}", call(called.call.as_ref()))),
            Turn::ToolResult(answered) => {
                self.end_line();
                let short: String = answered.result.chars().take(RESULT_CHARACTERS).collect();
                let name = answered.call.as_ref().map(|call| call.name.as_str()).unwrap_or_default();
                let how = if answered.failed { "failed" } else { "answered" };
                complain(&format!("{name} {how}: {short}"));
            }
            Turn::Interrupted(interrupted) => {
                self.end_line();
                complain(&format!("(interrupted: {})", interrupted.reason));
            }
            Turn::Fallback(fallback) => complain(&format!("({} answers for {})", fallback.to, fallback.from)),
            Turn::Compacted(_) => complain("(older messages were summed up)"),
            Turn::Queued(_) => complain("(waits for the prompt before it)"),
            Turn::PlanTasksAdded(added) => complain(&format!("planned: {}", ids(&added.tasks_json))),
            Turn::SubTasksAdded(added) => {
                complain(&format!("divided {} into: {}", added.task_id, ids(&added.tasks_json)));
            }
            Turn::TasksUpdated(updated) => {
                complain(&format!("task {} is {}", updated.task_id, updated.status))
            }
            Turn::TasksCompleted(_) => complain("all tasks are completed"),
            Turn::TasksCleared(_) => complain("the plan is cleared"),
            Turn::Start(_)
            | Turn::Requested(_)
            | Turn::Thinking(_)
            | Turn::Usage(_)
            | Turn::ToolInfo(_)
            | Turn::Error(_)
            | Turn::Aborted(_) => {}
        }
    }

    fn end_line(&mut self) {
        if !self.shown.is_empty() || self.passed {
            print("\n");
            self.shown.clear();
            self.passed = false;
        }
    }
}

fn parsed(json: &[u8]) -> Value {
    serde_json::from_slice(json).unwrap_or_default()
}

/// The ids of tasks.
fn ids(tasks_json: &[u8]) -> String {
    let tasks = parsed(tasks_json);
    let ids = tasks.as_object().into_iter().flat_map(serde_json::Map::keys);
    ids.map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// A call as people read it.
pub fn call(call: Option<&ToolUse>) -> String {
    let Some(call) = call else { return String::new() };
    format!("{}({})", call.name, String::from_utf8_lossy(&call.arguments_json))
}

/// Writes text as it is. A reader that went away is not an error.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = write!(out, "{text}").and_then(|()| out.flush());
}

/// A journalled event; pieces are no lines.
fn as_json(event: &ConversationEvent) -> Option<Value> {
    let (what, detail) = match event.event.as_ref()? {
        Event::TurnEvent(event) => match event.event.as_ref()? {
            Turn::Start(it) => ("start", json!({ "text": it.text })),
            Turn::Requested(it) => ("requested", json!({ "model": it.model, "tools": it.tools })),
            Turn::Answer(it) => ("answer", json!({ "text": it.text, "finish": it.finish_reason })),
            Turn::Usage(it) => ("usage", json!({ "model": it.model, "cost_micros": it.cost_micros })),
            Turn::ToolInfo(it) => ("toolInfo", json!({ "calls": it.calls.len() })),
            Turn::ToolCall(it) => ("toolCall", json!({ "call": call(it.call.as_ref()), "run": it.run })),
            Turn::ToolResult(it) => (
                "toolResult",
                json!({ "call": call(it.call.as_ref()), "result": it.result, "failed": it.failed }),
            ),
            Turn::Interrupted(it) => ("interrupted", json!({ "reason": it.reason })),
            Turn::Error(it) => ("error", json!({ "reason": it.reason, "message": it.message })),
            Turn::Aborted(it) => ("aborted", json!({ "reason": it.reason })),
            Turn::Fallback(it) => ("fallback", json!({ "from": it.from, "to": it.to })),
            Turn::Compacted(it) => ("compacted", json!({ "up_to": it.up_to })),
            Turn::Queued(it) => ("queued", json!({ "before": it.before })),
            Turn::PlanTasksAdded(it) => ("planTasksAdded", json!({ "tasks": parsed(&it.tasks_json) })),
            Turn::SubTasksAdded(it) => {
                ("subTasksAdded", json!({ "task": it.task_id, "tasks": parsed(&it.tasks_json) }))
            }
            Turn::TasksUpdated(it) => ("tasksUpdated", json!({ "task": it.task_id, "status": it.status })),
            Turn::TasksCompleted(it) => ("tasksCompleted", json!({ "plan": parsed(&it.plan_json) })),
            Turn::TasksCleared(it) => ("tasksCleared", json!({ "plan": parsed(&it.plan_json) })),
            Turn::Content(_) | Turn::Thinking(_) => return None,
        },
        Event::ActivationRestarted(_) => ("restarted", json!({})),
        Event::StateChanged(_) => return None,
        Event::End(end) => ("end", json!({ "text": end.text, "failure": failure_of(end) })),
    };
    let cursor = event.cursor.unwrap_or_default();
    Some(json!({ "event": what, "turn": event.turn, "sequence": cursor.sequence, "detail": detail }))
}
