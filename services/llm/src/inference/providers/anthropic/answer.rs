//! Answers: put together of content blocks, whole ones or in pieces.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use sre_proto::llm::v1 as pb;
use sre_proto::llm::v1::part::Part as Kind;

use super::messages::PAUSED;
use super::request::{ANSWER_TOOL, NAMES};
use crate::inference::error::{InferenceError, Refusal};
use crate::inference::finish::finish_reason;
use crate::inference::http;
use crate::inference::providers::history::seal;
use crate::inference::providers::json::{sum, take};
use crate::inference::providers::names::Names;
use crate::inference::providers::{Call, Piece};

/// The word of an answer that the provider paused: it goes on when it is sent back.
pub const PAUSE: &str = "pause_turn";

/// What a call used, as far as it was told: the last figure of each kind counts.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub struct Usage {
    input_tokens: Option<i64>,
    output_tokens: Option<i64>,
    cache_creation_input_tokens: Option<i64>,
    cache_read_input_tokens: Option<i64>,
}

/// A block under way.
#[derive(Debug, Default)]
struct Block {
    /// As it began.
    raw: Map<String, Value>,
    /// Text, thinking or JSON of arguments.
    written: String,
    signature: String,
    citations: Vec<Value>,
    /// Its place among the calls, where it is one.
    call: Option<i32>,
}

impl Block {
    fn kind(&self) -> &str {
        self.raw.get("type").and_then(Value::as_str).unwrap_or_default()
    }

    fn text_of(&self, name: &str) -> &str {
        self.raw.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    fn is_answer_tool(&self) -> bool {
        self.kind() == "tool_use" && self.text_of("name") == ANSWER_TOOL
    }

    /// Arguments that came with the beginning, where none came in pieces.
    fn arguments(&self) -> String {
        let begun =
            self.raw.get("input").filter(|input| input.as_object().is_some_and(|input| !input.is_empty()));
        match begun {
            _ if !self.written.trim().is_empty() => self.written.clone(),
            Some(input) => input.to_string(),
            None => "{}".to_owned(),
        }
    }

    /// The block as it would be sent back.
    fn whole(&self) -> Value {
        let mut raw = self.raw.clone();
        match self.kind() {
            "text" => {
                raw.insert("text".into(), self.written.clone().into());
                if !self.citations.is_empty() {
                    raw.insert("citations".into(), self.citations.clone().into());
                }
            }
            "thinking" => {
                raw.insert("thinking".into(), self.written.clone().into());
                raw.insert("signature".into(), self.signature.clone().into());
            }
            "tool_use" | "server_tool_use" => {
                let input = serde_json::from_str(&self.arguments()).unwrap_or_else(|_| json!({}));
                raw.insert("input".into(), input);
            }
            _ => {}
        }
        raw.into()
    }
}

/// Puts an answer together.
#[derive(Debug, Default)]
pub struct Assembly {
    id: String,
    names: Names,
    blocks: BTreeMap<u64, Block>,
    calls: i32,
    stop_reason: Option<String>,
    usage: Option<Usage>,
    size_bytes: usize,
}

impl Assembly {
    /// An answer to a call.
    pub fn of(call: &Call) -> Self {
        Self { names: Names::of(&call.request, NAMES), ..Self::default() }
    }

    /// A message that came whole.
    pub fn whole(mut self, call: &Call, mut message: Value) -> Result<pb::GenerateResponse, InferenceError> {
        if message["type"] == "error" {
            return Err(refusal(call, &message["error"]));
        }
        let Value::Array(blocks) = take(&mut message, "content") else {
            let message = "the answer holds no content".to_owned();
            return Err(InferenceError::Broken { provider: call.model.provider.clone(), message });
        };
        self.begin(&message);
        for (index, block) in blocks.into_iter().enumerate() {
            self.begin_block(index as u64, block);
        }
        self.stop(&message);
        Ok(self.finish(call))
    }

    /// The head of a message.
    pub fn begin(&mut self, message: &Value) {
        self.id = message["id"].as_str().filter(|id| id.len() <= 256).unwrap_or_default().to_owned();
        self.count(&message["usage"]);
    }

    /// Why the message ended, and what it used.
    pub fn stop(&mut self, delta: &Value) {
        if let Some(reason) = delta["stop_reason"].as_str() {
            self.stop_reason = Some(reason.to_owned());
        }
    }

    /// Figures are running totals: each later one replaces the one before.
    pub fn count(&mut self, usage: &Value) {
        let Ok(later) = Usage::deserialize(usage) else { return };
        let known = self.usage.get_or_insert_default();
        let fields = [
            (&mut known.input_tokens, later.input_tokens),
            (&mut known.output_tokens, later.output_tokens),
            (&mut known.cache_creation_input_tokens, later.cache_creation_input_tokens),
            (&mut known.cache_read_input_tokens, later.cache_read_input_tokens),
        ];
        for (field, value) in fields {
            *field = value.or(*field);
        }
    }

    /// A block begins; gives what of it a watcher sees.
    pub fn begin_block(&mut self, index: u64, block: Value) -> Vec<Piece> {
        let Value::Object(raw) = block else { return Vec::new() };
        let mut block = Block { raw, ..Block::default() };
        let written = match block.kind() {
            "text" => block.text_of("text").to_owned(),
            "thinking" => block.text_of("thinking").to_owned(),
            _ => String::new(),
        };
        block.signature = block.text_of("signature").to_owned();
        if let Some(Value::Array(citations)) = block.raw.get("citations") {
            block.citations = citations.clone();
        }
        let mut seen = Vec::new();
        if block.kind() == "tool_use" && !block.is_answer_tool() {
            block.call = Some(self.calls);
            let call = pb::ToolCallDelta {
                index: self.calls,
                id: block.text_of("id").to_owned(),
                name: self.names.own(block.text_of("name")),
                ..pb::ToolCallDelta::default()
            };
            self.calls += 1;
            seen.push(Piece::ToolCall(call));
        }
        self.size_bytes += 64;
        self.blocks.insert(index, block);
        seen.extend(self.write(index, &written));
        seen
    }

    /// A block goes on.
    pub fn go_on(&mut self, index: u64, delta: &Value) -> Option<Piece> {
        let text = |name: &str| delta[name].as_str().unwrap_or_default();
        match text("type") {
            "text_delta" => return self.write(index, text("text")),
            "thinking_delta" => return self.write(index, text("thinking")),
            "input_json_delta" => return self.write(index, text("partial_json")),
            "signature_delta" => {
                let signature = text("signature").to_owned();
                self.size_bytes += signature.len();
                self.blocks.get_mut(&index)?.signature.push_str(&signature);
            }
            "citations_delta" => {
                self.size_bytes += delta["citation"].to_string().len();
                self.blocks.get_mut(&index)?.citations.push(delta["citation"].clone());
            }
            _ => {}
        }
        None
    }

    fn write(&mut self, index: u64, more: &str) -> Option<Piece> {
        let block = self.blocks.get_mut(&index).filter(|_| !more.is_empty())?;
        block.written.push_str(more);
        self.size_bytes += more.len();
        match block.kind() {
            "text" => Some(Piece::Text(more.to_owned())),
            "thinking" => Some(Piece::Thinking(more.to_owned())),
            "tool_use" if block.is_answer_tool() => Some(Piece::Text(more.to_owned())),
            "tool_use" => Some(Piece::ToolCall(pb::ToolCallDelta {
                index: block.call.unwrap_or_default(),
                arguments_fragment: more.to_owned(),
                ..pb::ToolCallDelta::default()
            })),
            _ => None,
        }
    }

    /// Bytes held so far.
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// The whole answer.
    pub fn finish(self, call: &Call) -> pb::GenerateResponse {
        let model = &call.model;
        let mut answer = pb::GenerateResponse {
            model_id: model.model_id.clone(),
            provider: model.provider.clone(),
            response_id: self.id,
            usage: self.usage.map(Into::into),
            ..pb::GenerateResponse::default()
        };
        let is_paused = self.stop_reason.as_deref() == Some(PAUSE);
        let mut took_answer_tool = false;
        let mut push = |kind: Kind| answer.parts.push(pb::Part { part: Some(kind) });
        let item = |json: String| {
            let (provider, model_id) = (model.provider.clone(), model.model_id.clone());
            Kind::ProviderItem(pb::ProviderItem { provider, model_id, json: json.into() })
        };
        for block in self.blocks.values() {
            match block.kind() {
                "text" => {
                    let start = answer.text.len();
                    answer.text.push_str(&block.written);
                    let place = (start, answer.text.len());
                    answer.citations.extend(block.citations.iter().map(|source| citation(source, place)));
                }
                "thinking" => {
                    answer.thinking.push_str(&block.written);
                    push(Kind::Thinking(pb::Thinking {
                        text: block.written.clone(),
                        signature: seal(model, &block.signature),
                        redacted: String::new(),
                    }));
                }
                "redacted_thinking" => push(Kind::Thinking(pb::Thinking {
                    redacted: seal(model, block.text_of("data")),
                    ..pb::Thinking::default()
                })),
                "tool_use" if block.is_answer_tool() => {
                    took_answer_tool = true;
                    answer.text.push_str(&block.arguments());
                }
                "tool_use" => answer.tool_calls.push(pb::ToolCall {
                    id: block.text_of("id").to_owned(),
                    name: self.names.own(block.text_of("name")),
                    arguments_json: block.arguments().into(),
                    ..pb::ToolCall::default()
                }),
                _ => push(item(block.whole().to_string())),
            }
        }
        if is_paused {
            // All of it once more, in its order: what is sent back to go on, and kept nowhere.
            let blocks: Vec<_> = self.blocks.values().map(Block::whole).collect();
            push(item(json!({PAUSED: blocks}).to_string()));
            answer.set_finish_reason(pb::FinishReason::Other);
            PAUSE.clone_into(&mut answer.finish_detail);
            return answer;
        }
        let (reason, detail) = finish_reason(self.stop_reason.as_deref());
        let is_done = took_answer_tool && reason == pb::FinishReason::ToolCalls;
        answer.set_finish_reason(if is_done { pb::FinishReason::Stop } else { reason });
        answer.finish_detail = detail;
        answer
    }
}

/// A source; the place is the one of the text block that it stands on.
fn citation(source: &Value, (start, end): (usize, usize)) -> pb::Citation {
    let text = |name: &str| source[name].as_str().unwrap_or_default().to_owned();
    let title = if source["title"].is_string() { text("title") } else { text("document_title") };
    let place = |at: usize| i32::try_from(at).unwrap_or(i32::MAX);
    pb::Citation { url: text("url"), title, start: place(start), end: place(end), quote: text("cited_text") }
}

impl From<Usage> for pb::TokenUsage {
    /// The API counts what was cached apart; our figure of the request is the whole request.
    fn from(usage: Usage) -> Self {
        let cached_input_tokens = usage.cache_read_input_tokens.unwrap_or_default();
        let cache_write_tokens = usage.cache_creation_input_tokens.unwrap_or_default();
        Self {
            input_tokens: sum([
                usage.input_tokens.unwrap_or_default(),
                cached_input_tokens,
                cache_write_tokens,
            ]),
            output_tokens: usage.output_tokens.unwrap_or_default(),
            cached_input_tokens,
            cache_write_tokens,
            ..Self::default()
        }
    }
}

/// An error object under a status of success: its type stands for the status that it would have had.
pub fn refusal(call: &Call, error: &Value) -> InferenceError {
    let (message, code) = http::words(error);
    let status = match error["type"].as_str().unwrap_or_default() {
        "invalid_request_error" => 400,
        "authentication_error" => 401,
        "billing_error" => 402,
        "permission_error" => 403,
        "not_found_error" => 404,
        "request_too_large" => 413,
        "rate_limit_error" => 429,
        "timeout_error" => 504,
        "overloaded_error" => 529,
        _ => 500,
    };
    InferenceError::Refused(Box::new(Refusal {
        provider: call.model.provider.clone(),
        status,
        message: message.unwrap_or_else(|| "no reason given".to_owned()),
        code,
        ..Refusal::default()
    }))
}
