//! Ollama's own format: newline-delimited JSON.

use serde_json::{Value, json};

use super::{Out, message, object, tokens};
use crate::answer::Answer;
use crate::scenario::{Order, Step, ToolCall, UsageStyle};

/// The whole answer.
pub fn whole(answer: &Answer) -> Value {
    let said = format!("{}{}", answer.text(), answer.refusal());
    let mut message = json!({"role": "assistant", "content": said});
    if !answer.thinking().is_empty() {
        message["thinking"] = answer.thinking().into();
    }
    let calls: Vec<Value> = answer.calls().into_iter().map(call).collect();
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    let mut whole = end(answer);
    whole["message"] = message;
    whole
}

/// The answer in lines.
pub fn stream(answer: &Answer, out: &mut Out) {
    let send = |out: &mut Out, mut message: Value, count: u64| {
        message["role"] = "assistant".into();
        if message.get("content").is_none() {
            message["content"] = "".into();
        }
        let mut line = head(answer);
        line["message"] = message;
        line["done"] = false.into();
        out.line(&line, count);
    };
    for step in &answer.steps {
        if out.common(step) {
            continue;
        }
        match step {
            Step::Text(text) | Step::Refusal(text) => send(out, json!({"content": text}), tokens(text)),
            Step::Think(text) => send(out, json!({"thinking": text}), tokens(text)),
            // Each call is the first of its line's, whatever came before.
            Step::Tools(tools) if tools.order == Order::Together => {
                send(out, json!({"tool_calls": tools.calls.iter().map(call).collect::<Vec<_>>()}), 2);
            }
            Step::Tools(tools) => {
                tools.calls.iter().for_each(|made| send(out, json!({"tool_calls": [call(made)]}), 2));
            }
            Step::Error(refuse) => out.line(&json!({"error": message(refuse)}), 0),
            _ => {}
        }
    }
    if answer.scenario.unterminated {
        return;
    }
    let mut last = end(answer);
    last["message"] = json!({"role": "assistant", "content": ""});
    out.line(&last, 0);
}

fn head(answer: &Answer) -> Value {
    json!({"model": answer.asked.model, "created_at": "2026-11-01T12:00:00Z"})
}

fn call(call: &ToolCall) -> Value {
    json!({"function": {"name": call.name, "arguments": object(&call.arguments)}})
}

/// Calls end like any answer here.
fn end(answer: &Answer) -> Value {
    let mut end = head(answer);
    end["done"] = true.into();
    end["done_reason"] = match answer.finish.as_str() {
        "tool_calls" => "stop",
        "blocked" => "content_filter",
        word => word,
    }
    .into();
    if answer.usage_style != UsageStyle::Absent {
        end["prompt_eval_count"] = answer.usage.input.into();
        end["eval_count"] = answer.usage.output.into();
    }
    end
}
