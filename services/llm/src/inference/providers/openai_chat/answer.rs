//! Answers: whole ones, and those put together from pieces.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use sre_proto::llm::v1 as pb;

use crate::inference::finish::finish_reason;
use crate::inference::providers::{Call, Piece};

/// A longer id of an answer is none.
const LONGEST_ID: usize = 256;

/// A whole answer, or a piece of one. Unknown fields are ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Completion {
    id: Option<String>,
    choices: Vec<Choice>,
    usage: Option<Usage>,
    /// Some services report a failure in the middle of a stream.
    pub error: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Choice {
    #[serde(alias = "delta")]
    message: Option<Content>,
    finish_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Content {
    content: Option<String>,
    refusal: Option<String>,
    reasoning_content: Option<String>,
    /// The same under another name; some services send both.
    reasoning: Option<String>,
    tool_calls: Option<Vec<CallPart>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CallPart {
    index: Option<u64>,
    id: Option<String>,
    function: Option<FunctionPart>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct FunctionPart {
    name: Option<String>,
    /// Text by the contract; some services send the object.
    arguments: Option<Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Usage {
    prompt_tokens: i64,
    completion_tokens: i64,
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct PromptDetails {
    cached_tokens: i64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct CompletionDetails {
    reasoning_tokens: i64,
}

#[derive(Debug, Default)]
struct ToolCall {
    id: String,
    name: String,
    arguments: String,
}

/// Puts an answer together.
#[derive(Debug, Default)]
pub struct Assembly {
    id: String,
    text: String,
    thinking: String,
    calls: BTreeMap<u64, ToolCall>,
    finish: Option<String>,
    refused: bool,
    usage: Option<Usage>,
    choices: usize,
}

impl Assembly {
    /// Takes a completion or chunk; gives what of it a watcher sees.
    pub fn take(&mut self, completion: Completion) -> Vec<Piece> {
        if let Some(id) = completion.id.filter(|id| self.id.is_empty() && id.len() <= LONGEST_ID) {
            self.id = id;
        }
        // Some services repeat a running total in every chunk: the last one counts.
        if let Some(usage) = completion.usage {
            self.usage = Some(usage);
        }
        let mut seen = Vec::new();
        let Some(choice) = completion.choices.into_iter().next() else { return seen };
        self.choices += 1;
        if choice.finish_reason.is_some() {
            self.finish = choice.finish_reason;
        }
        let Some(content) = choice.message else { return seen };
        if let Some(thinking) =
            content.reasoning_content.or(content.reasoning).filter(|text| !text.is_empty())
        {
            self.thinking.push_str(&thinking);
            seen.push(Piece::Thinking(thinking));
        }
        self.refused |= content.refusal.as_ref().is_some_and(|text| !text.is_empty());
        for text in [content.content, content.refusal].into_iter().flatten() {
            if !text.is_empty() {
                self.text.push_str(&text);
                seen.push(Piece::Text(text));
            }
        }
        for (place, part) in content.tool_calls.into_iter().flatten().enumerate() {
            self.take_call(place as u64, part);
        }
        seen
    }

    fn take_call(&mut self, place: u64, part: CallPart) {
        let index = part.index.unwrap_or_else(|| {
            // Without an index, a new id begins a new call.
            let last = self.calls.last_key_value().map(|(index, call)| (*index, call.id.clone()));
            match (last, part.id.as_deref().filter(|id| !id.is_empty())) {
                (Some((index, known)), Some(id)) if known != id => index + 1,
                (Some((index, _)), _) => index,
                (None, _) => place,
            }
        });
        let call = self.calls.entry(index).or_default();
        if let Some(id) = part.id.filter(|id| !id.is_empty()) {
            call.id = id;
        }
        let Some(function) = part.function else { return };
        if let Some(name) = function.name.filter(|name| !name.is_empty()) {
            call.name = name;
        }
        match function.arguments {
            Some(Value::String(fragment)) => call.arguments.push_str(&fragment),
            None | Some(Value::Null) => {}
            Some(object) => call.arguments = object.to_string(),
        }
    }

    /// Bytes held so far.
    pub fn size_bytes(&self) -> usize {
        let calls: usize = self.calls.values().map(|call| call.arguments.len()).sum();
        self.text.len() + self.thinking.len() + calls
    }

    /// Whether the service said why the answer ended.
    pub fn has_ended(&self) -> bool {
        self.finish.is_some()
    }

    /// Whether there was any choice at all.
    pub fn has_begun(&self) -> bool {
        self.choices > 0
    }

    /// The whole answer.
    pub fn finish(self, call: &Call) -> pb::GenerateResponse {
        let (mut reason, detail) = finish_reason(self.finish.as_deref());
        if self.refused {
            reason = pb::FinishReason::ContentFilter;
        } else if !self.calls.is_empty() && reason == pb::FinishReason::Stop {
            // Some services say `stop` and call all the same.
            reason = pb::FinishReason::ToolCalls;
        }
        let tool_calls = self.calls.into_values().map(|call| pb::ToolCall {
            id: call.id,
            name: call.name,
            arguments_json: if call.arguments.trim().is_empty() {
                "{}".into()
            } else {
                call.arguments.into()
            },
            ..pb::ToolCall::default()
        });
        pb::GenerateResponse {
            text: self.text,
            tool_calls: tool_calls.collect(),
            finish_reason: reason as i32,
            finish_detail: detail,
            usage: self.usage.map(Into::into),
            model_id: call.model.model_id.clone(),
            provider: call.model.provider.clone(),
            thinking: self.thinking,
            response_id: self.id,
            ..pb::GenerateResponse::default()
        }
    }
}

impl From<Usage> for pb::TokenUsage {
    fn from(usage: Usage) -> Self {
        Self {
            input_tokens: usage.prompt_tokens,
            output_tokens: usage.completion_tokens,
            cached_input_tokens: usage.prompt_tokens_details.unwrap_or_default().cached_tokens,
            reasoning_tokens: usage.completion_tokens_details.unwrap_or_default().reasoning_tokens,
            ..Self::default()
        }
    }
}
