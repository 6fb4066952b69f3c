//! Google's Gemini, as of November 2026 (<https://ai.google.dev/api/generate-content>, and the guides on function
//! calling, thought signatures, thinking, structured output, grounding and files): one body, spoken to Google AI with
//! a key and to Vertex AI with a token.

pub mod answer;
mod contents;
mod events;
mod files;
mod media;
mod request;
mod schema;
pub mod vertex;

use async_trait::async_trait;
use reqwest::header::HeaderMap;
use secrecy::ExposeSecret as _;
use sre_proto::llm::v1 as pb;

use super::wire::{Delivery, Exchange, Reading, Texts, Wire, WireRequest, broken};
use super::{Call, Usual, address};
use crate::inference::error::InferenceError;
use crate::inference::http;
use crate::inference::sse::Decoder;

pub use request::{Flavour, body};

/// The provider's name in model files.
pub const NAME: &str = "GoogleAI";

/// Where it is, and the variable of a deployment's key.
pub static USUAL: Usual = Usual {
    name: NAME,
    variable: Some("GOOGLE_AI_API_KEY"),
    address: |_| Ok("https://generativelanguage.googleapis.com/v1beta".to_owned()),
};

/// Gemini at Google AI.
#[derive(Debug, Clone, Copy)]
pub struct GoogleAi;

/// The last part of an address: what is asked, and how the answer comes.
fn method(delivery: Delivery) -> &'static str {
    match delivery {
        Delivery::Whole => "generateContent",
        Delivery::Stream => "streamGenerateContent?alt=sse",
    }
}

fn whole(call: &Call, body: &[u8]) -> Result<pb::GenerateResponse, InferenceError> {
    let chunk = serde_json::from_slice(body)
        .map_err(|error| broken(call, format!("the answer is not of a model: {error}")))?;
    let mut assembly = answer::Assembly::of(call);
    assembly.take(call, chunk)?;
    if !assembly.has_ended() {
        return Err(broken(call, "the answer holds no candidate"));
    }
    Ok(assembly.finish(call))
}

#[async_trait]
impl Wire for GoogleAi {
    async fn request(
        &self,
        exchange: &Exchange,
        call: &Call,
        delivery: Delivery,
    ) -> Result<WireRequest, InferenceError> {
        let mut headers = HeaderMap::new();
        if let Some(key) = call.key.as_ref().and_then(|key| key.api_key()) {
            headers.insert("x-goog-api-key", http::secret_header(key.expose_secret())?);
        }
        let call = files::uploaded(exchange, call, &headers).await?;
        let body = request::body(&call, Flavour::GoogleAi)?.to_string().into();
        let model = call.model.model_id.trim_start_matches("models/");
        let url = address(&call, &format!("models/{model}:{}", method(delivery)))?;
        Ok(WireRequest { url, headers, body })
    }

    fn whole(&self, call: &Call, body: &[u8]) -> Result<pb::GenerateResponse, InferenceError> {
        whole(call, body)
    }

    fn reading(&self, call: &Call) -> Box<dyn Reading> {
        Box::new(Texts::<Decoder, _>::of(events::Events::of(call)))
    }
}

#[cfg(test)]
mod tests;
