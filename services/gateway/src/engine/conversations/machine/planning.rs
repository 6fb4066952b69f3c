//! What becomes of the calls of an answer: which are run, and which have their results at once.

use sre_proto::gateway::v1::turn_event::Event;
use sre_proto::gateway::v1::{ToolCalled, ToolUse, ToolsRequested};

use super::super::planner::{self, Plan};
use super::super::steps::Entry;
use super::super::tools;
use super::Turn;

impl Turn {
    /// What becomes of the calls of the answer: those that are not run get their results at once.
    pub fn plan(&self, declared: &[tools::Declared]) -> Vec<Entry> {
        let Some(answer) = &self.answer else { return Vec::new() };
        let used: Vec<ToolUse> = (0i32..)
            .zip(&answer.tool_calls)
            .map(|(index, call)| {
                let known = declared.iter().find(|known| known.tool.name == call.name);
                ToolUse {
                    index,
                    id: call.id.clone(),
                    name: call.name.clone(),
                    arguments_json: tools::arguments(&call.arguments_json).into(),
                    status: known.map(|known| known.status.clone()).unwrap_or_default(),
                }
            })
            .collect();
        let mut entries = vec![Entry::event(Event::ToolInfo(ToolsRequested {
            request_id: self.request.clone(),
            calls: used.clone(),
            content: answer.text.clone(),
        }))];
        let mut left = self.limits.tool_calls.saturating_sub(self.tool_calls);
        let mut seen = self.seen.clone();
        let mut plan = self.plan.clone();
        for used in used {
            let name = used.name.clone();
            let key = (name.clone(), String::from_utf8_lossy(&used.arguments_json).into_owned());
            if left == 0 {
                let text = deferred(self.limits.tool_calls);
                entries.push(self.result(used, text, false, true));
                continue;
            }
            left -= 1;
            if planner::is_tool(&name) && declared.iter().any(|known| known.tool.name == name) {
                entries.extend(self.planned_by(used, plan.get_or_insert_default()));
                continue;
            }
            let times = seen.entry(key).or_default();
            *times += 1;
            if !declared.iter().any(|known| known.tool.name == name) {
                let names: Vec<&str> = declared.iter().map(|known| known.tool.name.as_str()).collect();
                let text = format!("there is no tool {name:?}; the tools are: {}", names.join(", "));
                entries.push(self.result(used, text, true, false));
            } else if *times > self.limits.repeated {
                let text = format!(
                    "{name} was called {} times with these arguments already: use what it answered",
                    *times - 1
                );
                entries.push(self.result(used, text, true, false));
            }
        }
        entries
    }

    /// A call of one of the planner's tools, which the turn itself answers. The same call may come again and again:
    /// what it answers depends on the plan.
    fn planned_by(&self, used: ToolUse, plan: &mut Plan) -> Vec<Entry> {
        let called =
            ToolCalled { request_id: self.request.clone(), call: Some(used.clone()), run: String::new() };
        let mut entries = vec![Entry::event(Event::ToolCall(called))];
        let answer = planner::call(plan, &used.name, &used.arguments_json, &self.request);
        entries.extend(answer.event.map(Entry::event));
        let result = tools::capped(&answer.text, self.limits.result_bytes);
        entries.push(self.result(used, result, answer.failed, false));
        entries
    }
}

/// What a call that was not made answers, in the form of the reference.
fn deferred(limit: u32) -> String {
    let message = format!("not called: the limit of {limit} calls of tools for one prompt is reached");
    serde_json::json!({ "status": "pending", "message": message, "pending": true }).to_string()
}
