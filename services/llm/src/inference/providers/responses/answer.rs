//! Answers, put together from items.

use serde_json::{Map, Value};
use sre_proto::llm::v1 as pb;
use sre_proto::llm::v1::part::Part as Kind;

use crate::inference::finish::finish_reason;
use crate::inference::providers::calls::Calls;
use crate::inference::providers::citations::Citations;
use crate::inference::providers::{Call, Piece};

/// What of an item of thinking the provider wants to see again.
const REPLAYED: &[&str] = &["type", "id", "summary", "content", "encrypted_content"];

/// Puts an answer together.
#[derive(Debug, Default)]
pub struct Assembly {
    pub text: String,
    pub thinking: String,
    pub calls: Calls,
    pub refused: bool,
    parts: Vec<pb::Part>,
    citations: Citations,
    /// Characters of the text before its current part.
    part_start: usize,
    id: String,
    status: String,
    reason: Option<String>,
    usage: Option<pb::TokenUsage>,
}

impl Assembly {
    /// A part of the text begins.
    pub fn begin_part(&mut self) {
        self.part_start = self.text.chars().count();
    }

    /// More text.
    pub fn say(&mut self, text: &str) -> Option<Piece> {
        self.text.push_str(text);
        (!text.is_empty()).then(|| Piece::Text(text.to_owned()))
    }

    /// More thinking.
    pub fn think(&mut self, text: &str) -> Option<Piece> {
        self.thinking.push_str(text);
        (!text.is_empty()).then(|| Piece::Thinking(text.to_owned()))
    }

    /// An annotation of the current part.
    pub fn cite(&mut self, annotation: &Value) {
        if annotation["type"] != "url_citation" {
            return;
        }
        let text = |name: &str| annotation[name].as_str().unwrap_or_default();
        let place = |name: &str| annotation[name].as_u64().and_then(|place| usize::try_from(place).ok());
        let place = place("start_index").zip(place("end_index"));
        let place = place.map(|(start, end)| (self.part_start + start, self.part_start + end));
        self.citations.add(text("url"), text("title"), place);
    }

    /// The arguments of a call are whole: what of them did not come in pieces.
    pub fn complete_call(&mut self, key: &str, item: &Value) -> Option<Piece> {
        let text = |name: &str| item[name].as_str().unwrap_or_default();
        let whole = text("arguments");
        let rest = whole.strip_prefix(self.calls.arguments(key)).unwrap_or_default().to_owned();
        let id = if text("call_id").is_empty() { text("id") } else { text("call_id") };
        self.calls.more(key, id, text("name"), &rest)
    }

    /// An item of thinking that is whole: it is sent again while its turn goes on.
    pub fn keep_reasoning(&mut self, call: &Call, item: &Value) {
        if item["encrypted_content"].as_str().is_none_or(str::is_empty) {
            return;
        }
        let kept: Map<String, Value> = REPLAYED
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), item.get(*name)?.clone())))
            .filter(|(_, value)| !value.is_null())
            .collect();
        let item = pb::ProviderItem {
            provider: call.model.provider.clone(),
            model_id: call.model.model_id.clone(),
            json: Value::from(kept).to_string().into(),
        };
        self.parts.push(pb::Part { part: Some(Kind::ProviderItem(item)) });
    }

    /// An item of a whole answer. Searches of the provider are its own affair: they are no calls of the caller's tools.
    pub fn take_item(&mut self, call: &Call, item: &Value) {
        let list = |name: &str| item[name].as_array().cloned().unwrap_or_default();
        match item["type"].as_str().unwrap_or_default() {
            "message" => {
                for part in list("content") {
                    self.begin_part();
                    self.say(part["text"].as_str().unwrap_or_default());
                    let refusal = part["refusal"].as_str().unwrap_or_default();
                    self.refused |= !refusal.is_empty();
                    self.say(refusal);
                    part["annotations"].as_array().into_iter().flatten().for_each(|note| self.cite(note));
                }
            }
            "reasoning" => {
                let thought: Vec<String> = [list("summary"), list("content")]
                    .concat()
                    .iter()
                    .filter_map(|part| {
                        part["text"].as_str().filter(|text| !text.is_empty()).map(str::to_owned)
                    })
                    .collect();
                self.think(&thought.join("\n\n"));
                self.keep_reasoning(call, item);
            }
            "function_call" => {
                let key = format!("whole-{}", self.calls.len());
                self.complete_call(&key, item);
            }
            _ => {}
        }
    }

    /// What the response says of itself at its end.
    pub fn close(&mut self, response: &Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        self.id = text(&response["id"]).chars().take(256).collect();
        self.status = text(&response["status"]);
        self.reason = response["incomplete_details"]["reason"].as_str().map(str::to_owned);
        let usage = &response["usage"];
        if usage.is_object() {
            let count = |value: &Value| value.as_i64().unwrap_or(0);
            self.usage = Some(pb::TokenUsage {
                input_tokens: count(&usage["input_tokens"]),
                output_tokens: count(&usage["output_tokens"]),
                cached_input_tokens: count(&usage["input_tokens_details"]["cached_tokens"]),
                reasoning_tokens: count(&usage["output_tokens_details"]["reasoning_tokens"]),
                ..pb::TokenUsage::default()
            });
        }
        for address in response["citations"].as_array().into_iter().flatten() {
            self.citations.add(address.as_str().unwrap_or_default(), "", None);
        }
    }

    /// Bytes held.
    pub fn size_bytes(&self) -> usize {
        self.text.len() + self.thinking.len() + self.calls.size_bytes()
    }

    /// The whole answer.
    pub fn finish(self, call: &Call) -> pb::GenerateResponse {
        let word = match (&self.reason, self.status.as_str()) {
            (Some(reason), _) => reason.as_str(),
            (None, "") => "completed",
            (None, status) => status,
        };
        let (mut reason, detail) = finish_reason(Some(word));
        if self.refused {
            reason = pb::FinishReason::ContentFilter;
        } else if !self.calls.is_empty() && reason == pb::FinishReason::Stop {
            reason = pb::FinishReason::ToolCalls;
        }
        pb::GenerateResponse {
            citations: self.citations.finish(&self.text),
            text: self.text,
            tool_calls: self.calls.finish(),
            finish_reason: reason as i32,
            finish_detail: detail,
            usage: self.usage,
            model_id: call.model.model_id.clone(),
            provider: call.model.provider.clone(),
            thinking: self.thinking,
            response_id: self.id,
            parts: self.parts,
            ..pb::GenerateResponse::default()
        }
    }
}
