//! OpenAI's chat completions, as OpenAI and the services that took them over send them.

use serde_json::{Value, json};

use super::{Out, message, tokens};
use crate::answer::{Answer, ToolPiece, tool_pieces};
use crate::scenario::{Refuse, Step, UsageStyle};

/// The whole answer.
pub fn whole(answer: &Answer) -> Value {
    let mut said = json!({"role": "assistant", "content": answer.text()});
    let calls: Vec<Value> = answer
        .calls()
        .iter()
        .map(|call| {
            let function = json!({"name": call.name, "arguments": call.arguments});
            json!({"id": call.id, "type": "function", "function": function})
        })
        .collect();
    if !calls.is_empty() {
        if answer.text().is_empty() {
            said["content"] = Value::Null;
        }
        said["tool_calls"] = calls.into();
    }
    if !answer.thinking().is_empty() {
        said[thinking_field(answer)] = answer.thinking().into();
    }
    if !answer.refusal().is_empty() {
        said["refusal"] = answer.refusal().into();
        said["content"] = Value::Null;
    }
    let mut whole = head(answer, "chat.completion");
    whole["choices"] =
        json!([{"index": 0, "message": said, "finish_reason": finish(answer), "logprobs": null}]);
    if answer.usage_style != UsageStyle::Absent {
        whole["usage"] = usage(answer);
    }
    sources(answer, &mut whole);
    whole
}

/// The answer in chunks.
pub fn stream(answer: &Answer, out: &mut Out) {
    let mut begun = false;
    let mut next_call = 0;
    let mut send = |out: &mut Out, mut delta: Value, count: u64| {
        if !std::mem::replace(&mut begun, true) {
            delta["role"] = "assistant".into();
        }
        out.event("", &chunk(answer, &delta, Value::Null), count);
    };
    for step in &answer.steps {
        if out.common(step) {
            continue;
        }
        match step {
            Step::Text(text) => send(out, json!({"content": text}), tokens(text)),
            Step::Think(text) => {
                let mut delta = json!({});
                delta[thinking_field(answer)] = text.clone().into();
                send(out, delta, tokens(text));
            }
            Step::Refusal(text) => send(out, json!({"refusal": text}), tokens(text)),
            Step::Tools(tools) => {
                for pieces in tool_pieces(tools) {
                    let calls: Vec<Value> = pieces.iter().map(|piece| call(piece, next_call)).collect();
                    send(out, json!({"tool_calls": calls}), 1);
                }
                next_call += tools.calls.len();
            }
            Step::Error(refuse) => out.event("", &json!({"error": error(refuse)}), 0),
            _ => {}
        }
    }
    if answer.scenario.unterminated {
        return;
    }
    let mut last = chunk(answer, &json!({}), finish(answer));
    sources(answer, &mut last);
    let is_groq = answer.asked.flavour == "groq";
    match answer.usage_style {
        UsageStyle::WithFinish => last["usage"] = usage(answer),
        UsageStyle::Usual if is_groq => last["x_groq"] = json!({"id": "req_fake", "usage": usage(answer)}),
        _ => {}
    }
    out.event("", &last, 0);
    let is_asked = answer.asked.body["stream_options"]["include_usage"] == true;
    if answer.usage_style == UsageStyle::Usual && (is_asked || is_groq) {
        let mut last = head(answer, "chat.completion.chunk");
        last["choices"] = json!([]);
        last["usage"] = usage(answer);
        out.event("", &last, 0);
    }
    out.event("", &"[DONE]".into(), 0);
}

fn chunk(answer: &Answer, delta: &Value, finish: Value) -> Value {
    let mut chunk = head(answer, "chat.completion.chunk");
    chunk["choices"] = json!([{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": null}]);
    if answer.usage_style == UsageStyle::Repeated {
        chunk["usage"] = usage(answer);
    }
    chunk
}

fn head(answer: &Answer, object: &str) -> Value {
    json!({"id": answer.id("chatcmpl-"), "object": object, "created": 1_790_000_000, "model": answer.asked.model})
}

fn call(piece: &ToolPiece<'_>, first: usize) -> Value {
    let index = first + piece.place;
    match piece.head {
        Some(call) => json!({"index": index, "id": call.id, "type": "function",
            "function": {"name": call.name, "arguments": piece.fragment}}),
        None => json!({"index": index, "function": {"arguments": piece.fragment}}),
    }
}

fn thinking_field(answer: &Answer) -> &'static str {
    if answer.asked.flavour == "groq" { "reasoning" } else { "reasoning_content" }
}

fn finish(answer: &Answer) -> Value {
    match answer.finish.as_str() {
        "blocked" => "content_filter".into(),
        word => word.into(),
    }
}

fn usage(answer: &Answer) -> Value {
    let used = answer.usage;
    json!({"prompt_tokens": used.input, "completion_tokens": used.output, "total_tokens": used.input + used.output,
        "prompt_tokens_details": {"cached_tokens": used.cached},
        "completion_tokens_details": {"reasoning_tokens": used.reasoning}})
}

/// Perplexity and xAI list their sources beside the choices.
fn sources(answer: &Answer, whole: &mut Value) {
    let cites = answer.cites();
    if cites.is_empty() {
        return;
    }
    whole["citations"] = cites.iter().map(|cite| cite.url.clone()).collect::<Vec<_>>().into();
    if answer.asked.flavour == "perplexity" {
        let found = cites.iter().map(|cite| json!({"title": cite.title, "url": cite.url, "date": null}));
        whole["search_results"] = found.collect::<Vec<_>>().into();
    }
}

/// An error object.
pub fn error(refuse: &Refuse) -> Value {
    let (kind, usual) = match refuse.status {
        401 => ("invalid_request_error", "invalid_api_key"),
        403 => ("invalid_request_error", "permission_denied"),
        404 => ("invalid_request_error", "model_not_found"),
        429 => ("requests", "rate_limit_exceeded"),
        400..=499 => ("invalid_request_error", ""),
        503 => ("server_error", "overloaded"),
        _ => ("server_error", ""),
    };
    let code = if refuse.code.is_empty() { usual } else { &refuse.code };
    let code = if code.is_empty() { Value::Null } else { code.into() };
    json!({"message": message(refuse), "type": kind, "param": null, "code": code})
}
