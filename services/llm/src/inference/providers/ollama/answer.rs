//! Answers: whole ones, and those put together from lines.

use serde::Deserialize;
use serde_json::Value;
use sre_proto::llm::v1 as pb;

use crate::inference::finish::finish_reason;
use crate::inference::providers::calls::Calls;
use crate::inference::providers::{Call, Piece};

/// A line. Unknown fields are ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Line {
    pub message: Option<Message>,
    pub error: Option<Value>,
    done: bool,
    done_reason: Option<String>,
    prompt_eval_count: Option<i64>,
    eval_count: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Message {
    content: Option<String>,
    thinking: Option<String>,
    tool_calls: Option<Vec<CallPart>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CallPart {
    /// Of newer servers.
    id: Option<String>,
    function: Function,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Function {
    name: String,
    arguments: Value,
}

/// Puts an answer together.
#[derive(Debug)]
pub struct Assembly {
    text: String,
    thinking: String,
    calls: Calls,
    /// Begins the ids of calls: they differ from those of other answers of a history.
    stem: u64,
    done: bool,
    finish: Option<String>,
    usage: Option<pb::TokenUsage>,
}

impl Default for Assembly {
    fn default() -> Self {
        Self {
            text: String::new(),
            thinking: String::new(),
            calls: Calls::default(),
            stem: rand::random(),
            done: false,
            finish: None,
            usage: None,
        }
    }
}

impl Assembly {
    /// Takes a line; gives what of it a watcher sees.
    pub fn take(&mut self, line: Line) -> Vec<Piece> {
        let mut seen = Vec::new();
        let message = line.message.unwrap_or_default();
        if let Some(text) = message.thinking.filter(|text| !text.is_empty()) {
            self.thinking.push_str(&text);
            seen.push(Piece::Thinking(text));
        }
        if let Some(text) = message.content.filter(|text| !text.is_empty()) {
            self.text.push_str(&text);
            seen.push(Piece::Text(text));
        }
        for call in message.tool_calls.into_iter().flatten() {
            // Every call is whole, and each line begins to count anew: none goes on with another.
            let key = self.calls.len().to_string();
            let id = call.id.filter(|id| !id.is_empty());
            let id = id.unwrap_or_else(|| format!("call_{:016x}_{key}", self.stem));
            let arguments = match call.function.arguments {
                Value::Null => "{}".to_owned(),
                Value::String(text) => text,
                object => object.to_string(),
            };
            seen.extend(self.calls.more(&key, &id, &call.function.name, &arguments));
        }
        if line.done {
            self.done = true;
            self.finish = line.done_reason;
            if line.prompt_eval_count.is_some() || line.eval_count.is_some() {
                self.usage = Some(pb::TokenUsage {
                    input_tokens: line.prompt_eval_count.unwrap_or(0),
                    output_tokens: line.eval_count.unwrap_or(0),
                    ..pb::TokenUsage::default()
                });
            }
        }
        seen
    }

    /// Whether the last line came.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Bytes held.
    pub fn size_bytes(&self) -> usize {
        self.text.len() + self.thinking.len() + self.calls.size_bytes()
    }

    /// The whole answer.
    pub fn finish(self, call: &Call) -> pb::GenerateResponse {
        let (mut reason, detail) = finish_reason(self.finish.as_deref());
        if !self.calls.is_empty() && reason == pb::FinishReason::Stop {
            reason = pb::FinishReason::ToolCalls;
        }
        pb::GenerateResponse {
            text: self.text,
            tool_calls: self.calls.finish(),
            finish_reason: reason as i32,
            finish_detail: detail,
            usage: self.usage,
            model_id: call.model.model_id.clone(),
            provider: call.model.provider.clone(),
            thinking: self.thinking,
            ..pb::GenerateResponse::default()
        }
    }
}
