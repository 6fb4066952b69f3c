//! Claude at Vertex AI (<https://cloud.google.com/vertex-ai/generative-ai/docs/partner-models/claude/use-claude>, and
//! <https://docs.anthropic.com/en/api/claude-on-vertex-ai>): Anthropic's Messages, at the address of a project and a
//! region, with a token of a service account. The model is in the address and the version of the format in the body.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use sre_proto::llm::v1 as pb;

use super::token::Tokens;
use super::{bearer, path};
use crate::inference::error::InferenceError;
use crate::inference::providers::anthropic::{self, Messages};
use crate::inference::providers::wire::{Delivery, Exchange, Reading, Wire, WireRequest};
use crate::inference::providers::{Call, address};

/// The version of the format here, which is another one than that of Anthropic's own header.
const VERSION: &str = "vertex-2023-10-16";

/// Claude at Vertex AI.
#[derive(Debug, Clone)]
pub struct Claude {
    tokens: Arc<Tokens>,
}

impl Claude {
    /// With these tokens.
    pub fn new(tokens: Arc<Tokens>) -> Self {
        Self { tokens }
    }
}

/// Whether a model of Vertex AI is a Claude. One that was tuned has a number for a name and speaks as Gemini does.
pub fn is_one(call: &Call) -> bool {
    call.model.model_id.contains("claude-")
}

/// The body for a call.
pub fn body(call: &Call, delivery: Delivery) -> Result<Value, InferenceError> {
    let mut body = anthropic::body(call, delivery)?;
    if let Some(fields) = body.as_object_mut() {
        fields.remove("model");
        fields.insert("anthropic_version".to_owned(), VERSION.into());
    }
    Ok(body)
}

#[async_trait]
impl Wire for Claude {
    async fn request(
        &self,
        exchange: &Exchange,
        call: &Call,
        delivery: Delivery,
    ) -> Result<WireRequest, InferenceError> {
        let headers = bearer(&self.tokens, exchange, call).await?;
        let method = match delivery {
            Delivery::Whole => "rawPredict",
            Delivery::Stream => "streamRawPredict",
        };
        let url = address(call, &format!("{}:{method}", path(call, "anthropic")?))?;
        Ok(WireRequest { url, headers, body: body(call, delivery)?.to_string().into() })
    }

    fn whole(&self, call: &Call, body: &[u8]) -> Result<pb::GenerateResponse, InferenceError> {
        Messages.whole(call, body)
    }

    fn reading(&self, call: &Call) -> Box<dyn Reading> {
        Messages.reading(call)
    }
}
