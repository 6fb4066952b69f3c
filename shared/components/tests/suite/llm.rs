//! Models of this process: `Echo`, one that answers by the rules of the conformance fixture, and one that answers as
//! a test says.

use std::collections::{BTreeMap, VecDeque};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use sre_components::{Chunk, ContextError, Conversation, Failure, Models, Painted, PaintedImage, Room};
use sre_proto::llm::v1::{
    ChatRole, FinishReason, GenerateImageRequest, GenerateRequest, GenerateResponse, ImagesFinished, Model,
};
use tokio::time::Instant;

use super::context::TestContext;

/// What is remembered: its bytes, its version, when it ends.
pub type Document = (Bytes, u64, Option<Instant>);

/// What the models of a test do and saw.
#[derive(Default)]
pub struct Scene {
    /// What `scripted` answers to the next calls; an error begins with `!`.
    pub answers: Mutex<VecDeque<String>>,
    /// The conversation of which runs are a part.
    pub conversation: Mutex<Option<Conversation>>,
    /// The tokens of the room that a component asked the conversation for.
    pub rooms: Mutex<Vec<i64>>,
    /// Requests for images.
    pub paintings: Mutex<Vec<GenerateImageRequest>>,
    /// Images that are made of the next requests; one of a few bytes where a test says nothing.
    pub images: Mutex<VecDeque<Result<Vec<PaintedImage>, String>>>,
    /// What components remember: document, version, end.
    pub documents: Mutex<BTreeMap<String, Document>>,
}

pub fn model(name: &str) -> Result<Model, ContextError> {
    let (provider, features): (&str, &[&str]) = match name {
        "Echo" => ("Echo", &[]),
        "mock-gpt" | "scripted" => ("OpenAI", &["text"]),
        "seeing" => ("OpenAI", &["text", "image", "document", "search"]),
        "hearing" => ("GoogleAI", &["text", "audio"]),
        "xai" => ("xAI", &["text", "search"]),
        "gpt-image-1" | "dall-e-3" | "dall-e-2" => ("OpenAI", &["image-generation"]),
        "imagen-4" | "painting-gemini" => ("GoogleAI", &["image-generation"]),
        "runware-model" => ("Runware", &["image-generation"]),
        _ => return Err(ContextError::new(Failure::NotFound, format!("model {name} not found"))),
    };
    Ok(Model {
        name: format!("models/{name}"),
        provider: provider.into(),
        model_id: name.into(),
        features: features.iter().map(|feature| (*feature).to_owned()).collect(),
        context_tokens: 16_384,
        output_tokens: 8192,
        ..Model::default()
    })
}

impl TestContext {
    pub fn generated(
        &self,
        request: &GenerateRequest,
        on_chunk: &mut (dyn FnMut(Chunk) + Send),
    ) -> Result<GenerateResponse, ContextError> {
        let last = request.messages.iter().rev().find(|message| message.role() == ChatRole::User).unwrap();
        self.answered(request, &last.text, on_chunk)
    }

    fn answered(
        &self,
        request: &GenerateRequest,
        text: &str,
        on_chunk: &mut (dyn FnMut(Chunk) + Send),
    ) -> Result<GenerateResponse, ContextError> {
        self.suite().requests.lock().push(request.clone());
        let scripted = match request.model.as_str() {
            "Echo" | "mock-gpt" => None,
            _ => self.suite().scene.answers.lock().pop_front(),
        };
        let answer = match (request.model.as_str(), scripted) {
            ("Echo", _) => text.to_owned(),
            (_, None) => mock(text)?,
            (_, Some(answer)) => match answer.strip_prefix('!') {
                Some(error) => return Err(ContextError::new(Failure::Unavailable, error)),
                None => answer,
            },
        };
        for piece in answer.split_inclusive(' ') {
            on_chunk(Chunk::Text(piece.to_owned()));
        }
        let finish = if text.contains("CUT") { FinishReason::Length } else { FinishReason::Stop };
        Ok(GenerateResponse { text: answer, finish_reason: finish.into(), ..GenerateResponse::default() })
    }
}

fn mock(text: &str) -> Result<String, ContextError> {
    if let Some(code) = text.strip_prefix("ERR").and_then(|rest| rest.split_once(':')).map(|(code, _)| code) {
        return Err(ContextError::new(Failure::Internal, format!("{code} mock error")));
    }
    Ok(match text.strip_prefix("JSON:") {
        Some(rest) => rest.to_owned(),
        None => format!("MOCK:{text}"),
    })
}

#[async_trait]
impl Models for TestContext {
    async fn answer(&self, request: GenerateRequest) -> Result<GenerateResponse, ContextError> {
        // As the service has it: Echo repeats the first message of a call that nobody watches.
        let first = request.messages.first().map(|message| message.text.clone()).unwrap_or_default();
        match request.model.as_str() {
            "Echo" => self.answered(&request, &first, &mut |_| {}),
            _ => self.generated(&request, &mut |_| {}),
        }
    }

    async fn count_tokens(&self, _: &str, texts: Vec<String>) -> Result<Vec<i64>, ContextError> {
        Ok(texts.iter().map(|text| i64::try_from(text.len()).unwrap()).collect())
    }

    async fn images(&self, request: GenerateImageRequest) -> Result<Painted, ContextError> {
        let scene = &self.suite().scene;
        let count = request.count.max(1);
        scene.paintings.lock().push(request);
        let image = PaintedImage {
            mimetype: "image/png".into(),
            data: Bytes::from_static(b"\x89PNG\r\n\x1a\n"),
            ..PaintedImage::default()
        };
        let made = scene.images.lock().pop_front();
        match made.unwrap_or_else(|| Ok((0..count).map(|_| image.clone()).collect())) {
            Ok(images) => Ok(Painted { images, finished: ImagesFinished::default() }),
            Err(error) => Err(ContextError::new(Failure::Unavailable, error)),
        }
    }

    async fn conversation(&self, room: Room<'_>) -> Result<Option<Conversation>, ContextError> {
        let scene = &self.suite().scene;
        scene.rooms.lock().push(room.tokens);
        Ok(scene.conversation.lock().clone())
    }
}
