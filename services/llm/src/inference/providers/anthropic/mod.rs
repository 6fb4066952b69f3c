//! Anthropic's Messages API, as of November 2026 (<https://docs.anthropic.com/en/api/messages>, and the pages on
//! extended and adaptive thinking, effort, structured outputs, prompt caching, web search, citations and streaming).
//!
//! What another Claude than the one that signed it may not see is left out by the shared [`super::history`].

mod answer;
mod events;
mod media;
mod messages;
mod request;
mod turns;

use async_trait::async_trait;
use reqwest::header::{HeaderMap, HeaderValue};
use secrecy::ExposeSecret as _;
use sre_proto::llm::v1 as pb;

use super::wire::{Delivery, Exchange, Reading, Texts, Wire, WireRequest, broken};
use super::{Call, Usual, address};
use crate::inference::error::InferenceError;
use crate::inference::http;
use crate::inference::sse::Decoder;

pub use request::{ANSWER_TOOL, body, effort, thinking};
pub use turns::Anthropic;

/// The provider's name in model files.
pub const NAME: &str = "Anthropic";

/// Where it is, and the variable of a deployment's key.
pub static USUAL: Usual = Usual {
    name: NAME,
    variable: Some("ANTHROPIC_API_KEY"),
    address: |_| Ok("https://api.anthropic.com/v1".to_owned()),
};

const VERSION: &str = "2023-06-01";

/// One exchange in the Messages format.
#[derive(Debug, Clone, Copy)]
pub struct Messages;

#[async_trait]
impl Wire for Messages {
    async fn request(
        &self,
        _exchange: &Exchange,
        call: &Call,
        delivery: Delivery,
    ) -> Result<WireRequest, InferenceError> {
        let mut headers = HeaderMap::new();
        headers.insert("anthropic-version", HeaderValue::from_static(VERSION));
        if let Some(key) = call.key.as_ref().and_then(|key| key.api_key()) {
            headers.insert("x-api-key", http::secret_header(key.expose_secret())?);
        }
        let body = body(call, delivery)?.to_string().into();
        Ok(WireRequest { url: address(call, "messages")?, headers, body })
    }

    fn whole(&self, call: &Call, body: &[u8]) -> Result<pb::GenerateResponse, InferenceError> {
        let message = serde_json::from_slice(body)
            .map_err(|error| broken(call, format!("the answer is not a message: {error}")))?;
        answer::Assembly::of(call).whole(call, message)
    }

    fn reading(&self, call: &Call) -> Box<dyn Reading> {
        Box::new(Texts::<Decoder, _>::of(events::Events::of(call)))
    }
}

#[cfg(test)]
mod tests;
