//! What the components that call models need beside a streamed answer.

use async_trait::async_trait;
use bytes::Bytes;
use sre_proto::llm::v1::{
    ChatMessage, GenerateImageRequest, GenerateRequest, GenerateResponse, ImagesFinished, Model,
};

use super::ContextError;

/// The models, as a running component may use them.
#[async_trait]
pub trait Models: Send + Sync {
    /// Calls a model and waits for its whole answer: nobody watches it come.
    ///
    /// # Errors
    /// The message is the provider's.
    async fn answer(&self, request: GenerateRequest) -> Result<GenerateResponse, ContextError>;

    /// How many tokens each of some texts has for a model. Costs nothing.
    ///
    /// # Errors
    /// If there is no such model.
    async fn count_tokens(&self, model: &str, texts: Vec<String>) -> Result<Vec<i64>, ContextError>;

    /// Makes images.
    ///
    /// # Errors
    /// The message is the provider's, or names the limit that the images are over.
    async fn images(&self, request: GenerateImageRequest) -> Result<Painted, ContextError>;

    /// What the conversation of which the run is a part has said so far; none where it is part of none. A run is
    /// that which a model of the conversation called as a tool, and what such a run starts.
    ///
    /// # Errors
    /// If the conversation cannot be read.
    async fn conversation(&self, room: Room<'_>) -> Result<Option<Conversation>, ContextError>;
}

/// How much of a conversation is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Room<'a> {
    /// For this model: what only another provider understands is left out.
    pub model: &'a Model,
    /// So many tokens of the newest messages, all together.
    pub tokens: i64,
}

/// What a conversation has said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conversation {
    /// How it is led: its instructions.
    pub system: String,
    /// The newest messages that have room, oldest first, calls of tools together with their results.
    pub messages: Vec<ChatMessage>,
}

/// Images that a model made.
#[derive(Clone, Debug, Default)]
pub struct Painted {
    /// The images, in order.
    pub images: Vec<PaintedImage>,
    /// What they used and who made them.
    pub finished: ImagesFinished,
}

/// An image that a model made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PaintedImage {
    /// Its type.
    pub mimetype: String,
    /// Its bytes.
    pub data: Bytes,
    /// What the model made of the prompt.
    pub revised_prompt: String,
}
