//! What services send: a whole answer, or a piece of one. Unknown fields are ignored.

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use sre_proto::llm::v1 as pb;

/// A whole answer, or a piece of one.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Completion {
    pub id: Option<String>,
    #[serde(deserialize_with = "or_none")]
    pub choices: Option<Vec<Choice>>,
    pub usage: Option<Usage>,
    /// Groq's own place for what was used.
    pub x_groq: Option<XGroq>,
    /// Some services report a failure in the middle of a stream.
    pub error: Option<Value>,
    /// Perplexity's and xAI's sources: addresses alone.
    pub citations: Option<Vec<Value>>,
    /// Perplexity's sources with their titles.
    pub search_results: Option<Vec<Value>>,
}

/// A list that some services send as null.
fn or_none<'de, D: Deserializer<'de>, T: Deserialize<'de>>(value: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(value)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct XGroq {
    pub usage: Option<Usage>,
    pub error: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Choice {
    #[serde(alias = "delta")]
    pub message: Option<Content>,
    pub finish_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Content {
    /// Text; some services send parts with texts.
    pub content: Option<Value>,
    pub refusal: Option<String>,
    pub reasoning_content: Option<String>,
    /// The same under another name; some services send both.
    pub reasoning: Option<String>,
    pub tool_calls: Option<Vec<CallPart>>,
    pub annotations: Option<Vec<Value>>,
}

impl Content {
    /// The text, in whatever form it came.
    pub fn text(&self) -> String {
        match &self.content {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(parts)) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
            _ => String::new(),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct CallPart {
    pub index: Option<u64>,
    pub id: Option<String>,
    pub function: Option<FunctionPart>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct FunctionPart {
    pub name: Option<String>,
    /// Text by the contract; some services send the object.
    pub arguments: Option<Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Usage {
    prompt_tokens: i64,
    completion_tokens: i64,
    total_tokens: i64,
    /// Perplexity's place for it.
    reasoning_tokens: Option<i64>,
    /// DeepSeek's place for what was cached.
    prompt_cache_hit_tokens: Option<i64>,
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct PromptDetails {
    cached_tokens: Option<i64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct CompletionDetails {
    reasoning_tokens: Option<i64>,
}

impl From<Usage> for pb::TokenUsage {
    /// Cached tokens are part of the request's and thinking is part of the answer's, whoever counts.
    fn from(usage: Usage) -> Self {
        let cached = usage.prompt_tokens_details.and_then(|details| details.cached_tokens);
        let thought = usage.completion_tokens_details.and_then(|details| details.reasoning_tokens);
        let thought = thought.or(usage.reasoning_tokens).unwrap_or(0);
        // xAI counts thinking beside the answer: its total says so.
        let is_beside =
            thought > 0 && usage.total_tokens == usage.prompt_tokens + usage.completion_tokens + thought;
        Self {
            input_tokens: usage.prompt_tokens,
            output_tokens: usage.completion_tokens + if is_beside { thought } else { 0 },
            cached_input_tokens: cached.or(usage.prompt_cache_hit_tokens).unwrap_or(0),
            reasoning_tokens: thought,
            ..Self::default()
        }
    }
}
