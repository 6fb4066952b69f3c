//! Whether a request's messages are what their provider takes: what each provider's documentation demands of a history,
//! for tests of whatever makes histories.

mod blocks;
mod chat;
mod gemini;

use std::sync::Arc;

use serde_json::Value;
use sre_proto::llm::v1 as pb;

use super::providers::{self, Call};
use crate::models::Resolved;

/// The message grammars that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grammar {
    /// OpenAI's chat completions, and all that speak them.
    Chat,
    /// OpenAI's responses.
    Responses,
    /// Ollama's own.
    Ollama,
    /// Anthropic's messages.
    Anthropic,
    /// Gemini, at Google AI and Vertex AI.
    Gemini,
    /// Bedrock's Converse.
    Bedrock,
}

impl Grammar {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Chat, Self::Responses, Self::Ollama, Self::Anthropic, Self::Gemini, Self::Bedrock];

    /// The grammar of a request that was sent to this path.
    pub fn of_path(path: &str) -> Option<Self> {
        let path = path.split('?').next().unwrap_or_default();
        Some(match path {
            path if path.ends_with("/chat/completions") => Self::Chat,
            path if path.ends_with("/responses") => Self::Responses,
            path if path.ends_with("/api/chat") => Self::Ollama,
            path if path.ends_with("/messages") || path.to_ascii_lowercase().ends_with("rawpredict") => {
                Self::Anthropic
            }
            path if path.ends_with("/converse") || path.ends_with("/converse-stream") => Self::Bedrock,
            path if path.to_ascii_lowercase().ends_with("generatecontent") => Self::Gemini,
            _ => return None,
        })
    }

    /// What of a body is against the grammar.
    ///
    /// # Errors
    /// The first thing that its provider would refuse.
    pub fn check(self, body: &Value) -> Result<(), String> {
        match self {
            Self::Chat => chat::messages(body, chat::Ids::Given),
            Self::Ollama => chat::messages(body, chat::Ids::None),
            Self::Responses => chat::items(body),
            Self::Anthropic => blocks::check(body, &blocks::ANTHROPIC),
            Self::Bedrock => blocks::check(body, &blocks::BEDROCK),
            Self::Gemini => gemini::check(body),
        }
    }

    /// The body that an adapter of this grammar would send for a request. The model is one that takes everything.
    ///
    /// # Errors
    /// What the adapter would refuse.
    pub fn body(self, request: pb::GenerateRequest) -> Result<Value, String> {
        let (provider, model_id) = match self {
            Self::Chat => ("OpenAI", "gpt-4o"),
            Self::Responses => ("OpenAI", "gpt-5"),
            Self::Ollama => ("Ollama", "llama3.2"),
            Self::Anthropic => ("Anthropic", "claude-sonnet-4-5"),
            Self::Gemini => ("GoogleAI", "gemini-2.5-flash"),
            Self::Bedrock => ("Bedrock", "anthropic.claude-sonnet-4-5-20250929-v1:0"),
        };
        let model = Resolved {
            entry: model_id.to_owned(),
            model_id: model_id.to_owned(),
            provider: provider.to_owned(),
            ..Resolved::default()
        };
        let call = Call { model: Arc::new(model), request, base_url: None, key: None };
        providers::body(self, &call).map_err(|error| error.to_string())
    }
}

/// The members of a list, or none.
fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A text that is one and says something.
fn is_said(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.trim().is_empty())
}

#[cfg(test)]
mod tests;
