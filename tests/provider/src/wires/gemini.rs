//! Google's `generateContent`, as Google AI and Vertex AI send it.

use serde_json::{Value, json};

use super::{Out, message, object, tokens};
use crate::answer::Answer;
use crate::scenario::{Order, Refuse, Step, ToolCall, UsageStyle};

/// The whole answer.
pub fn whole(answer: &Answer) -> Value {
    let mut parts: Vec<Value> = Vec::new();
    let text = |kind: bool, text: &str, parts: &mut Vec<Value>| match parts.last_mut() {
        Some(last) if last.get("text").is_some() && last.get("thought").is_some() == kind => {
            let grown = format!("{}{text}", last["text"].as_str().unwrap_or_default());
            last["text"] = grown.into();
        }
        _ => parts.push(if kind { json!({"text": text, "thought": true}) } else { json!({"text": text}) }),
    };
    for step in &answer.steps {
        match step {
            Step::Text(said) | Step::Refusal(said) => text(false, said, &mut parts),
            Step::Think(said) => text(true, said, &mut parts),
            Step::Signature(signature) => sign(&mut parts, signature),
            Step::Tools(tools) => parts.extend(tools.calls.iter().map(call)),
            _ => {}
        }
    }
    let mut whole = chunk(answer, parts, finish(answer));
    if answer.usage_style != UsageStyle::Absent {
        whole["usageMetadata"] = usage(answer);
    }
    grounding(answer, &mut whole);
    whole
}

/// The answer in chunks, each of the shape of a whole answer.
pub fn stream(answer: &Answer, out: &mut Out) {
    let repeats = answer.usage_style == UsageStyle::Repeated;
    let send = |out: &mut Out, parts: Vec<Value>, count: u64| {
        let mut chunk = chunk(answer, parts, Value::Null);
        if repeats {
            chunk["usageMetadata"] = usage(answer);
        }
        out.event("", &chunk, count);
    };
    for step in &answer.steps {
        if out.common(step) {
            continue;
        }
        match step {
            Step::Text(text) | Step::Refusal(text) => send(out, vec![json!({"text": text})], tokens(text)),
            Step::Think(text) => send(out, vec![json!({"text": text, "thought": true})], tokens(text)),
            Step::Signature(signature) => {
                send(out, vec![json!({"text": "", "thoughtSignature": signature})], 0);
            }
            // Arguments come whole: in one chunk, or a chunk for each call.
            Step::Tools(tools) if tools.order == Order::Together => {
                send(out, tools.calls.iter().map(call).collect(), 2);
            }
            Step::Tools(tools) => tools.calls.iter().for_each(|made| send(out, vec![call(made)], 2)),
            Step::Error(refuse) => out.event("", &json!({"error": error(refuse)}), 0),
            _ => {}
        }
    }
    if answer.scenario.unterminated {
        return;
    }
    let parts = if answer.finish == "blocked" { Vec::new() } else { vec![json!({"text": ""})] };
    let mut last = chunk(answer, parts, finish(answer));
    if answer.usage_style != UsageStyle::Absent {
        last["usageMetadata"] = usage(answer);
    }
    grounding(answer, &mut last);
    out.event("", &last, 0);
}

fn sign(parts: &mut [Value], signature: &str) {
    if let Some(last) = parts.last_mut() {
        last["thoughtSignature"] = signature.into();
    }
}

fn chunk(answer: &Answer, parts: Vec<Value>, finish: Value) -> Value {
    let mut chunk = json!({"modelVersion": answer.asked.model, "responseId": answer.id("gem-")});
    if answer.finish == "blocked" {
        chunk["promptFeedback"] = json!({"blockReason": "PROHIBITED_CONTENT"});
        return chunk;
    }
    let mut candidate = json!({"content": {"role": "model", "parts": parts}, "index": 0});
    if !finish.is_null() {
        candidate["finishReason"] = finish;
    }
    chunk["candidates"] = json!([candidate]);
    chunk
}

fn call(call: &ToolCall) -> Value {
    let made = json!({"id": call.id, "name": call.name, "args": object(&call.arguments)});
    let mut part = json!({"functionCall": made});
    if !call.signature.is_empty() {
        part["thoughtSignature"] = call.signature.clone().into();
    }
    part
}

/// Calls end like any answer here.
fn finish(answer: &Answer) -> Value {
    match answer.finish.as_str() {
        "stop" if !answer.refusal().is_empty() => "SAFETY".into(),
        "stop" | "tool_calls" => "STOP".into(),
        "length" => "MAX_TOKENS".into(),
        "content_filter" => "SAFETY".into(),
        word => word.to_uppercase().into(),
    }
}

/// Thinking is counted beside the answer here.
fn usage(answer: &Answer) -> Value {
    let used = answer.usage;
    let mut usage = json!({"promptTokenCount": used.input,
        "candidatesTokenCount": used.output.saturating_sub(used.reasoning),
        "totalTokenCount": used.input + used.output});
    if used.reasoning > 0 {
        usage["thoughtsTokenCount"] = used.reasoning.into();
    }
    if used.cached > 0 {
        usage["cachedContentTokenCount"] = used.cached.into();
    }
    usage
}

fn grounding(answer: &Answer, whole: &mut Value) {
    let cites = answer.cites();
    if cites.is_empty() || whole.get("candidates").is_none() {
        return;
    }
    let chunks = cites.iter().map(|cite| json!({"web": {"uri": cite.url, "title": cite.title}}));
    whole["candidates"][0]["groundingMetadata"] = json!({"groundingChunks": chunks.collect::<Vec<_>>()});
}

/// An error object.
pub fn error(refuse: &Refuse) -> Value {
    let usual = match refuse.status {
        400 | 413 | 422 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        408 | 504 => "DEADLINE_EXCEEDED",
        503 | 529 => "UNAVAILABLE",
        _ => "INTERNAL",
    };
    let status = if refuse.code.is_empty() { usual } else { &refuse.code };
    let mut error = json!({"code": refuse.status, "message": message(refuse), "status": status});
    if let Some(ms) = refuse.retry_after_ms.or(refuse.retry_after.map(|seconds| seconds * 1000)) {
        let delay = format!("{}s", std::time::Duration::from_millis(ms).as_secs_f64());
        error["details"] =
            json!([{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}]);
    }
    error
}
