//! OpenAI's responses.

use serde_json::{Value, json};

use super::{Out, chat, message, tokens};
use crate::answer::{Answer, tool_pieces};
use crate::scenario::{Refuse, Step, ToolCall, UsageStyle};

/// The whole answer.
pub fn whole(answer: &Answer) -> Value {
    let mut output: Vec<Value> = Vec::new();
    for step in &answer.steps {
        match step {
            Step::Think(text) => match output.last_mut() {
                Some(last) if last["type"] == "reasoning" => grow(&mut last["summary"][0]["text"], text),
                _ => output.push(reasoning(answer, output.len(), text)),
            },
            Step::Signature(sealed) | Step::Redacted(sealed) => {
                if output.last().is_none_or(|last| last["type"] != "reasoning") {
                    output.push(reasoning(answer, output.len(), ""));
                }
                if let Some(last) = output.last_mut() {
                    last["encrypted_content"] = sealed.clone().into();
                }
            }
            Step::Text(text) => match output.last_mut() {
                Some(last) if last["type"] == "message" => grow(&mut last["content"][0]["text"], text),
                _ => output.push(said(answer, output.len(), &json!([output_text(text)]))),
            },
            Step::Refusal(text) => {
                let part = json!([{"type": "refusal", "refusal": text}]);
                output.push(said(answer, output.len(), &part));
            }
            Step::Tools(tools) => output.extend(tools.calls.iter().map(|call| item(call, &call.arguments))),
            Step::Search(query) => output.push(search(answer, output.len(), query, "completed")),
            Step::Cite(cite) => {
                if let Some(Value::Array(notes)) = output
                    .iter_mut()
                    .rfind(|item| item["type"] == "message")
                    .map(|item| &mut item["content"][0]["annotations"])
                {
                    notes.push(citation(&cite.url, &cite.title));
                }
            }
            _ => {}
        }
    }
    finished(answer, &output)
}

/// What is open while a stream is written.
struct Open<'o> {
    out: &'o mut Out,
    sequence: u64,
    items: Vec<Value>,
    /// The place of the open item of reasoning or text.
    open: Option<usize>,
}

impl Open<'_> {
    fn event(&mut self, kind: &str, mut data: Value, count: u64) {
        data["type"] = kind.into();
        data["sequence_number"] = self.sequence.into();
        self.sequence += 1;
        self.out.event(kind, &data, count);
    }

    fn add(&mut self, item: Value) -> usize {
        let place = self.items.len();
        let mut begun = item.clone();
        begun["status"] = "in_progress".into();
        if begun["type"] == "message" {
            begun["content"] = json!([]);
        }
        self.event("response.output_item.added", json!({"output_index": place, "item": begun}), 0);
        self.items.push(item);
        place
    }

    fn done(&mut self, place: usize) {
        let item = self.items[place].clone();
        self.event("response.output_item.done", json!({"output_index": place, "item": item}), 0);
    }

    /// The open item of this type, or a new one.
    fn switch(&mut self, kind: &str, new: impl FnOnce(usize) -> Value) -> usize {
        if let Some(place) = self.open.filter(|place| self.items[*place]["type"] == kind) {
            return place;
        }
        self.close();
        let place = self.add(new(self.items.len()));
        self.open = Some(place);
        let id = self.items[place]["id"].clone();
        if kind == "message" {
            let part = self.items[place]["content"][0].clone();
            let part = json!({"item_id": id, "output_index": place, "content_index": 0, "part": part});
            self.event("response.content_part.added", part, 0);
        } else {
            let part = json!({"type": "summary_text", "text": ""});
            let part = json!({"item_id": id, "output_index": place, "summary_index": 0, "part": part});
            self.event("response.reasoning_summary_part.added", part, 0);
        }
        place
    }

    fn close(&mut self) {
        let Some(place) = self.open.take() else { return };
        let item = self.items[place].clone();
        let id = &item["id"];
        if item["type"] == "message" {
            let part = &item["content"][0];
            if part["type"] == "output_text" {
                let done = json!({"item_id": id, "output_index": place, "content_index": 0,
                    "text": part["text"], "logprobs": []});
                self.event("response.output_text.done", done, 0);
            }
            let done = json!({"item_id": id, "output_index": place, "content_index": 0, "part": part});
            self.event("response.content_part.done", done, 0);
        } else {
            let done = json!({"item_id": id, "output_index": place, "summary_index": 0,
                "text": item["summary"][0]["text"]});
            self.event("response.reasoning_summary_text.done", done, 0);
        }
        self.done(place);
    }
}

/// The answer in events.
pub fn stream(answer: &Answer, out: &mut Out) {
    let mut open = Open { out, sequence: 0, items: Vec::new(), open: None };
    let begun = head(answer, "in_progress");
    open.event("response.created", json!({"response": begun}), 0);
    open.event("response.in_progress", json!({"response": begun}), 0);
    for step in &answer.steps {
        if !open.out.common(step) {
            send(answer, step, &mut open);
        }
        if matches!(step, Step::Error(_)) {
            return;
        }
    }
    if answer.scenario.unterminated {
        return;
    }
    open.close();
    let items = std::mem::take(&mut open.items);
    let last = finished(answer, &items);
    let kind = if last["status"] == "incomplete" { "response.incomplete" } else { "response.completed" };
    open.event(kind, json!({"response": last}), 0);
}

fn send(answer: &Answer, step: &Step, open: &mut Open<'_>) {
    match step {
        Step::Text(text) => {
            let new = |place| said(answer, place, &json!([output_text("")]));
            let place = open.switch("message", new);
            grow(&mut open.items[place]["content"][0]["text"], text);
            let id = open.items[place]["id"].clone();
            let delta = json!({"item_id": id, "output_index": place, "content_index": 0, "delta": text,
                "logprobs": []});
            open.event("response.output_text.delta", delta, tokens(text));
        }
        Step::Refusal(text) => {
            let new = |place| said(answer, place, &json!([{"type": "refusal", "refusal": ""}]));
            let place = open.switch("message", new);
            grow(&mut open.items[place]["content"][0]["refusal"], text);
            let id = open.items[place]["id"].clone();
            let delta = json!({"item_id": id, "output_index": place, "content_index": 0, "delta": text});
            open.event("response.refusal.delta", delta, tokens(text));
        }
        Step::Think(text) => {
            let place = open.switch("reasoning", |place| reasoning(answer, place, ""));
            grow(&mut open.items[place]["summary"][0]["text"], text);
            let id = open.items[place]["id"].clone();
            let delta = json!({"item_id": id, "output_index": place, "summary_index": 0, "delta": text});
            open.event("response.reasoning_summary_text.delta", delta, tokens(text));
        }
        Step::Signature(sealed) | Step::Redacted(sealed) => {
            let place = open.switch("reasoning", |place| reasoning(answer, place, ""));
            open.items[place]["encrypted_content"] = sealed.clone().into();
        }
        Step::Cite(cite) => {
            let Some(place) = open.open else { return };
            let note = citation(&cite.url, &cite.title);
            if let Value::Array(notes) = &mut open.items[place]["content"][0]["annotations"] {
                notes.push(note.clone());
            }
            let id = open.items[place]["id"].clone();
            let added = json!({"item_id": id, "output_index": place, "content_index": 0,
                "annotation_index": 0, "annotation": note});
            open.event("response.output_text.annotation.added", added, 0);
        }
        Step::Search(query) => {
            open.close();
            let place = open.add(search(answer, open.items.len(), query, "completed"));
            let id = open.items[place]["id"].clone();
            for stage in ["in_progress", "searching", "completed"] {
                let at = json!({"item_id": id, "output_index": place});
                open.event(&format!("response.web_search_call.{stage}"), at, 0);
            }
            open.done(place);
        }
        Step::Tools(tools) => {
            open.close();
            let first = open.items.len();
            for piece in tool_pieces(tools).into_iter().flatten() {
                if let Some(call) = piece.head {
                    open.add(item(call, ""));
                }
                let place = first + piece.place;
                grow(&mut open.items[place]["arguments"], &piece.fragment);
                let id = open.items[place]["id"].clone();
                if !piece.fragment.is_empty() {
                    let delta = json!({"item_id": id, "output_index": place, "delta": piece.fragment});
                    open.event("response.function_call_arguments.delta", delta, 1);
                }
            }
            for place in first..open.items.len() {
                let item = &open.items[place];
                let done = json!({"item_id": item["id"], "output_index": place, "name": item["name"],
                    "arguments": item["arguments"]});
                open.event("response.function_call_arguments.done", done, 0);
                open.done(place);
            }
        }
        Step::Error(refuse) => failed(answer, refuse, open),
        _ => {}
    }
}

/// An overload is a failed response, other errors are events.
fn failed(answer: &Answer, refuse: &Refuse, open: &mut Open<'_>) {
    let error = chat::error(refuse);
    if refuse.status >= 500 {
        let mut last = head(answer, "failed");
        last["error"] = json!({"code": "server_error", "message": message(refuse)});
        open.event("response.failed", json!({"response": last}), 0);
    } else {
        let data = json!({"code": error["code"], "message": message(refuse), "param": null});
        open.event("error", data, 0);
    }
}

fn head(answer: &Answer, status: &str) -> Value {
    json!({"id": answer.id("resp_"), "object": "response", "created_at": 1_790_000_000, "status": status,
        "model": answer.asked.model, "output": [], "error": null, "incomplete_details": null,
        "instructions": null, "metadata": {}, "parallel_tool_calls": true, "tool_choice": "auto", "tools": [],
        "temperature": 1.0, "top_p": 1.0, "usage": null})
}

fn finished(answer: &Answer, output: &[Value]) -> Value {
    let (status, reason) = match answer.finish.as_str() {
        "length" => ("incomplete", json!({"reason": "max_output_tokens"})),
        "content_filter" | "blocked" => ("incomplete", json!({"reason": "content_filter"})),
        "stop" | "tool_calls" => ("completed", Value::Null),
        word => ("incomplete", json!({"reason": word})),
    };
    let mut last = head(answer, status);
    last["output"] = output.into();
    last["incomplete_details"] = reason;
    if answer.usage_style != UsageStyle::Absent {
        let used = answer.usage;
        last["usage"] = json!({"input_tokens": used.input, "output_tokens": used.output,
            "total_tokens": used.input + used.output,
            "input_tokens_details": {"cached_tokens": used.cached},
            "output_tokens_details": {"reasoning_tokens": used.reasoning}});
    }
    last
}

fn grow(text: &mut Value, more: &str) {
    *text = format!("{}{more}", text.as_str().unwrap_or_default()).into();
}

fn output_text(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

fn said(answer: &Answer, place: usize, content: &Value) -> Value {
    json!({"type": "message", "id": format!("msg_{}_{place}", answer.asked.number), "role": "assistant",
        "status": "completed", "content": content})
}

fn reasoning(answer: &Answer, place: usize, text: &str) -> Value {
    json!({"type": "reasoning", "id": format!("rs_{}_{place}", answer.asked.number),
        "summary": [{"type": "summary_text", "text": text}]})
}

fn search(answer: &Answer, place: usize, query: &str, status: &str) -> Value {
    json!({"type": "web_search_call", "id": format!("ws_{}_{place}", answer.asked.number), "status": status,
        "action": {"type": "search", "query": query}})
}

fn item(call: &ToolCall, arguments: &str) -> Value {
    json!({"type": "function_call", "id": format!("fc_{}", call.id), "call_id": call.id, "name": call.name,
        "arguments": arguments, "status": "completed"})
}

fn citation(url: &str, title: &str) -> Value {
    json!({"type": "url_citation", "url": url, "title": title, "start_index": 0, "end_index": 5})
}
