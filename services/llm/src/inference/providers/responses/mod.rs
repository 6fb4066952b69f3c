//! OpenAI's responses, also of xAI: `POST {base}/responses`, as platform.openai.com/docs/api-reference/responses and
//! docs.x.ai describe them in autumn 2026. Nothing is stored at the provider: what it wants to see of its thinking
//! again travels sealed in the history.

mod answer;
mod events;
mod input;
mod request;

pub use request::body;

use async_trait::async_trait;
use serde_json::Value;
use sre_proto::llm::v1 as pb;

use super::openai_chat::bearer;
use super::wire::{Delivery, Exchange, Reading, Texts, Wire, WireRequest, broken};
use super::{Call, address};
use crate::inference::error::{InferenceError, Refusal};
use crate::inference::http;
use crate::inference::sse::Decoder;
use answer::Assembly;

/// Responses.
#[derive(Debug, Clone, Copy)]
pub struct Responses;

#[async_trait]
impl Wire for Responses {
    async fn request(
        &self,
        _exchange: &Exchange,
        call: &Call,
        delivery: Delivery,
    ) -> Result<WireRequest, InferenceError> {
        let body = request::body(call, delivery)?.to_string().into();
        Ok(WireRequest { url: address(call, "responses")?, headers: bearer(call)?, body })
    }

    fn whole(&self, call: &Call, body: &[u8]) -> Result<pb::GenerateResponse, InferenceError> {
        let response: Value = serde_json::from_slice(body)
            .map_err(|error| broken(call, format!("the answer is not a response: {error}")))?;
        if let Some(error) = response.get("error").filter(|error| !error.is_null()) {
            return Err(refused(call, error));
        }
        let Some(items) = response["output"].as_array() else {
            return Err(broken(call, "the response holds no output"));
        };
        let mut assembly = Assembly::default();
        items.iter().for_each(|item| assembly.take_item(call, item));
        assembly.close(&response);
        Ok(assembly.finish(call))
    }

    fn reading(&self, _call: &Call) -> Box<dyn Reading> {
        Box::<Texts<Decoder, events::Events>>::default()
    }
}

/// An error object of a response. Its code says what its status would have been.
fn refused(call: &Call, error: &Value) -> InferenceError {
    let (message, code) = http::words(error);
    let status = match code.as_str() {
        "rate_limit_exceeded" | "insufficient_quota" => 429,
        "server_error" | "" => 500,
        "overloaded" | "server_overloaded" => 503,
        "invalid_api_key" => 401,
        "model_not_found" => 404,
        _ => 400,
    };
    InferenceError::Refused(Box::new(Refusal {
        provider: call.model.provider.clone(),
        status,
        message: message.unwrap_or_else(|| "no reason given".to_owned()),
        code,
        ..Refusal::default()
    }))
}
