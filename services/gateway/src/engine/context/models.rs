//! Models, beside their streamed answers.

use async_trait::async_trait;
use bytes::BytesMut;
use sre_components::{ContextError, Conversation, Failure, Models, Painted, PaintedImage, Room};
use sre_proto::llm::v1::generate_image_response::Part;
use sre_proto::llm::v1::inference_client::InferenceClient;
use sre_proto::llm::v1::{
    CountTokensRequest, GenerateImageRequest, GenerateRequest, GenerateResponse, ImageChunk,
};
use sre_service::Role;

use super::ActivationContext;
use crate::engine::conversations::lent;

/// Bytes of all images of one call.
const MOST_IMAGE_BYTES: usize = 64 << 20;
const MOST_IMAGES: usize = 16;
/// Texts whose tokens are counted by one call, and their bytes: a message holds 4 MiB.
const TEXTS_PER_CALL: usize = 4_096;
const TEXT_BYTES_PER_CALL: usize = 3 << 20;

#[async_trait]
impl Models for ActivationContext {
    async fn answer(&self, mut request: GenerateRequest) -> Result<GenerateResponse, ContextError> {
        self.name(&mut request);
        let mut client = InferenceClient::new(self.link(Role::Llm).await?);
        let mut answer = client.generate(self.call(request)).await?.into_inner();
        self.use_up(std::mem::take(&mut answer.usage_event));
        Ok(answer)
    }

    async fn count_tokens(&self, model: &str, texts: Vec<String>) -> Result<Vec<i64>, ContextError> {
        let mut client = InferenceClient::new(self.link(Role::Llm).await?);
        let mut counted = Vec::with_capacity(texts.len());
        let mut rest = texts.into_iter().peekable();
        while rest.peek().is_some() {
            let mut texts = Vec::new();
            let mut bytes = 0;
            while let Some(text) = rest.next_if(|text| {
                texts.is_empty()
                    || (texts.len() < TEXTS_PER_CALL && bytes + text.len() <= TEXT_BYTES_PER_CALL)
            }) {
                bytes += text.len();
                texts.push(text);
            }
            let asked = texts.len();
            let request = CountTokensRequest { model: model.to_owned(), texts };
            let tokens = client.count_tokens(self.call(request)).await?.into_inner().tokens;
            if tokens.len() != asked {
                let message = "the tokens of some texts were not counted";
                return Err(ContextError::new(Failure::Internal, message));
            }
            counted.extend(tokens);
        }
        Ok(counted)
    }

    async fn images(&self, mut request: GenerateImageRequest) -> Result<Painted, ContextError> {
        if request.idempotency_key.is_empty() {
            request.idempotency_key = sre_components::Context::idempotency_key(self);
        }
        request.run_id.clone_from(&self.scope.id);
        request.step = self.key.to_string();
        let mut client = InferenceClient::new(self.link(Role::Llm).await?);
        let mut pieces = client.generate_image(self.call(request)).await?.into_inner();
        let mut coming = Coming::default();
        while let Some(piece) = pieces.message().await? {
            match piece.part {
                Some(Part::Chunk(chunk)) => coming.take(chunk)?,
                Some(Part::Finished(mut finished)) => {
                    self.use_up(std::mem::take(&mut finished.usage_event));
                    return Ok(Painted { images: coming.images(), finished });
                }
                None => {}
            }
        }
        Err(ContextError::new(Failure::Unavailable, "the images broke off before their end"))
    }

    async fn conversation(&self, room: Room<'_>) -> Result<Option<Conversation>, ContextError> {
        if self.scope.conversation.is_empty() {
            return Ok(None);
        }
        let link = self.link(Role::Llm).await?;
        Ok(lent::read(&self.scope, &link, room).await?)
    }
}

/// Images on their way here.
#[derive(Default)]
struct Coming {
    images: Vec<(ImageChunk, BytesMut)>,
    bytes: usize,
}

impl Coming {
    fn take(&mut self, chunk: ImageChunk) -> Result<(), ContextError> {
        self.bytes += chunk.data.len();
        let begins = self.images.last().is_none_or(|(first, _)| first.index != chunk.index);
        if self.bytes > MOST_IMAGE_BYTES || (begins && self.images.len() == MOST_IMAGES) {
            let message = format!("the images are more than {MOST_IMAGE_BYTES} bytes: ask for fewer");
            return Err(ContextError::new(Failure::Exhausted, message));
        }
        if begins {
            self.images.push((ImageChunk { data: Default::default(), ..chunk.clone() }, BytesMut::new()));
        }
        if let Some((_, data)) = self.images.last_mut() {
            data.extend_from_slice(&chunk.data);
        }
        Ok(())
    }

    fn images(self) -> Vec<PaintedImage> {
        let image = |(first, data): (ImageChunk, BytesMut)| PaintedImage {
            mimetype: first.mimetype,
            data: data.freeze(),
            revised_prompt: first.revised_prompt,
        };
        self.images.into_iter().map(image).collect()
    }
}
