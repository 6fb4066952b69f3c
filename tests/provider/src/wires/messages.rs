//! Anthropic's messages.

use serde_json::{Value, json};

use super::{Out, message, object, tokens};
use crate::answer::{Answer, tool_pieces};
use crate::scenario::{Order, Refuse, Step, Tools, UsageStyle};

/// The whole answer.
pub fn whole(answer: &Answer) -> Value {
    let mut content: Vec<Value> = Vec::new();
    for step in &answer.steps {
        match step {
            Step::Text(text) | Step::Refusal(text) => match content.last_mut() {
                Some(last) if last["type"] == "text" => grow(last, "text", text),
                _ => content.push(json!({"type": "text", "text": text})),
            },
            Step::Think(text) => match content.last_mut() {
                Some(last) if last["type"] == "thinking" => grow(last, "thinking", text),
                _ => content.push(json!({"type": "thinking", "thinking": text, "signature": ""})),
            },
            Step::Signature(text) => {
                if let Some(last) = content.last_mut().filter(|last| last["type"] == "thinking") {
                    last["signature"] = text.clone().into();
                }
            }
            Step::Redacted(data) => content.push(json!({"type": "redacted_thinking", "data": data})),
            Step::Tools(tools) => content.extend(tools.calls.iter().map(|call| {
                json!({"type": "tool_use", "id": call.id, "name": call.name, "input": object(&call.arguments)})
            })),
            _ => {}
        }
    }
    content.retain(|block| block["type"] != "text" || block["text"] != "");
    let mut whole = head(answer);
    whole["content"] = content.into();
    whole["stop_reason"] = finish(answer);
    if answer.usage_style == UsageStyle::Absent {
        whole["usage"] = Value::Null;
    } else {
        whole["usage"] = usage(answer, answer.usage.output);
    }
    whole
}

fn grow(block: &mut Value, field: &str, text: &str) {
    let grown = format!("{}{text}", block[field].as_str().unwrap_or_default());
    block[field] = grown.into();
}

/// The block that is open.
#[derive(Debug, Default)]
struct Blocks {
    index: i64,
    open: Option<&'static str>,
}

impl Blocks {
    fn switch(&mut self, out: &mut Out, kind: &'static str, block: &Value) {
        if self.open == Some(kind) && matches!(kind, "text" | "thinking") {
            return;
        }
        self.close(out);
        let start = json!({"type": "content_block_start", "index": self.index, "content_block": block});
        out.event("content_block_start", &start, 0);
        self.open = Some(kind);
    }

    fn delta(&self, out: &mut Out, delta: &Value, count: u64) {
        let delta = json!({"type": "content_block_delta", "index": self.index, "delta": delta});
        out.event("content_block_delta", &delta, count);
    }

    fn close(&mut self, out: &mut Out) {
        if self.open.take().is_some() {
            out.event("content_block_stop", &json!({"type": "content_block_stop", "index": self.index}), 0);
            self.index += 1;
        }
    }
}

/// The answer in events.
pub fn stream(answer: &Answer, out: &mut Out) {
    let counts = answer.usage_style != UsageStyle::Absent;
    let mut begin = head(answer);
    begin["content"] = json!([]);
    begin["stop_reason"] = Value::Null;
    if counts {
        begin["usage"] = usage(answer, 1);
    }
    out.event("message_start", &json!({"type": "message_start", "message": begin}), 0);
    out.event("ping", &json!({"type": "ping"}), 0);
    let mut blocks = Blocks::default();
    for step in &answer.steps {
        if out.common(step) {
            continue;
        }
        match step {
            Step::Text(text) | Step::Refusal(text) => {
                blocks.switch(out, "text", &json!({"type": "text", "text": ""}));
                blocks.delta(out, &json!({"type": "text_delta", "text": text}), tokens(text));
            }
            Step::Think(text) => {
                blocks.switch(out, "thinking", &json!({"type": "thinking", "thinking": "", "signature": ""}));
                blocks.delta(out, &json!({"type": "thinking_delta", "thinking": text}), tokens(text));
            }
            Step::Signature(text) => {
                blocks.delta(out, &json!({"type": "signature_delta", "signature": text}), 0);
            }
            Step::Redacted(data) => {
                blocks.switch(out, "redacted", &json!({"type": "redacted_thinking", "data": data}));
            }
            Step::Tools(tools) => {
                // Blocks come one after the other, whatever was wished for.
                let tools = Tools { calls: tools.calls.clone(), order: Order::Sequential };
                for piece in tool_pieces(&tools).into_iter().flatten() {
                    if let Some(call) = piece.head {
                        let block =
                            json!({"type": "tool_use", "id": call.id, "name": call.name, "input": {}});
                        blocks.switch(out, "tool_use", &block);
                    }
                    blocks.delta(
                        out,
                        &json!({"type": "input_json_delta", "partial_json": piece.fragment}),
                        1,
                    );
                }
            }
            Step::Error(refuse) => out.event("error", &error(refuse), 0),
            _ => {}
        }
    }
    if answer.scenario.unterminated {
        return;
    }
    blocks.close(out);
    let mut end =
        json!({"type": "message_delta", "delta": {"stop_reason": finish(answer), "stop_sequence": null}});
    if counts {
        end["usage"] = usage(answer, answer.usage.output);
    }
    out.event("message_delta", &end, 0);
    out.event("message_stop", &json!({"type": "message_stop"}), 0);
}

fn head(answer: &Answer) -> Value {
    json!({"id": answer.id("msg_"), "type": "message", "role": "assistant", "model": answer.asked.model,
        "stop_sequence": null})
}

fn finish(answer: &Answer) -> Value {
    match answer.finish.as_str() {
        "stop" if !answer.refusal().is_empty() => "refusal",
        "stop" => "end_turn",
        "length" => "max_tokens",
        "tool_calls" => "tool_use",
        "content_filter" | "blocked" => "refusal",
        word => word,
    }
    .into()
}

/// Cached tokens are not part of the input here.
fn usage(answer: &Answer, output: u64) -> Value {
    let used = answer.usage;
    json!({"input_tokens": used.input.saturating_sub(used.cached + used.cache_write),
        "cache_read_input_tokens": used.cached, "cache_creation_input_tokens": used.cache_write,
        "output_tokens": output})
}

/// An error.
pub fn error(refuse: &Refuse) -> Value {
    let usual = match refuse.status {
        400 | 422 => "invalid_request_error",
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        408 | 504 => "timeout_error",
        529 => "overloaded_error",
        _ => "api_error",
    };
    let kind = if refuse.code.is_empty() { usual } else { &refuse.code };
    json!({"type": "error", "error": {"type": kind, "message": message(refuse)}, "request_id": "req_fake"})
}
