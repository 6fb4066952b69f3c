//! Bedrock's `converse` and `converse-stream`.

use serde_json::{Value, json};

use super::{Out, eventstream, message, object, tokens};
use crate::answer::{Answer, tool_pieces};
use crate::scenario::{Order, Refuse, Step, Tools, UsageStyle};

/// The whole answer.
pub fn whole(answer: &Answer) -> Value {
    let mut content: Vec<Value> = Vec::new();
    let mut thinking = (String::new(), String::new());
    for step in &answer.steps {
        match step {
            Step::Think(text) => thinking.0.push_str(text),
            Step::Signature(text) => thinking.1.push_str(text),
            _ => {}
        }
    }
    if !thinking.0.is_empty() {
        let said = json!({"text": thinking.0, "signature": thinking.1});
        content.push(json!({"reasoningContent": {"reasoningText": said}}));
    }
    for step in &answer.steps {
        match step {
            Step::Redacted(data) => content.push(json!({"reasoningContent": {"redactedContent": data}})),
            Step::Text(text) | Step::Refusal(text) => match content.last_mut() {
                Some(last) if last.get("text").is_some() => {
                    last["text"] = format!("{}{text}", last["text"].as_str().unwrap_or_default()).into();
                }
                _ => content.push(json!({"text": text})),
            },
            Step::Tools(tools) => content.extend(tools.calls.iter().map(|call| {
                let input = object(&call.arguments);
                json!({"toolUse": {"toolUseId": call.id, "name": call.name, "input": input}})
            })),
            _ => {}
        }
    }
    let mut whole = json!({"output": {"message": {"role": "assistant", "content": content}},
        "stopReason": finish(answer), "metrics": {"latencyMs": 1}});
    if answer.usage_style != UsageStyle::Absent {
        whole["usage"] = usage(answer);
    }
    whole
}

/// The block that is open.
#[derive(Debug, Default)]
struct Blocks {
    index: i64,
    open: Option<&'static str>,
}

impl Blocks {
    /// Text and thinking begin without an event of their own.
    fn switch(&mut self, out: &mut Out, kind: &'static str) {
        if self.open != Some(kind) || kind == "tool" {
            self.close(out);
            self.open = Some(kind);
        }
    }

    fn delta(&self, out: &mut Out, delta: &Value, count: u64) {
        event(out, "contentBlockDelta", &json!({"contentBlockIndex": self.index, "delta": delta}), count);
    }

    fn close(&mut self, out: &mut Out) {
        if self.open.take().is_some() {
            event(out, "contentBlockStop", &json!({"contentBlockIndex": self.index}), 0);
            self.index += 1;
        }
    }
}

/// The answer in binary frames.
pub fn stream(answer: &Answer, out: &mut Out) {
    event(out, "messageStart", &json!({"role": "assistant"}), 0);
    let mut blocks = Blocks::default();
    for step in &answer.steps {
        if out.common(step) {
            continue;
        }
        match step {
            Step::Text(text) | Step::Refusal(text) => {
                blocks.switch(out, "text");
                blocks.delta(out, &json!({"text": text}), tokens(text));
            }
            Step::Think(text) => {
                blocks.switch(out, "think");
                blocks.delta(out, &json!({"reasoningContent": {"text": text}}), tokens(text));
            }
            Step::Signature(text) => {
                blocks.delta(out, &json!({"reasoningContent": {"signature": text}}), 0);
            }
            Step::Redacted(data) => {
                blocks.switch(out, "redacted");
                blocks.delta(out, &json!({"reasoningContent": {"redactedContent": data}}), 0);
            }
            Step::Tools(tools) => {
                let tools = Tools { calls: tools.calls.clone(), order: Order::Sequential };
                for piece in tool_pieces(&tools).into_iter().flatten() {
                    if let Some(call) = piece.head {
                        blocks.switch(out, "tool");
                        let start = json!({"toolUse": {"toolUseId": call.id, "name": call.name}});
                        let start = json!({"contentBlockIndex": blocks.index, "start": start});
                        event(out, "contentBlockStart", &start, 0);
                    } else {
                        blocks.delta(out, &json!({"toolUse": {"input": piece.fragment}}), 1);
                    }
                }
            }
            Step::Error(refuse) => {
                out.push(eventstream::exception(exception(refuse), &json!({"message": message(refuse)})), 0);
                out.last(None);
            }
            _ => {}
        }
    }
    if answer.scenario.unterminated {
        return;
    }
    blocks.close(out);
    event(out, "messageStop", &json!({"stopReason": finish(answer)}), 0);
    let mut metadata = json!({"metrics": {"latencyMs": 1}});
    if answer.usage_style != UsageStyle::Absent {
        metadata["usage"] = usage(answer);
    }
    event(out, "metadata", &metadata, 0);
}

fn event(out: &mut Out, name: &str, data: &Value, count: u64) {
    out.push(eventstream::event(name, data), count);
}

fn finish(answer: &Answer) -> &str {
    match answer.finish.as_str() {
        "stop" if !answer.refusal().is_empty() => "content_filtered",
        "stop" => "end_turn",
        "length" => "max_tokens",
        "tool_calls" => "tool_use",
        "content_filter" => "content_filtered",
        "blocked" => "guardrail_intervened",
        word => word,
    }
}

fn usage(answer: &Answer) -> Value {
    let used = answer.usage;
    let input = used.input.saturating_sub(used.cached + used.cache_write);
    json!({"inputTokens": input, "outputTokens": used.output, "totalTokens": used.input + used.output,
        "cacheReadInputTokens": used.cached, "cacheWriteInputTokens": used.cache_write})
}

/// The name of an exception, in streams and in the header `x-amzn-errortype`.
pub fn exception(refuse: &Refuse) -> &'static str {
    match refuse.status {
        400 | 413 | 422 => "validationException",
        401 | 403 => "accessDeniedException",
        404 => "resourceNotFoundException",
        408 => "modelTimeoutException",
        424 => "modelErrorException",
        429 => "throttlingException",
        503 | 529 => "serviceUnavailableException",
        _ => "internalServerException",
    }
}
