//! OpenAI's chat completions, and every service that speaks them.

mod answer;
pub mod dialects;
pub mod messages;
pub mod request;
mod wire;

use async_trait::async_trait;
use reqwest::header::{AUTHORIZATION, HeaderMap};
use secrecy::ExposeSecret as _;
use sre_proto::llm::v1 as pb;

pub use dialects::{COMPATIBLE, Dialect, dialect};

use super::wire::{Delivery, Exchange, Reading, Telling, Texts, Wire, WireRequest, broken, refusal_in_body};
use super::{Call, Piece, address};
use crate::inference::error::InferenceError;
use crate::inference::http;
use crate::inference::sse::Decoder;
use answer::Assembly;
pub use request::body;
use wire::Completion;

/// What ends a stream.
const DONE: &str = "[DONE]";

/// Chat completions in the dialect of the call's provider.
#[derive(Debug, Clone, Copy)]
pub struct OpenAiChat;

#[async_trait]
impl Wire for OpenAiChat {
    async fn request(
        &self,
        _exchange: &Exchange,
        call: &Call,
        delivery: Delivery,
    ) -> Result<WireRequest, InferenceError> {
        let body = body(call, dialects::of(call), delivery)?.to_string().into();
        Ok(WireRequest { url: address(call, "chat/completions")?, headers: bearer(call)?, body })
    }

    fn whole(&self, call: &Call, body: &[u8]) -> Result<pb::GenerateResponse, InferenceError> {
        let completion: Completion = serde_json::from_slice(body)
            .map_err(|error| broken(call, format!("the answer is not a chat completion: {error}")))?;
        if let Some(error) = completion.error {
            return Err(refusal_in_body(call, &error));
        }
        let mut assembly = Assembly::default();
        assembly.take(completion);
        if !assembly.has_begun() {
            return Err(broken(call, "the answer holds no choice"));
        }
        Ok(assembly.finish(call))
    }

    fn reading(&self, _call: &Call) -> Box<dyn Reading> {
        Box::<Texts<Decoder, Events>>::default()
    }
}

/// The key, where there is one, as most services want it.
pub fn bearer(call: &Call) -> Result<HeaderMap, InferenceError> {
    let mut headers = HeaderMap::new();
    if let Some(key) = call.key.as_ref().and_then(|key| key.api_key()) {
        headers.insert(AUTHORIZATION, http::secret_header(&format!("Bearer {}", key.expose_secret()))?);
    }
    Ok(headers)
}

/// What the events of a stream tell.
#[derive(Debug, Default)]
struct Events {
    assembly: Assembly,
    done: bool,
}

impl Telling for Events {
    fn take(&mut self, call: &Call, event: &str, seen: &mut Vec<Piece>) -> Result<(), InferenceError> {
        if event.trim() == DONE {
            self.done = true;
            return Ok(());
        }
        let chunk: Completion = serde_json::from_str(event)
            .map_err(|error| broken(call, format!("an event is not a chunk of a completion: {error}")))?;
        let own = chunk.x_groq.as_ref().and_then(|own| own.error.as_ref());
        if let Some(error) = chunk.error.as_ref().or(own) {
            return Err(refusal_in_body(call, error));
        }
        seen.extend(self.assembly.take(chunk));
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.done
    }

    /// Without a marker only where the service said why the answer ended.
    fn may_end(&self) -> bool {
        self.done || self.assembly.has_ended()
    }

    fn size_bytes(&self) -> usize {
        self.assembly.size_bytes()
    }

    fn finish(self, call: &Call) -> pb::GenerateResponse {
        self.assembly.finish(call)
    }
}

#[cfg(test)]
mod tests;
