//! Services that OpenAI's client libraries can call, and Ollama: which of their interfaces answers is decided in one
//! place, for whole answers and for streams.

use async_trait::async_trait;
use sre_proto::llm::v1 as pb;

use super::ollama::Ollama;
use super::openai_chat::OpenAiChat;
use super::openai_chat::dialects::{Speaks, interface};
use super::responses::Responses;
use super::wire::Spoken;
use super::{Call, Pieces, Provider};
use crate::inference::error::InferenceError;
use crate::inference::settings::InferenceSettings;

/// All of them.
#[derive(Debug)]
pub struct OpenAi {
    chat: Spoken<OpenAiChat>,
    responses: Spoken<Responses>,
    ollama: Spoken<Ollama>,
}

impl OpenAi {
    /// A client for each interface.
    pub fn new(settings: &InferenceSettings) -> Result<Self, reqwest::Error> {
        Ok(Self {
            chat: Spoken::new(OpenAiChat, settings.clone())?,
            responses: Spoken::new(Responses, settings.clone())?,
            ollama: Spoken::new(Ollama, settings.clone())?,
        })
    }

    fn of(&self, call: &Call) -> &dyn Provider {
        match interface(call) {
            Speaks::Chat => &self.chat,
            Speaks::Responses => &self.responses,
            Speaks::Ollama => &self.ollama,
        }
    }
}

#[async_trait]
impl Provider for OpenAi {
    async fn generate(&self, call: Call) -> Result<pb::GenerateResponse, InferenceError> {
        self.of(&call).generate(call).await
    }

    async fn stream(&self, call: Call) -> Result<Pieces, InferenceError> {
        self.of(&call).stream(call).await
    }
}
