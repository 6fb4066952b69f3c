//! Answers: put together of blocks, whole ones or in pieces.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use sre_proto::llm::v1 as pb;
use sre_proto::llm::v1::part::Part as Kind;

use super::request::NAMES;
use crate::inference::error::InferenceError;
use crate::inference::finish::finish_reason;
use crate::inference::providers::anthropic::ANSWER_TOOL;
use crate::inference::providers::history::seal;
use crate::inference::providers::json::{sum, take};
use crate::inference::providers::names::Names;
use crate::inference::providers::wire::broken;
use crate::inference::providers::{Call, Piece};

/// What a call used.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Usage {
    input_tokens: i64,
    output_tokens: i64,
    cache_read_input_tokens: i64,
    cache_write_input_tokens: i64,
}

/// A block under way. Which kind it is shows at its first piece.
#[derive(Debug, Default)]
struct Block {
    text: String,
    thinking: String,
    signature: String,
    redacted: String,
    citations: Vec<Value>,
    tool: Option<Tool>,
}

#[derive(Debug, Default)]
struct Tool {
    index: i32,
    id: String,
    name: String,
    input: String,
}

/// Puts an answer together.
#[derive(Debug, Default)]
pub struct Assembly {
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

    /// An answer that came whole.
    pub fn whole(mut self, call: &Call, mut answer: Value) -> Result<pb::GenerateResponse, InferenceError> {
        let mut message = take(&mut take(&mut answer, "output"), "message");
        let Value::Array(blocks) = take(&mut message, "content") else {
            return Err(broken(call, "the answer holds no message"));
        };
        for (index, mut block) in blocks.into_iter().enumerate() {
            let index = index as u64;
            if block["toolUse"].is_object() {
                self.begin(index, &block);
                let input = block["toolUse"]["input"].to_string();
                self.write_input(index, &input);
                continue;
            }
            if let Some(reasoning) = block["reasoningContent"].get("reasoningText") {
                let reasoning = reasoning.clone();
                self.go_on(index, &serde_json::json!({"reasoningContent": reasoning}));
                continue;
            }
            let mut cited = take(&mut block, "citationsContent");
            if let Value::Array(texts) = take(&mut cited, "content") {
                texts.iter().for_each(|text| {
                    self.go_on(index, text);
                });
                if let Value::Array(citations) = take(&mut cited, "citations") {
                    self.blocks.entry(index).or_default().citations = citations;
                }
                continue;
            }
            self.go_on(index, &block);
        }
        self.stop(&answer);
        self.count(&answer["usage"]);
        Ok(self.finish(call))
    }

    /// A block begins.
    pub fn begin(&mut self, index: u64, start: &Value) -> Option<Piece> {
        let tool = start.get("toolUse")?;
        let text = |name: &str| tool[name].as_str().unwrap_or_default().to_owned();
        let name = text("name");
        let call =
            Tool { index: self.calls, id: text("toolUseId"), name: self.names.own(&name), ..Tool::default() };
        let is_answer = name == ANSWER_TOOL;
        let delta = pb::ToolCallDelta {
            index: call.index,
            id: call.id.clone(),
            name: call.name.clone(),
            ..pb::ToolCallDelta::default()
        };
        self.size_bytes += name.len() + 64;
        self.blocks.entry(index).or_default().tool = Some(call);
        if is_answer {
            return None;
        }
        self.calls += 1;
        Some(Piece::ToolCall(delta))
    }

    /// A block goes on.
    pub fn go_on(&mut self, index: u64, delta: &Value) -> Option<Piece> {
        if let Some(input) = delta["toolUse"]["input"].as_str() {
            return self.write_input(index, input);
        }
        let block = self.blocks.entry(index).or_default();
        if let Some(text) = delta["text"].as_str().filter(|text| !text.is_empty()) {
            self.size_bytes += text.len();
            block.text.push_str(text);
            return Some(Piece::Text(text.to_owned()));
        }
        let reasoning = &delta["reasoningContent"];
        let more = |name: &str| reasoning[name].as_str().unwrap_or_default();
        block.signature.push_str(more("signature"));
        block.redacted.push_str(more("redactedContent"));
        self.size_bytes += more("signature").len() + more("redactedContent").len() + more("text").len();
        if delta["citation"].is_object() {
            self.size_bytes += delta["citation"].to_string().len();
            block.citations.push(delta["citation"].clone());
        }
        let text = more("text");
        if text.is_empty() {
            return None;
        }
        block.thinking.push_str(text);
        Some(Piece::Thinking(text.to_owned()))
    }

    fn write_input(&mut self, index: u64, input: &str) -> Option<Piece> {
        let tool = self.blocks.get_mut(&index)?.tool.as_mut().filter(|_| !input.is_empty())?;
        self.size_bytes += input.len();
        tool.input.push_str(input);
        if tool.name == ANSWER_TOOL {
            return Some(Piece::Text(input.to_owned()));
        }
        Some(Piece::ToolCall(pb::ToolCallDelta {
            index: tool.index,
            arguments_fragment: input.to_owned(),
            ..pb::ToolCallDelta::default()
        }))
    }

    /// Why the answer ended.
    pub fn stop(&mut self, event: &Value) {
        self.stop_reason = event["stopReason"].as_str().map(str::to_owned);
    }

    /// What it used.
    pub fn count(&mut self, usage: &Value) {
        self.usage = Usage::deserialize(usage).ok();
    }

    /// Whether the provider said why the answer ended.
    pub fn has_ended(&self) -> bool {
        self.stop_reason.is_some()
    }

    /// Bytes held so far.
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// The whole answer.
    pub fn finish(self, call: &Call) -> pb::GenerateResponse {
        let (mut reason, detail) = finish_reason(self.stop_reason.as_deref());
        let mut answer = pb::GenerateResponse {
            finish_detail: detail,
            usage: self.usage.map(Into::into),
            model_id: call.model.model_id.clone(),
            provider: call.model.provider.clone(),
            ..pb::GenerateResponse::default()
        };
        for block in self.blocks.into_values() {
            let start = answer.text.len();
            answer.text.push_str(&block.text);
            let place = (start, answer.text.len());
            answer.citations.extend(block.citations.iter().map(|source| citation(source, place)));
            answer.thinking.push_str(&block.thinking);
            if !(block.signature.is_empty() && block.redacted.is_empty()) {
                let sealed =
                    |text: &str| if text.is_empty() { String::new() } else { seal(&call.model, text) };
                let thinking = pb::Thinking {
                    signature: sealed(&block.signature),
                    redacted: sealed(&block.redacted),
                    text: block.thinking,
                };
                answer.parts.push(pb::Part { part: Some(Kind::Thinking(thinking)) });
            }
            let Some(tool) = block.tool else { continue };
            let input = if tool.input.trim().is_empty() { "{}".to_owned() } else { tool.input };
            if tool.name == ANSWER_TOOL {
                answer.text.push_str(&input);
                if reason == pb::FinishReason::ToolCalls {
                    reason = pb::FinishReason::Stop;
                }
                continue;
            }
            answer.tool_calls.push(pb::ToolCall {
                id: tool.id,
                name: tool.name,
                arguments_json: input.into(),
                ..pb::ToolCall::default()
            });
        }
        answer.set_finish_reason(reason);
        answer
    }
}

/// A source; the place is the one of the block that it stands on.
fn citation(source: &Value, (start, end): (usize, usize)) -> pb::Citation {
    let place = |at: usize| i32::try_from(at).unwrap_or(i32::MAX);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    pb::Citation {
        url: text(&source["location"]["web"]["url"]),
        title: text(&source["title"]),
        start: place(start),
        end: place(end),
        quote: text(&source["sourceContent"][0]["text"]),
    }
}

impl From<Usage> for pb::TokenUsage {
    /// The interface counts what was cached apart; our figure of the request is the whole request.
    fn from(usage: Usage) -> Self {
        Self {
            input_tokens: sum([
                usage.input_tokens,
                usage.cache_read_input_tokens,
                usage.cache_write_input_tokens,
            ]),
            output_tokens: usage.output_tokens,
            cached_input_tokens: usage.cache_read_input_tokens,
            cache_write_tokens: usage.cache_write_input_tokens,
            ..Self::default()
        }
    }
}
