//! Answers: put together of candidates' parts, in one or in many chunks.

use serde::Deserialize;
use serde_json::Value;
use sre_proto::llm::v1 as pb;
use sre_proto::llm::v1::part::Part as Kind;

use super::request::NAMES;
use crate::inference::error::InferenceError;
use crate::inference::finish::finish_reason;
use crate::inference::providers::history::seal;
use crate::inference::providers::json::{sum, take};
use crate::inference::providers::names::Names;
use crate::inference::providers::wire::refusal_in_body;
use crate::inference::providers::{Call, Piece};

/// How ids begin that this service makes for calls without one: they are not the provider's, so it never sees them.
pub const MADE_ID: &str = "call-made-";

/// What a call used. Each chunk repeats the figures so far: the last ones count.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Usage {
    prompt_token_count: i64,
    tool_use_prompt_token_count: i64,
    cached_content_token_count: i64,
    candidates_token_count: i64,
    thoughts_token_count: i64,
}

/// Puts an answer together.
#[derive(Debug, Default)]
pub struct Assembly {
    id: String,
    names: Names,
    text: String,
    thinking: String,
    calls: Vec<pb::ToolCall>,
    parts: Vec<Kind>,
    finish: Option<String>,
    blocked: bool,
    usage: Option<Usage>,
    grounding: Option<Value>,
    size_bytes: usize,
}

impl Assembly {
    /// An answer to a call.
    pub fn of(call: &Call) -> Self {
        Self { names: Names::of(&call.request, NAMES), ..Self::default() }
    }

    /// Takes a chunk; gives what of it a watcher sees.
    pub fn take(&mut self, call: &Call, mut chunk: Value) -> Result<Vec<Piece>, InferenceError> {
        if chunk["error"].is_object() {
            return Err(refusal_in_body(call, &chunk["error"]));
        }
        if let Some(id) = chunk["responseId"].as_str().filter(|id| id.len() <= 256) {
            id.clone_into(&mut self.id);
        }
        if let Ok(usage) = Usage::deserialize(&chunk["usageMetadata"]) {
            self.usage = Some(usage);
        }
        let mut nothing = Value::Null;
        let candidate = chunk.get_mut("candidates").and_then(|all| all.get_mut(0)).unwrap_or(&mut nothing);
        if let Some(reason) = candidate["finishReason"].as_str() {
            self.finish = Some(reason.to_owned());
        }
        if candidate["groundingMetadata"].is_object() {
            self.size_bytes += candidate["groundingMetadata"].to_string().len();
            self.grounding = Some(take(candidate, "groundingMetadata"));
        }
        let mut seen = Vec::new();
        if let Value::Array(parts) = take(&mut take(candidate, "content"), "parts") {
            for part in parts {
                seen.extend(self.take_part(call, part));
            }
        }
        // A blocked request has no candidates.
        self.blocked |= chunk["promptFeedback"]["blockReason"].is_string();
        Ok(seen)
    }

    fn take_part(&mut self, call: &Call, part: Value) -> Vec<Piece> {
        let signature = part["thoughtSignature"].as_str().unwrap_or_default();
        self.size_bytes += signature.len();
        let sealed = if signature.is_empty() { String::new() } else { seal(&call.model, signature) };
        if part["functionCall"].is_object() {
            return vec![self.take_call(&part["functionCall"], sealed)];
        }
        if let Some(text) = part["text"].as_str() {
            let is_thought = part["thought"] == true;
            if !sealed.is_empty() && !is_thought {
                let thinking = pb::Thinking { signature: sealed, ..pb::Thinking::default() };
                self.parts.push(Kind::Thinking(thinking));
            }
            self.size_bytes += text.len();
            if text.is_empty() {
                return Vec::new();
            }
            if is_thought {
                self.thinking.push_str(text);
                return vec![Piece::Thinking(text.to_owned())];
            }
            self.text.push_str(text);
            return vec![Piece::Text(text.to_owned())];
        }
        // Code that the provider ran, images, and what is new: shown to the same model again.
        if part.is_object() {
            let json = part.to_string();
            self.size_bytes += json.len();
            self.parts.push(Kind::ProviderItem(pb::ProviderItem {
                provider: call.model.provider.clone(),
                model_id: call.model.model_id.clone(),
                json: json.into(),
            }));
        }
        Vec::new()
    }

    /// Calls come whole, some in one chunk and some in many: each is one more.
    fn take_call(&mut self, function: &Value, signature: String) -> Piece {
        let index = i32::try_from(self.calls.len()).unwrap_or(i32::MAX);
        let given = function["id"].as_str().filter(|id| !id.is_empty()).map(str::to_owned);
        let id = given.unwrap_or_else(|| format!("{MADE_ID}{}", sre_proto::ids::new_uuid()));
        let name = self.names.own(function["name"].as_str().unwrap_or_default());
        let arguments =
            if function["args"].is_object() { function["args"].to_string() } else { "{}".to_owned() };
        self.size_bytes += arguments.len();
        self.calls.push(pb::ToolCall {
            id: id.clone(),
            name: name.clone(),
            arguments_json: arguments.clone().into(),
            signature: signature.into(),
        });
        Piece::ToolCall(pb::ToolCallDelta { index, id, name, arguments_fragment: arguments })
    }

    /// Whether the provider said why the answer ended.
    pub fn has_ended(&self) -> bool {
        self.finish.is_some() || self.blocked
    }

    /// Bytes held so far.
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// The whole answer.
    pub fn finish(self, call: &Call) -> pb::GenerateResponse {
        let (mut reason, mut detail) = finish_reason(self.finish.as_deref());
        if self.finish.is_none() && self.blocked {
            reason = pb::FinishReason::ContentFilter;
            detail.clear();
        } else if reason == pb::FinishReason::Stop && !self.calls.is_empty() {
            reason = pb::FinishReason::ToolCalls;
        }
        let citations = self.grounding.as_ref().map(|grounding| citations(grounding, &self.text));
        pb::GenerateResponse {
            text: self.text,
            thinking: self.thinking,
            tool_calls: self.calls,
            finish_reason: reason as i32,
            finish_detail: detail,
            usage: self.usage.map(Into::into),
            model_id: call.model.model_id.clone(),
            provider: call.model.provider.clone(),
            response_id: self.id,
            parts: self.parts.into_iter().map(|kind| pb::Part { part: Some(kind) }).collect(),
            citations: citations.unwrap_or_default(),
            ..pb::GenerateResponse::default()
        }
    }
}

/// What the answer says and where it found it. What was found and is said nowhere is listed without a place.
fn citations(grounding: &Value, text: &str) -> Vec<pb::Citation> {
    let none = Vec::new();
    let chunks = grounding["groundingChunks"].as_array().unwrap_or(&none);
    let source = |index: usize| {
        let web = chunks.get(index).map_or(&Value::Null, |chunk| &chunk["web"]);
        let text = |name: &str| web[name].as_str().unwrap_or_default().to_owned();
        pb::Citation { url: text("uri"), title: text("title"), ..pb::Citation::default() }
    };
    let mut citations = Vec::new();
    let mut used = std::collections::BTreeSet::new();
    for support in grounding["groundingSupports"].as_array().unwrap_or(&none) {
        let segment = &support["segment"];
        let place =
            |name: &str| segment[name].as_i64().and_then(|at| i32::try_from(at).ok()).unwrap_or_default();
        let (start, end) = (place("startIndex"), place("endIndex"));
        let is_inside = usize::try_from(end).is_ok_and(|end| end <= text.len()) && start <= end;
        for index in support["groundingChunkIndices"].as_array().unwrap_or(&none) {
            let Some(index) = index.as_u64().and_then(|index| usize::try_from(index).ok()) else { continue };
            used.insert(index);
            let quote = segment["text"].as_str().unwrap_or_default().to_owned();
            let (start, end) = if is_inside { (start, end) } else { (0, 0) };
            citations.push(pb::Citation { start, end, quote, ..source(index) });
        }
    }
    citations.extend((0..chunks.len()).filter(|index| !used.contains(index)).map(source));
    citations
}

impl From<Usage> for pb::TokenUsage {
    /// Thinking is counted apart by the API; our figure of the answer holds it.
    fn from(usage: Usage) -> Self {
        Self {
            input_tokens: sum([usage.prompt_token_count, usage.tool_use_prompt_token_count]),
            output_tokens: sum([usage.candidates_token_count, usage.thoughts_token_count]),
            cached_input_tokens: usage.cached_content_token_count,
            reasoning_tokens: usage.thoughts_token_count,
            ..Self::default()
        }
    }
}
